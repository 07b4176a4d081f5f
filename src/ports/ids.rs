//! New identities.

use uuid::Uuid;

/// Makes ids.
pub trait Ids: Send + Sync {
    /// A UUIDv7 (RFC 9562) that no call of any instance has given before. Later ones sort after earlier
    /// ones of the same instance.
    fn next(&self) -> Uuid;
}
