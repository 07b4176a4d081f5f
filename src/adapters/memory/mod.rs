//! In-memory stores, for tests, demonstrations, and for embedding the core.
//!
//! [`Memory`] is the reference for every other store. One lock around plain maps makes each call a transaction, so a
//! change and its events are both stored or neither is.

#![warn(missing_docs)]

mod agent_store;
mod audit_log;
mod credential_store;
mod inventory_store;
mod issuer_store;
mod organization_store;
mod outbox;
mod rate_limiter;
mod retention;
mod state;
mod token_store;
mod usage_store;

pub use rate_limiter::MemoryRateLimiter;
pub use state::Memory;
