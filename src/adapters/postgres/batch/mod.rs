//! Statements that serve all waiting callers in one round trip.
//!
//! `lookup` batches reads; `registration`, `token_issue` and `token_revocation` commit agents,
//! tokens and revocations in groups.

pub mod batcher;
mod lock_waiters;
pub mod lookup;
pub mod registration;
mod revision_cache;
pub mod token_issue;
pub mod token_revocation;
mod token_status;
