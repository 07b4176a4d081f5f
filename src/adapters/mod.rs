//! How the world answers: each folder implements ports with one kind of means, or drives the core.
//!
//! No adapter knows another; [`wiring`](crate::wiring) chooses and joins them.

pub mod crypto;
pub mod http;
pub mod memory;
pub mod postgres;
pub mod redis;
pub mod resilient;
pub mod system;
