//! Everything in memory: for tests, demonstrations, and for embedding the core.
//!
//! [`Memory`] is the reference for every other store. One lock around plain maps makes each call a
//! transaction, so a change and its events are there together or not at all.

mod agent_store;
mod audit_log;
mod credential_store;
mod organization_store;
mod outbox;
mod rate_limiter;
mod state;
mod token_store;
mod usage_store;

pub use rate_limiter::MemoryRateLimiter;
pub use state::Memory;
