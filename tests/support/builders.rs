//! Valid requests, and values that are used once.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// ID of no agent, credential or organization.
pub const UNKNOWN_ID: &str = "01920000-0000-7000-8000-000000000000";

/// Returns a number that no other call in this process returns.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
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

/// Returns the value of a Basic `Authorization` header. Neither part is form-encoded first.
pub fn basic_auth(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
