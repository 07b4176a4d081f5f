//! Statements that serve all waiting callers in one round trip.
//!
//! `lookup` batches reads; `token_issue` and `token_revocation` commit tokens and revocations in groups.

pub mod batcher;
pub mod group;
mod lock_waiters;
pub mod lookup;
mod revision_cache;
pub mod token_issue;
pub mod token_revocation;
mod token_status;
