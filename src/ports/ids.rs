//! New IDs.

use uuid::Uuid;

/// Generator of unique IDs.
pub trait Ids: Send + Sync {
    /// Returns a UUIDv7 (RFC 9562) that no call on any instance has returned before.
    ///
    /// Later IDs sort after earlier ones of the same instance.
    fn next(&self) -> Uuid;
}
