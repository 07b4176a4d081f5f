//! Valid requests, and values that are used once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};

use agentidp::adapters::crypto::{JwtSigner, KeySet};
use agentidp::domain::jwk::PublicKey;
use agentidp::ports::token_signer::TokenSigner as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// ID of no agent, credential or organization.
pub const UNKNOWN_ID: &str = "01920000-0000-7000-8000-000000000000";

/// Every management scope, the one that reaches across tenants last.
pub const MANAGEMENT_SCOPES: [&str; 8] = [
    "agents:read",
    "agents:write",
    "credentials:write",
    "tokens:read",
    "audit:read",
    "admin:orgs",
    "issuers:read",
    "issuers:write",
];

/// Returns a number that no other call in this process returns.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns a text in which this occurs, replaced. Panics if it does not occur.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

/// Returns a free port on a loopback address that only this process uses.
///
/// On 127.0.0.1 the port could be taken by an outgoing connection before it is used.
pub fn free_address() -> SocketAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let listener = TcpListener::bind((Ipv4Addr::new(127, a, b, c), 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

/// Returns a body that registers an agent with these capabilities.
pub fn new_agent(capabilities: &[&str]) -> Value {
    json!({
        "email": format!("agent-{}@example.com", unique()),
        "agentType": "custom",
        "version": "1.0.0",
        "capabilities": capabilities,
        "owner": "team",
        "deploymentEnv": "development",
    })
}

/// Returns the body of a request to trust an issuer with a pinned key.
pub fn trusted_issuer() -> Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1" });
    json!({
        "name": "Example",
        "issuer": format!("https://issuer-{}.example.com", unique()),
        "keys": { "type": "jwks", "jwks": { "keys": [key] } },
    })
}

/// Returns the value of a Basic `Authorization` header. Neither part is form-encoded first.
pub fn basic_auth(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Returns the public part of a private key in PEM, as a JWK (RFC 7517).
pub fn public_jwk(pem: &str) -> Value {
    let keys = KeySet::from_pem(pem, "").expect("a key");
    let published = JwtSigner::new("unused".into(), keys).published_keys();
    match &published[0].key {
        PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": n, "e": e }),
        PublicKey::P256 { x, y } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        PublicKey::P384 { x, y } => json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y }),
        PublicKey::Ed25519 { x } => json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
    }
}
