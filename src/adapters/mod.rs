//! Adapters: each folder implements ports with one technology, or drives the use cases.
//!
//! Adapters do not depend on each other; [`wiring`](crate::wiring) selects and connects them.

pub mod crypto;
pub mod http;
pub mod memory;
pub mod postgres;
pub mod redis;
pub mod system;
