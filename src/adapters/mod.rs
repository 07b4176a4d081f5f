//! Adapters: each folder implements ports with one technology, or drives the use cases.
//!
//! Adapters do not depend on each other, but on `shares`, which divides resources between organizations, and on
//! `stored_json`, by which durable stores keep values alike; [`wiring`](crate::wiring) selects and connects them.

pub use crypto;
pub use http;
pub use issuers;
pub use memory;
pub use postgres;
pub use redis;
pub use sqlite;
pub use system;
