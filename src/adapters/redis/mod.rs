//! Redis: rate windows and revocation notices, shared quickly between instances.
//!
//! Redis is never the source of truth. If it is emptied, restored from an old copy, or lost, no inactive token
//! becomes active and no quota starts again. Every script uses the keys of one slot, so Redis Cluster is supported.

#![warn(missing_docs)]

mod client;
mod fallback;
mod raised_number;
mod rate_limiter;
mod revocation_cache;
mod script;
mod settings;
mod usage_mirror;

pub use client::Redis;
pub use fallback::{FallbackRateLimiter, FallbackTokenStore};
pub use rate_limiter::RedisRateLimiter;
pub use revocation_cache::RedisRevocationCache;
pub use settings::{RedisSettings, RedisSettingsError};
pub use usage_mirror::RedisUsageMirror;
