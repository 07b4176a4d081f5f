//! Access tokens as JWTs (RFC 9068).
//!
//! A token is valid only if a key of this issuer has signed it with the algorithm of the key, the type is `at+jwt`,
//! and every claim is present. Expiry is checked by the core's clock, without leeway. A valid signature is cached,
//! because it stays valid; whether a token is *active* is never cached.
//!
//! A token is verified in full the first time an instance reads it. Other instances sign tokens too, so full
//! verification is not rare. It uses `aws-lc-rs`, which also signs, and which verifies RSA several times faster than
//! `jwt-simple`, the library that verifies client assertions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metrics::{Histogram, histogram};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tracing::debug_span;

use super::keys::KeySet;
use domain::delegation::{Delegation, Subject};
use domain::id::{AgentId, IssuerId, OrganizationId, TokenId};
use domain::issuer::IssuerGeneration;
use domain::jwk::PublishedKey;
use domain::proof::Thumbprint;
use domain::scope::Scopes;
use domain::token::{AccessToken, Audience, Claims};
use ports::token_signer::{SignError, TokenSigner};

/// Maximum length of a token, in bytes. 64 capabilities of maximum length take less than half of it.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Maximum size of the cache of valid tokens and their claims, in bytes: 60,000 tokens of the usual size.
const MAX_REMEMBERED_BYTES: u64 = 32 * 1024 * 1024;
/// Initial capacity for a payload, in bytes, which is enough for most tokens.
const MOST_PAYLOADS: usize = 512;
/// `typ` of an access token (RFC 9068 section 2.1).
const TYPE: &str = "at+jwt";

/// `ver` of the header of a token that was obtained by exchange or is bound to a key.
///
/// Instances of earlier versions accept no such header, and would otherwise ignore the claims that restrict the token.
const VERSION_OF_MORE: u8 = 2;

/// Signs and verifies the tokens of one issuer.
pub struct JwtSigner {
    issuer: Arc<str>,
    keys: RwLock<Arc<Loaded>>,
}

/// A key set, and the cache of tokens that are valid under it.
///
/// Both are replaced together when keys are reloaded.
struct Loaded {
    keys: KeySet,
    /// Encoded header of a plain token, including its trailing dot.
    header: String,
    /// The same for a token that was obtained by exchange or is bound to a key.
    header_of_more: String,
    /// Durations of signatures by this algorithm.
    signing_seconds: Histogram,
    remembered: Cache<[u8; 32], Arc<Claims>>,
}

impl JwtSigner {
    /// Creates a signer for this issuer with these keys.
    pub fn new(issuer: Arc<str>, keys: KeySet) -> Self {
        Self { issuer, keys: RwLock::new(Arc::new(Loaded::new(keys))) }
    }

    /// Replaces the keys. Tokens signed by keys that are not among them become invalid.
    pub fn reload(&self, keys: KeySet) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Loaded::new(keys));
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, loaded: &Loaded, token: &str) -> Option<Claims> {
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        let key = loaded.keys.find(&header.kid)?;
        let is_of_key = header.alg == key.public.algorithm() && header.typ == TYPE;
        if !is_of_key || !key.has_signed(message.as_bytes(), &decode(signature)?) {
            return None;
        }
        let payload = decode(payload)?;
        let claims: Payload<'_> = serde_json::from_slice(&payload).ok()?;
        let has_more = claims.delegation.is_some() || claims.cnf.is_some();
        if header.ver != has_more.then_some(VERSION_OF_MORE) {
            return None;
        }
        if claims.iss != *self.issuer {
            return None;
        }
        let delegation = claims.delegation()?;
        if delegation.is_none() && claims.sub != claims.client_id {
            return None;
        }
        let audience = match claims.aud {
            issuer if issuer == *self.issuer => Audience::Issuer,
            resource => Audience::Resource(resource.into()),
        };
        Some(Claims {
            agent: AgentId::parse(&claims.client_id)?,
            organization: OrganizationId::parse(&claims.organization_id)?,
            audience,
            scopes: Scopes::of_token(&claims.scope),
            id: TokenId::parse(&claims.jti)?,
            issued_at: claims.iat,
            expires_at: claims.exp,
            generation: claims.generation,
            issuers: claims
                .issuers
                .iter()
                .map(|(id, generation)| {
                    Some(IssuerGeneration { issuer: IssuerId::parse(id)?, generation: *generation })
                })
                .collect::<Option<_>>()?,
            key: claims.cnf.map(|cnf| Thumbprint(cnf.jkt.into())),
            delegation: delegation.map(Box::new),
        })
    }
}

