//! Verification of client assertions as JWTs (RFC 7523).

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::claims::{Audiences, JWTClaims, NoCustomClaims};
use jwt_simple::prelude::UnixTimeStamp;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::decoys::decoys;
use super::keys::KeyError;
use super::strict_json::parse_object;
use super::verifying_key::{VerifyingKey, check_new_key};
use domain::federation::ForeignAssertion;
use domain::id::AgentId;
use domain::issuer_key::IssuerKey;
use domain::jwk::PublicKey;
use domain::signature_algorithm::SignatureAlgorithm;
use domain::time::Timestamp;
use ports::assertion_verifier::{
    AssertionClaims, AssertionSigner, AssertionVerifier, MAX_ASSERTION_BYTES, Unverified,
};

/// Header parameters that carry or reference a key, or require an unsupported feature.
const REFUSED_PARAMETERS: [&str; 7] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"];
/// Accepted values of `typ`, which may also be absent.
const ACCEPTED_TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// Maximum number of parsed keys cached. One takes at most about 5 KB.
const MAX_PARSED: u64 = 2_048;

/// Parameters that change what a signature covers or how a header is to be understood.
const REFUSED_OF_ISSUERS: [&str; 2] = ["crit", "b64"];

/// Verifies assertions with the keys of clients and of trusted issuers.
pub struct JwtAssertionVerifier {
    /// Cache of parsed keys.
    ///
    /// Parsing an RSA key costs as much as verifying a signature with it.
    parsed: Cache<PublicKey, Arc<VerifyingKey>>,
    /// The same for keys of trusted issuers, each for one algorithm.
    parsed_of_issuers: Cache<(PublicKey, SignatureAlgorithm), Arc<VerifyingKey>>,
    /// Keys for the checks that decide nothing.
    decoys: OnceLock<Vec<IssuerKey>>,
}

impl Default for JwtAssertionVerifier {
    fn default() -> Self {
        Self {
            parsed: Cache::new(MAX_PARSED),
            parsed_of_issuers: Cache::new(MAX_PARSED),
            decoys: OnceLock::new(),
        }
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

    fn read(&self, assertion: &str) -> Option<Unverified> {
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
        let subject = claims.subject.clone()?;
        Some(Unverified {
            client: AgentId::parse(&subject),
            algorithm: text("alg")?,
            key_id: text("kid"),
            claims: understood(claims)?,
        })
    }

    fn is_named(&self, key: &PublicKey, key_id: &str) -> bool {
        self.parsed(key).is_some_and(|parsed| parsed.id == key_id)
    }

    fn has_signed(&self, key: &PublicKey, assertion: &str) -> bool {
        let names_algorithm = |header: Map<String, Value>| {
            let named = header.get("alg").and_then(Value::as_str);
            named.is_some_and(|named| key.algorithm_names().contains(&named))
        };
        json_part(assertion, 0).is_some_and(names_algorithm)
            && self.parsed(key).is_some_and(|key| is_signed_by(&key, assertion))
    }

    fn signer(&self, assertion: &str) -> Option<AssertionSigner> {
        let part = assertion.split('.').nth(1).filter(|_| assertion.len() <= MAX_ASSERTION_BYTES)?;
        // Each method of client authentication asks, so no more than necessary is read.
        let named: Named = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        let is_agent = named.iss.as_str().is_some_and(AgentId::is_form_of);
        Some(if is_agent { AssertionSigner::Client } else { AssertionSigner::Issuer })
    }

    fn read_foreign(&self, assertion: &str) -> Option<ForeignAssertion> {
        let parts: Vec<&str> = assertion.split('.').collect();
        let [header, payload, _] = parts[..] else { return None };
        let object = |part: &str| parse_object(&URL_SAFE_NO_PAD.decode(part).ok()?);
        let header = object(header)?;
        if REFUSED_OF_ISSUERS.iter().any(|name| header.contains_key(*name)) {
            return None;
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str()?.to_owned()),
        };
        let algorithm_name = header.get("alg")?.as_str()?.to_owned();
        let algorithm = SignatureAlgorithm::parse(&algorithm_name);
        let media_type = match header.get("typ") {
            None => None,
            Some(name) => Some(name.as_str()?.to_owned()),
        };
        Some(ForeignAssertion { algorithm, algorithm_name, key_id, media_type, claims: object(payload)? })
    }

    fn has_issuer_signed(&self, key: &IssuerKey, assertion: &ForeignAssertion, text: &str) -> bool {
        let Some(algorithm) = assertion.algorithm.filter(|algorithm| key.allows(*algorithm)) else {
            return false;
        };
        let name = (key.key.clone(), algorithm);
        let parsed = self.parsed_of_issuers.get(&name).or_else(|| {
            let parsed = Arc::new(VerifyingKey::for_algorithm(key.key.clone(), algorithm).ok()?);
            self.parsed_of_issuers.insert(name, parsed.clone());
            Some(parsed)
        });
        parsed.is_some_and(|key| is_signed_by(&key, text))
    }

    fn waste_signature_check(&self, assertion: &ForeignAssertion, text: &str) {
        let decoys = self.decoys.get_or_init(decoys);
        let fits =
            |decoy: &&IssuerKey| assertion.algorithm.is_some_and(|algorithm| algorithm.fits(&decoy.key));
        if let Some(decoy) = decoys.iter().find(fits) {
            let is_valid = self.has_issuer_signed(decoy, assertion, text);
            tracing::trace!(is_valid, "an assertion is refused in any case");
        }
    }
}

/// The `iss` of an assertion; null if it has none.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    iss: Value,
}

/// Returns whether the last part of a compact JWS is the key's signature of the others.
fn is_signed_by(key: &VerifyingKey, jws: &str) -> bool {
    let Some((message, signature)) = jws.rsplit_once('.') else { return false };
    let signature = URL_SAFE_NO_PAD.decode(signature);
    signature.is_ok_and(|signature| key.has_signed(message.as_bytes(), &signature))
}

/// Converts the claims; `None` if one has an unsupported value.
fn understood(claims: JWTClaims<NoCustomClaims>) -> Option<AssertionClaims> {
    let audience = claims.audiences.and_then(|audiences| match audiences {
        Audiences::AsString(audience) => Some(audience),
        Audiences::AsSet(_) => None,
    });
    let texts = [&claims.issuer, &claims.subject, &claims.jwt_id, &audience];
    if texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
        return None;
    }
    // A value that is present but malformed is not the same as an absent one.
    let instant = |seconds: Option<UnixTimeStamp>| match seconds {
        None => Some(None),
        Some(seconds) => {
            Some(Some(Timestamp::from_millis(0).plus_seconds(i64::try_from(seconds.as_secs()).ok()?)))
        }
    };
    let digest = |jti: String| {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, jti.as_bytes()).as_ref());
        digest
    };
    Some(AssertionClaims {
        issuer: claims.issuer,
        audience,
        digest: claims.jwt_id.filter(|jti| !jti.is_empty()).map(digest),
        expires_at: instant(claims.expires_at)?,
        not_before: instant(claims.invalid_before)?,
        issued_at: instant(claims.issued_at)?,
    })
}

/// Decodes one part of a compact JWS as a JSON object.
fn json_part(token: &str, place: usize) -> Option<Map<String, Value>> {
    let part = token.split('.').nth(place)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
