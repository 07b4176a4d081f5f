//! Redis, what instances share quickly: rate windows, and notices of the dead.
//!
//! It is never the source of truth. Emptied, restored old, or gone, it makes nothing alive and no quota start
//! again. Every script touches the keys of one slot, so a Cluster will do.

mod client;
mod rate_limiter;
mod revocation_cache;
mod script;
mod settings;

pub use client::Redis;
pub use rate_limiter::RedisRateLimiter;
pub use revocation_cache::RedisRevocationCache;
pub use settings::{RedisSettings, RedisSettingsError};
