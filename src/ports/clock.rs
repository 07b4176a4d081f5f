//! The current time.

use domain::time::Timestamp;

/// Source of the current time, truncated to the millisecond.
pub trait Clock: Send + Sync {
    /// Returns the current instant.
    fn now(&self) -> Timestamp;
}
