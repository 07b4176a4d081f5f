//! Decorators that keep the service working when a store fails.
//!
//! Each keeps the promises of what it wraps.

mod breaker;
mod rate_limiter;
mod token_store;

pub use rate_limiter::FallbackRateLimiter;
pub use token_store::FallbackTokenStore;
