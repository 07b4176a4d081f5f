//! Adapters: each folder implements ports with one technology, or drives the use cases.
//!
//! Adapters do not depend on each other, but on `shares`, which divides resources between organizations; [`wiring`](crate::wiring) selects and connects them.

pub use crypto;
pub use http;
pub use issuers;
pub use memory;
pub use postgres;
pub use redis;
pub use system;