impl Payload<'_> {
    /// Returns the parties and ancestors of the token; `None` if it has some that do not belong together.
    fn delegation(&self) -> Option<Option<Delegation>> {
        let Some(claim) = &self.delegation else {
            return (self.act.is_none() && self.sub_id.is_none()).then_some(None);
        };
        let person = match (&self.sub_id, claim.subject_gen) {
            (Some(sub_id), Some(generation)) => Some((&*sub_id.iss, &*sub_id.sub, generation)),
            (None, None) => None,
            _ => return None,
        };
        let delegation = Delegation {
            subject: Subject::parse(&self.sub, person)?,
            actors: successors(self.act.as_ref(), |act| act.act.as_deref())
                .map(|act| AgentId::parse(&act.sub))
                .collect::<Option<_>>()?,
            parents: claim.parents.iter().map(|id| TokenId::parse(id)).collect::<Option<_>>()?,
            agents: claim
                .agents
                .iter()
                .map(|(id, generation)| Some((AgentId::parse(id)?, *generation)))
                .collect::<Option<_>>()?,
        };
        // The client acts. Without any actor, it is the subject.
        let client = self.act.as_ref().map_or(&*self.sub, |act| &act.sub);
        (client == self.client_id && delegation.depth() == claim.depth).then_some(Some(delegation))
    }
}

impl From<&Delegation> for DelegationClaim {
    fn from(delegation: &Delegation) -> Self {
        Self {
            depth: delegation.depth(),
            parents: delegation.parents.iter().map(ToString::to_string).collect(),
            agents: delegation.agents.iter().map(|(id, generation)| (id.to_string(), *generation)).collect(),
            subject_gen: match &delegation.subject {
                Subject::Agent(_) => None,
                Subject::Person(person) => Some(person.generation),
            },
        }
    }
}

/// Returns the claim `act` of these agents, the one that acts first.
fn act(actors: &[AgentId]) -> Option<Act> {
    let (first, rest) = actors.split_first()?;
    Some(Act { sub: first.to_string(), act: act(rest).map(Box::new) })
}

