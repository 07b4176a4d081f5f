//! The identity provider of a company, which says who its people are.

use agentidp::adapters::system::SystemClock;
use agentidp::ports::clock::Clock as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The company's `iss`.
const ISSUER: &str = "https://login.example.com";
/// The audience of tokens that people give to agents.
const AUDIENCE: &str = "agents";

/// A company, with the key by which it signs.
pub struct Company(Ed25519KeyPair);

impl Company {
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().expect("the system has randomness"))
    }

    /// Returns the company as an issuer that AgentIdP is to trust: whose people agents may act for, and with which scopes.
    pub fn as_issuer(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({
            "name": "Example Inc.",
            "issuer": ISSUER,
            "keys": { "type": "jwks", "jwks": { "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] } },
            "subjects": {
                "audiences": [AUDIENCE],
                "mayAct": ["*"],
                "scopes": ["notes:read", "notes:write"],
                "maxAgeSeconds": 600,
                "redelegation": true,
            },
        })
    }

    /// Returns the token of a person who has signed in.
    pub fn token(&self, sub: &str) -> String {
        let now = SystemClock.now().as_seconds();
        let header = json!({ "alg": "EdDSA", "typ": "JWT" });
        let claims = json!({ "iss": ISSUER, "sub": sub, "aud": AUDIENCE, "iat": now, "exp": now + 3_600 });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}
