//! Verification of client assertions as JWTs (RFC 7523).

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::claims::{Audiences, JWTClaims, NoCustomClaims};
use jwt_simple::prelude::UnixTimeStamp;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::keys::{KeyError, VerifyingKey, check_new_key};
use domain::id::AgentId;
use domain::jwk::PublicKey;
use domain::time::Timestamp;
use ports::assertion_verifier::{AssertionClaims, AssertionVerifier, Unproved};

/// Header parameters that carry or reference a key, or require an unsupported feature.
const REFUSED_PARAMETERS: [&str; 7] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"];
/// Accepted values of `typ`, which may also be absent.
const ACCEPTED_TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// Maximum number of parsed keys cached. One takes at most about 5 KB.
const MAX_PARSED: u64 = 2_048;

/// Verifies assertions with the clients' registered keys.
pub struct JwtAssertionVerifier {
    /// Cache of parsed keys.
    ///
    /// Parsing an RSA key costs as much as verifying a signature with it.
    parsed: Cache<PublicKey, Arc<VerifyingKey>>,
}

impl Default for JwtAssertionVerifier {
    fn default() -> Self {
        Self { parsed: Cache::new(MAX_PARSED) }
    }
}

impl JwtAssertionVerifier {
    fn parsed(&self, key: &PublicKey) -> Option<Arc<VerifyingKey>> {
        if let Some(parsed) = self.parsed.get(key) {
            return Some(parsed);
        }
        let parsed = Arc::new(VerifyingKey::new(key.clone()).ok()?);
        self.parsed.insert(key.clone(), parsed.clone());
        Some(parsed)
    }
}

impl AssertionVerifier for JwtAssertionVerifier {
    fn check_key(&self, key: &PublicKey) -> Result<(), &'static str> {
        check_new_key(key).map_err(KeyError::what)
    }

    fn read(&self, assertion: &str) -> Option<Unproved> {
        let header = json_part(assertion, 0)?;
        if REFUSED_PARAMETERS.iter().any(|name| header.contains_key(*name)) {
            return None;
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(name)) if ACCEPTED_TYPES.iter().any(|one| one.eq_ignore_ascii_case(name)) => {}
            Some(_) => return None,
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        let claims: JWTClaims<NoCustomClaims> =
            serde_json::from_value(Value::Object(json_part(assertion, 1)?)).ok()?;
        let claims = understood(claims)?;
        Some(Unproved {
            client: AgentId::parse(&claims.subject),
            algorithm: text("alg")?,
            key_id: text("kid"),
            claims,
        })
    }

    fn is_named(&self, key: &PublicKey, key_id: &str) -> bool {
        self.parsed(key).is_some_and(|parsed| parsed.id == key_id)
    }

    fn verify(&self, assertion: &str, key: &PublicKey) -> Option<AssertionClaims> {
        let read = self.read(assertion)?;
        if !key.algorithm_names().contains(&&*read.algorithm) {
            return None;
        }
        let (message, signature) = assertion.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.parsed(key)?.has_signed(message.as_bytes(), &signature).then_some(read.claims)
    }
}

/// Converts the claims; `None` if one is missing or has an unsupported form.
fn understood(claims: JWTClaims<NoCustomClaims>) -> Option<AssertionClaims> {
    let Audiences::AsString(audience) = claims.audiences? else { return None };
    let instant = |seconds: UnixTimeStamp| {
        Some(Timestamp::from_millis(0).plus_seconds(i64::try_from(seconds.as_secs()).ok()?))
    };
    let jti = claims.jwt_id.filter(|jti| !jti.is_empty())?;
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, jti.as_bytes()).as_ref());
    Some(AssertionClaims {
        issuer: claims.issuer?,
        subject: claims.subject?,
        audience,
        digest,
        expires_at: instant(claims.expires_at?)?,
        // A value that is present but malformed is not the same as an absent one.
        not_before: match claims.invalid_before {
            Some(at) => Some(instant(at)?),
            None => None,
        },
        issued_at: match claims.issued_at {
            Some(at) => Some(instant(at)?),
            None => None,
        },
    })
}

/// Decodes one part of a compact JWS as a JSON object.
fn json_part(token: &str, place: usize) -> Option<Map<String, Value>> {
    let part = token.split('.').nth(place)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
