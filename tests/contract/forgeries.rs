//! Cost of a forged client assertion, in lookups and signature checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentidp::adapters::crypto::{JwtAssertionVerifier, generate_pem};
use agentidp::app::client_auth::{ClientAuthError, PresentedCredentials, PresentedHeader};
use agentidp::app::request_context::RequestContext;
use agentidp::app::{App, Ports, Settings};
use agentidp::domain::agent::Agent;
use agentidp::domain::audit::{AuditAction, Origin};
use agentidp::domain::credential::{Credential, CredentialKind};
use agentidp::domain::federation::ForeignAssertion;
use agentidp::domain::id::AgentId;
use agentidp::domain::issuer_key::IssuerKey;
use agentidp::domain::jwk::{KeyType, PublicKey};
use agentidp::ports::assertion_verifier::{AssertionSigner, AssertionVerifier, Unverified};
use agentidp::ports::credential_store::Freshness;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testing::{ISSUER, NOON, PlainHasher, plain_ports};

use crate::fixtures::*;

/// Number of keys of the client, as many as may be active at once.
const KEYS: usize = 10;

/// A verifier that counts how many signatures it is asked to check.
struct Counting {
    inner: JwtAssertionVerifier,
    signatures: AtomicUsize,
}

impl AssertionVerifier for Counting {
    fn check_key(&self, key: &PublicKey) -> Result<(), &'static str> {
        self.inner.check_key(key)
    }

    fn read(&self, assertion: &str) -> Option<Unverified> {
        self.inner.read(assertion)
    }

    fn is_named(&self, key: &PublicKey, key_id: &str) -> bool {
        self.inner.is_named(key, key_id)
    }

    fn has_signed(&self, key: &PublicKey, assertion: &str) -> bool {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        self.inner.has_signed(key, assertion)
    }

    fn signer(&self, assertion: &str) -> Option<AssertionSigner> {
        self.inner.signer(assertion)
    }

    fn read_foreign(&self, assertion: &str) -> Option<ForeignAssertion> {
        self.inner.read_foreign(assertion)
    }

    fn has_issuer_signed(&self, key: &IssuerKey, assertion: &ForeignAssertion, text: &str) -> bool {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        self.inner.has_issuer_signed(key, assertion, text)
    }

    fn waste_signature_check(&self, assertion: &ForeignAssertion, text: &str) {
        self.inner.waste_signature_check(assertion, text);
    }
}

/// A client with [`KEYS`] keys, and a core that limits failed authentications.
/// The limit is two per address and minute.
struct Target {
    app: App,
    verifier: Arc<Counting>,
    agent: Agent,
    keys: Vec<Ed25519KeyPair>,
}

impl Target {
    async fn new() -> Self {
        let stores = memory().await;
        let agent = stores.agent().await;
        let mut keys = Vec::new();
        for _ in 0..KEYS {
            let key = Ed25519KeyPair::generate().expect("a key");
            let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
            let kind = CredentialKind::Key(PublicKey::Ed25519 { x });
            let new = Credential { kind, ..credential(agent.id) };
            let generated = event(AuditAction::CredentialGenerated, new.id);
            stores.credentials.insert(&agent, &new, 10, unchecked(&generated)).await.expect("stored");
            keys.push(key);
        }
        let verifier =
            Arc::new(Counting { inner: JwtAssertionVerifier::default(), signatures: AtomicUsize::new(0) });
        let pem = generate_pem(KeyType::Ed25519).expect("a key");
        let ports = plain_ports(Arc::new(PlainHasher), &stores, stores.clock.clone(), &pem);
        let settings = Settings {
            issuer: ISSUER.into(),
            token_endpoint_audience: None,
            token_ttl_seconds: 60,
            max_delegation_depth: 3,
            address_requests_per_minute: 2,
            has_metrics: false,
        };
        let app = App::new(&Ports { assertions: verifier.clone(), ..ports }, &settings);
        Self { app, verifier, agent, keys }
    }