impl Loaded {
    fn new(keys: KeySet) -> Self {
        let key = &keys.verifying[0];
        let header = |more: &str| {
            let (algorithm, id) = (key.public.algorithm(), &key.id);
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{TYPE}","kid":"{id}"{more}}}"#);
            URL_SAFE_NO_PAD.encode(header) + "."
        };
        let (header, header_of_more) = (header(""), header(&format!(r#","ver":{VERSION_OF_MORE}"#)));
        let algorithm = key.public.algorithm();
        let signing_seconds = histogram!("agentidp_signing_duration_seconds", "alg" => algorithm);
        Self { keys, header, header_of_more, signing_seconds, remembered: remembered() }
    }
}

impl TokenSigner for JwtSigner {
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError> {
        let loaded = self.loaded();
        let agent = claims.agent.to_string();
        let delegation = claims.delegation.as_deref();
        let subject = delegation.map(|delegation| delegation.subject.to_string());
        let payload = Payload {
            iss: Cow::Borrowed(&self.issuer),
            sub: Cow::Borrowed(subject.as_deref().unwrap_or(&agent)),
            aud: Cow::Borrowed(match &claims.audience {
                Audience::Issuer => &self.issuer,
                Audience::Resource(uri) => uri,
            }),
            exp: claims.expires_at,
            iat: claims.issued_at,
            jti: claims.id.to_string().into(),
            client_id: Cow::Borrowed(&agent),
            scope: Cow::Borrowed(claims.scopes.as_str()),
            organization_id: claims.organization.to_string().into(),
            generation: claims.generation,
            issuers: claims
                .issuers
                .iter()
                .map(|rests_on| (rests_on.issuer.to_string(), rests_on.generation))
                .collect(),
            sub_id: claims.person().map(|person| SubjectId {
                format: Cow::Borrowed(ISS_SUB),
                iss: Cow::Borrowed(&person.iss),
                sub: Cow::Borrowed(&person.sub),
            }),
            act: delegation.and_then(|delegation| act(&delegation.actors)),
            delegation: delegation.map(Into::into),
            cnf: claims.key.as_ref().map(|key| Confirmation { jkt: Cow::Borrowed(&key.0) }),
        };
        let mut json = Vec::with_capacity(MOST_PAYLOADS);
        serde_json::to_writer(&mut json, &payload).map_err(|_| SignError)?;
        let has_more = claims.delegation.is_some() || claims.key.is_some();
        let header = if has_more { &loaded.header_of_more } else { &loaded.header };
        let mut token = String::with_capacity(header.len() + json.len() * 4 / 3 + 352);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(&json, &mut token);
        let began = Instant::now();
        let sign = || loaded.keys.signing.sign(token.as_bytes()).ok_or(SignError);
        let signature = debug_span!("sign").in_scope(sign)?;
        loaded.signing_seconds.record(began.elapsed());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
        Ok(AccessToken::new(token))
    }

    fn read(&self, token: &str) -> Option<Arc<Claims>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let loaded = self.loaded();
        let key = key_of(token);
        if let Some(claims) = loaded.remembered.get(&key) {
            return Some(claims);
        }
        let claims = Arc::new(self.check(&loaded, token)?);
        loaded.remembered.insert(key, claims.clone());
        Some(claims)
    }

    fn published_keys(&self) -> Vec<PublishedKey> {
        self.loaded().keys.published()
    }
}

fn key_of(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    key
}

/// Header of a token.
///
/// Only the parameters that [`Loaded`] writes are accepted, so that a header cannot request anything else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
    #[serde(default)]
    ver: Option<u8>,
}

/// Claims of a token, named as in RFC 9068 section 2.2 and, if it was obtained by exchange, as in RFC 8693 section 4.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    exp: i64,
    iat: i64,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow)]
    organization_id: Cow<'a, str>,
    #[serde(rename = "gen")]
    generation: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    issuers: BTreeMap<String, u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sub_id: Option<SubjectId<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Act>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delegation: Option<DelegationClaim>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
}

/// The key that a token is bound to (RFC 7800, RFC 9449 section 6.1).
#[derive(Serialize, Deserialize)]
struct Confirmation<'a> {
    #[serde(borrow)]
    jkt: Cow<'a, str>,
}

/// `format` of a subject identifier with issuer and subject (RFC 9493 section 3.2.3).
const ISS_SUB: &str = "iss_sub";

/// Subject identifier (RFC 9493) of a person.
#[derive(Serialize, Deserialize)]
struct SubjectId<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
}

/// An agent that acts, and the one for which it acts (RFC 8693 section 4.1).
#[derive(Serialize, Deserialize)]
struct Act {
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<Act>>,
}

/// Dependencies of a token in addition to its client.
#[derive(Serialize, Deserialize)]
struct DelegationClaim {
    depth: u32,
    parents: Vec<String>,
    agents: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject_gen: Option<u64>,
}

/// Creates a cache of at most [`MAX_REMEMBERED_BYTES`].
fn remembered() -> Cache<[u8; 32], Arc<Claims>> {
    /// Size of an entry in addition to its claims, in bytes.
    const OTHER: usize = 256;
    let weigh = |_: &[u8; 32], claims: &Arc<Claims>| {
        let bytes = OTHER
            + size_of::<Claims>()
            + claims.scopes.as_str().len()
            + size_of_val(claims.issuers.as_slice())
            + claims.key.as_ref().map_or(0, |key| key.0.len())
            + claims.delegation.as_deref().map_or(0, bytes_of_delegation);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    };
    Cache::builder().max_capacity(MAX_REMEMBERED_BYTES).weigher(weigh).build()
}

