//! The time.

use crate::domain::time::Timestamp;

/// Tells the time, cut to the millisecond.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}
