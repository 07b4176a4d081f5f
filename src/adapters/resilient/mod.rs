//! Decorators that keep the core going when a store does not: they hold the same promises as what they wrap.

mod breaker;
mod rate_limiter;
mod token_store;

pub use rate_limiter::FallbackRateLimiter;
pub use token_store::FallbackTokenStore;