/// Returns the approximate size of the delegation of a token, in bytes.
fn bytes_of_delegation(delegation: &Delegation) -> usize {
    let person = match &delegation.subject {
        Subject::Agent(_) => 0,
        Subject::Person(person) => person.iss.len() + person.sub.len(),
    };
    size_of::<Delegation>()
        + person
        + size_of_val(delegation.actors.as_slice())
        + size_of_val(delegation.parents.as_slice())
        + delegation.agents.len() * 2 * size_of::<(AgentId, u64)>()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::keys::generate_pem;
    use domain::delegation::Person;
    use domain::jwk::KeyType;
    use domain::time::Timestamp;

    const NOW: i64 = 1_790_000_000;

    fn claims() -> Claims {
        Claims {
            agent: AgentId(Uuid::from_u128(1)),
            organization: OrganizationId(Uuid::from_u128(2)),
            audience: Audience::Issuer,
            scopes: Scopes::of_token("a:b c:d"),
            id: TokenId(Uuid::from_u128(3)),
            issued_at: NOW,
            expires_at: NOW + 60,
            generation: 7,
            issuers: Vec::new(),
            key: None,
            delegation: None,
        }
    }

    fn signer(pem: &str) -> JwtSigner {
        JwtSigner::new("https://issuer.example".into(), KeySet::from_pem(pem, "").expect("a key"))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(0).plus_seconds(seconds)
    }

    #[test]
    fn the_issuers_that_a_token_rests_on_are_a_claim_only_if_there_are_any() {
        let signer = signer(&generate_pem(KeyType::P256).expect("a key"));
        let read = |claims: &Claims| {
            let token = signer.sign(claims).expect("signed");
            let part = token.expose().split('.').nth(1).expect("a payload");
            let payload: Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON");
            (payload, signer.read(token.expose()).map(|read| Claims::clone(&read)))
        };
        let (payload, plain) = read(&claims());
        assert!(payload.get("issuers").is_none() && plain == Some(claims()));
        let issuer = IssuerId(Uuid::from_u128(4));
        let federated = Claims { issuers: vec![IssuerGeneration { issuer, generation: 9 }], ..claims() };
        let (payload, back) = read(&federated);
        assert_eq!(payload["issuers"], json!({ issuer.to_string(): 9 }));
        assert_eq!(back, Some(federated));
    }

    fn person() -> Person {
        let issuer = IssuerId(Uuid::from_u128(4));
        Person { issuer, iss: "https://people.example".into(), sub: "al\u{ef}ce\"".into(), generation: 5 }
    }

    fn delegation() -> Delegation {
        let [client, other] = [claims().agent, AgentId(Uuid::from_u128(9))];
        Delegation {
            subject: Subject::Person(person()),
            actors: vec![client, other],
            parents: vec![TokenId(Uuid::from_u128(8)), TokenId(Uuid::from_u128(7))],
            agents: BTreeMap::from([(other, 3)]),
        }
    }

    fn payload_of(token: &AccessToken) -> Value {
        let part = token.expose().split('.').nth(1).expect("a payload");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    }

    #[test]
    fn a_delegated_token_says_who_acts_for_whom_and_reads_back() {
        let signer = signer(&generate_pem(KeyType::P256).expect("a key"));
        let [client, other] = [claims().agent, AgentId(Uuid::from_u128(9))];
        let [near, far] = [8, 7].map(|id| TokenId(Uuid::from_u128(id)));
        let of_person = Claims { delegation: Some(delegation().into()), ..claims() };
        let token = signer.sign(&of_person).expect("signed");
        let payload = payload_of(&token);
        let IssuerId(issuer) = person().issuer;
        assert_eq!(payload["sub"], format!("user:{issuer}:{}", person().sub));
        let sub_id = json!({ "format": "iss_sub", "iss": "https://people.example", "sub": &*person().sub });
        assert_eq!(payload["sub_id"], sub_id);
        assert_eq!(payload["client_id"], client.to_string());
        assert_eq!(payload["act"], json!({ "sub": client.to_string(), "act": { "sub": other.to_string() } }));
        let expected = json!({
            "depth": 2, "parents": [near.to_string(), far.to_string()], "agents": { other.to_string(): 3 },
            "subject_gen": 5,
        });
        assert_eq!(payload["delegation"], expected);
        assert_eq!(signer.read(token.expose()).as_deref(), Some(&of_person));

        let for_agent = Delegation { subject: Subject::Agent(other), actors: vec![client], ..delegation() };
        let narrowed = Delegation { subject: Subject::Agent(client), actors: Vec::new(), ..delegation() };
        for delegation in [for_agent, narrowed] {
            let claims = Claims { delegation: Some(delegation.clone().into()), ..claims() };
            let token = signer.sign(&claims).expect("signed");
            let payload = payload_of(&token);
            assert_eq!(payload["sub"], delegation.subject.to_string());
            assert!(payload.get("sub_id").is_none() && payload["delegation"].get("subject_gen").is_none());
            assert_eq!(signer.read(token.expose()).as_deref(), Some(&claims));
        }
    }

    #[test]
    fn a_bound_token_names_its_key_and_reads_back() {
        let signer = signer(&generate_pem(KeyType::P256).expect("a key"));
        let key = Some(Thumbprint("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into()));
        let bound = Claims { key, ..claims() };
        let token = signer.sign(&bound).expect("signed");
        assert_eq!(
            payload_of(&token)["cnf"],
            json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
        );
        assert_eq!(signer.read(token.expose()).as_deref(), Some(&bound));
        assert!(payload_of(&signer.sign(&claims()).expect("signed")).get("cnf").is_none());
    }

    #[test]
    fn a_token_whose_parties_do_not_belong_together_is_not_read() {
        let signer = signer(&generate_pem(KeyType::P256).expect("a key"));
        let other = AgentId(Uuid::from_u128(9));
        let agent = Subject::Agent(claims().agent);
        for (name, delegation) in [
            ("the client does not act", Delegation { actors: vec![other], ..delegation() }),
            ("a person without an actor", Delegation { actors: Vec::new(), ..delegation() }),
            (
                "another agent without an actor",
                Delegation { subject: Subject::Agent(other), actors: Vec::new(), ..delegation() },
            ),
        ] {
            let claims = Claims { delegation: Some(delegation.into()), ..claims() };
            let token = signer.sign(&claims).expect("signed");
            assert_eq!(signer.read(token.expose()), None, "{name}");
        }
        let narrowed = Delegation { subject: agent, actors: Vec::new(), ..delegation() };
        let claims = Claims { delegation: Some(narrowed.into()), ..claims() };
        assert!(signer.read(signer.sign(&claims).expect("signed").expose()).is_some());
    }

    #[test]
    fn a_token_reads_back_on_another_instance_until_its_very_end() {
        for kind in [KeyType::Rsa, KeyType::P256, KeyType::Ed25519] {
            let pem = generate_pem(kind).expect("a key");
            let (one, other) = (signer(&pem), signer(&pem));
            let token = one.sign(&claims()).expect("signed").expose().to_owned();
            for signer in [&one, &other] {
                assert_eq!(signer.verify(&token, at(NOW)).as_deref(), Some(&claims()));
                assert!(signer.verify(&token, at(NOW + 59)).is_some());
                for late in [60, 61, 600, 899, 901] {
                    assert_eq!(signer.verify(&token, at(NOW + late)), None, "{late} s after");
                }
            }
            assert_eq!(signer(&pem).verify(&token, at(NOW + 61)), None, "not remembered and late");
        }
    }

    #[test]
    fn another_key_or_issuer_is_not_ours_and_a_reload_forgets() {
        let (pem, other) =
            (generate_pem(KeyType::P256).expect("a key"), generate_pem(KeyType::P256).expect("a key"));
        let ours = signer(&pem);
        let token = ours.sign(&claims()).expect("signed").expose().to_owned();
        assert_eq!(signer(&other).verify(&token, at(NOW)), None);
        let elsewhere =
            JwtSigner::new("https://other.example".into(), KeySet::from_pem(&pem, "").expect("a key"));
        assert_eq!(elsewhere.verify(&token, at(NOW)), None);
        ours.reload(KeySet::from_pem(&other, "").expect("a key"));
        assert_eq!(ours.verify(&token, at(NOW)), None);
    }

    #[test]
    fn a_token_of_the_most_capabilities_reads_back_and_a_longer_one_is_not_read() {
        let signer = signer(&generate_pem(KeyType::Ed25519).expect("a key"));
        let token = |bytes| {
            let scopes = Scopes::of_token(&"a".repeat(bytes));
            signer.sign(&Claims { scopes, ..claims() }).expect("signed")
        };
        // Three bytes of a scope take four bytes of the token.
        let longest = 4_200 + (MAX_TOKEN_BYTES - token(4_200).expose().len()) * 3 / 4;
        assert_eq!(token(longest).expose().len(), MAX_TOKEN_BYTES);
        for (bytes, reads_back) in [(4_200, true), (longest, true), (longest + 1, false)] {
            assert_eq!(signer.verify(token(bytes).expose(), at(NOW)).is_some(), reads_back, "{bytes}");
        }
    }

    #[test]
    fn what_our_key_has_signed_is_a_token_only_if_all_of_it_is_of_the_form() {
        let signer = signer(&generate_pem(KeyType::Ed25519).expect("a key"));
        let passes = |part: usize, name: &str, value: Value| {
            let token = signer.sign(&claims()).expect("signed").expose().to_owned();
            let mut parts = Vec::from_iter(token.split('.').map(str::to_owned));
            let json = URL_SAFE_NO_PAD.decode(&parts[part]).expect("base64");
            let mut json: Value = serde_json::from_slice(&json).expect("JSON");
            json[name] = value;
            parts[part] = URL_SAFE_NO_PAD.encode(json.to_string());
            let message = format!("{}.{}", parts[0], parts[1]);
            let signature = signer.loaded().keys.signing.sign(message.as_bytes()).expect("signed");
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
            signer.verify(&token, at(NOW)).is_some()
        };
        assert!(passes(0, "typ", json!("at+jwt")) && passes(1, "iat", json!(NOW)));
        let other = AgentId(Uuid::from_u128(9)).to_string();
        for (part, name, value) in [
            (0, "typ", json!("JWT")),
            (0, "alg", json!("RS256")),
            (0, "kid", json!("another")),
            (0, "crit", json!([])),
            (0, "ver", json!(2)),
            (1, "cnf", json!({ "jkt": "k" })),
            (1, "iss", json!("https://other.example")),
            (1, "sub", json!(other)),
            (1, "client_id", json!(other)),
            (1, "iat", json!(NOW + 3_600)),
            (1, "jti", json!("x")),
            (1, "exp", json!(NOW)),
        ] {
            assert!(!passes(part, name, value), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_change_of_a_token_is_valid(place in 0usize..1000, letter in "[A-Za-z0-9_.=+/ -]") {
            static PEM: LazyLock<String> = LazyLock::new(|| generate_pem(KeyType::P256).expect("a key"));
            let pem = PEM.as_str();
            let token = signer(pem).sign(&claims()).expect("signed").expose().to_owned();
            let place = place % token.len();
            let mut changed = token.clone();
            changed.replace_range(place..=place, &letter);
            prop_assume!(changed != token);
            prop_assert_eq!(signer(pem).verify(&changed, at(NOW)), None);
            let mut longer = token;
            longer.insert_str(place, &letter);
            prop_assert_eq!(signer(pem).verify(&longer, at(NOW)), None);
        }
    }
}