    /// Tries to authenticate by an assertion with this header.
    /// The claims are changed by `but`, and `key` signs the assertion. Returns the outcome and the number of
    /// signatures checked.
    async fn try_out(&self, header: Value, but: Value, key: &Ed25519KeyPair) -> (Result<(), String>, usize) {
        let id = self.agent.id.to_string();
        let mut claims = json!({
            "iss": id, "sub": id, "aud": ISSUER, "exp": NOON.as_seconds() + 60, "iat": NOON.as_seconds(), "jti": "one",
        });
        claims.as_object_mut().expect("an object").extend(but.as_object().expect("an object").clone());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).as_ref());
        let presented = PresentedCredentials {
            header: PresentedHeader::Absent,
            parameters: vec![
                ("client_assertion", format!("{message}.{signature}").into()),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
            ],
        };
        let context = RequestContext::new(
            String::new(),
            Origin { address: Some([192, 0, 2, 1].into()), user_agent: None, trace: None },
        );
        self.verifier.signatures.store(0, Ordering::SeqCst);
        let outcome = self.app.clients.authenticate(&context, &presented, Freshness::Current).await;
        let outcome = outcome.map(|_| ()).map_err(|error: ClientAuthError| error.to_string());
        (outcome, self.verifier.signatures.load(Ordering::SeqCst))
    }
}

fn plain() -> Value {
    json!({ "alg": "EdDSA" })
}

#[tokio::test]
async fn claims_that_are_refused_in_any_case_cost_two_signatures_and_none_once_the_address_is_exhausted() {
    let target = Target::new().await;
    let stranger = Ed25519KeyPair::generate().expect("a key");
    let late = NOON.as_seconds() - 1;
    for (header, but, first) in [
        (plain(), json!({ "aud": "https://elsewhere.example.com" }), 2),
        (plain(), json!({ "aud": [ISSUER] }), 2),
        (plain(), json!({ "exp": late }), 2),
        (plain(), json!({ "exp": NOON.as_seconds() + 4_000 }), 0),
        (plain(), json!({ "iss": AgentId(id()).to_string() }), 0),
        (plain(), json!({ "nbf": NOON.as_seconds() + 60 }), 0),
        (plain(), json!({ "jti": "" }), 0),
        (json!({ "alg": "RS256" }), json!({}), 0),
        (json!({ "alg": "none" }), json!({}), 0),
        (json!({ "alg": "EdDSA", "jwk": {} }), json!({}), 0),
        (json!({ "alg": "EdDSA", "typ": "at+jwt" }), json!({}), 0),
    ] {
        let (outcome, signatures) = target.try_out(header.clone(), but.clone(), &stranger).await;
        assert!(outcome.is_err(), "{header} {but}");
        assert_eq!(signatures, first, "{header} {but}");
    }
}

#[tokio::test]
async fn a_forged_assertion_costs_two_signatures_at_most_once_its_address_has_failed_too_often() {
    let target = Target::new().await;
    let stranger = Ed25519KeyPair::generate().expect("a key");
    // A client whose assertion names no key may use any of its keys, and is not charged for a failure.
    for key in target.keys.iter().rev() {
        assert_eq!(target.try_out(plain(), json!({}), key).await.0, Ok(()));
    }
    for failure in 1..=3 {
        let (outcome, signatures) = target.try_out(plain(), json!({}), &stranger).await;
        assert_eq!((outcome.is_err(), signatures), (true, KEYS), "{failure}");
    }
    for _ in 0..3 {
        let (outcome, signatures) = target.try_out(plain(), json!({}), &stranger).await;
        assert_eq!((outcome, signatures), (Err("too many requests".to_owned()), 2));
    }
    // A client that names its key still authenticates from the same address.
    for key in &target.keys {
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let header = json!({ "alg": "EdDSA", "kid": URL_SAFE_NO_PAD.encode(thumbprint) });
        assert_eq!(target.try_out(header.clone(), json!({}), key).await, (Ok(()), 1));
        assert_eq!(
            target.try_out(header, json!({}), &stranger).await.1,
            1,
            "its kid helps a forger to nothing"
        );
    }
}
