//! Writes on behalf of a caller.

use domain::audit::{AuditEvent, Authority};
use domain::time::Timestamp;

/// Conditions of a write, and the events recorded with it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Authority of the caller, checked in the same transaction; `None` for the operator of the service.
    pub authority: Option<&'a Authority>,
    /// Events of the change, stored in the same transaction.
    pub events: &'a [AuditEvent],
    /// Instant of the write. Whether a credential that it changes is live is judged by it.
    pub at: Timestamp,
}

/// The caller's authority no longer held when its write was to be stored. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's authorization was revoked while the change was in progress")]
pub struct CallerRevoked;
