//! Redis, for what all instances share, in addition to the store of a service.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::backend::Connections;
use super::clock_source::ClockSource;
use super::start_error::StartError;
use crate::adapters::redis::{
    FallbackRateLimiter, FallbackTokenStore, Redis, RedisRateLimiter, RedisRevocationCache, RedisSettings,
    RedisUsageMirror,
};
use crate::app::Stores;
use crate::config::{ConfigError, Secrets, StoreConfig};
use crate::ports::store_error::StoreError;

/// Parses the URL of Redis.
pub(super) fn settings(url: &SecretString, config: &StoreConfig) -> Result<RedisSettings, ConfigError> {
    let settings =
        RedisSettings::parse(url).map_err(|error| ConfigError::new(format!("REDIS_URL {error}")))?;
    Ok(settings.with_key_prefix(&config.redis_key_prefix))
}

/// Shares rates, revocations and usage of these stores through Redis.
pub(super) fn share(mut stores: Stores, redis: &Arc<Redis>, clock_source: &ClockSource) -> Stores {
    let driven = match clock_source {
        ClockSource::System(_) => None,
        ClockSource::Injected(clock) => Some(clock.clone()),
    };
    let clock = clock_source.clock();
    let shared = Arc::new(RedisRateLimiter::new(redis.clone(), driven));
    let revocation_cache = Arc::new(RedisRevocationCache::new(redis.clone(), clock.clone()));
    let limiter = Arc::new(FallbackRateLimiter::new(shared, stores.limiter));
    stores.health.push(limiter.clone());
    Stores {
        tokens: Arc::new(FallbackTokenStore::new(stores.tokens, revocation_cache.clone())),
        limiter,
        revocation_cache: Some(revocation_cache),
        usage_mirror: Some(Arc::new(RedisUsageMirror::new(redis.clone(), clock.clone()))),
        ..stores
    }
}

#[async_trait]
impl Connections for Redis {
    fn secret(&self) -> &'static str {
        "password of Redis"
    }

    fn reload(&self, secrets: &Secrets) -> Result<bool, ConfigError> {
        let Some(url) = secrets.redis.as_ref().map_err(Clone::clone)? else { return Ok(false) };
        Self::reload(self, url).map_err(|error| ConfigError::new(format!("REDIS_URL {error}")))
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// Connects to Redis, or keeps connecting in the background.
///
/// Nothing needs Redis to start, and an outage of Redis must not keep instances from starting. Only a wrong setting
/// or password is an error.
pub(super) async fn connect(settings: &RedisSettings) -> Result<Arc<Redis>, StartError> {
    match Redis::connect(settings).await {
        Ok(redis) => Ok(redis),
        Err(error) if error.is_permanent => Err(StartError::Store(error.into())),
        Err(error) => {
            let error = StoreError::from(error);
            tracing::warn!(
                error = &error as &dyn Error,
                "starting without Redis; retrying in the background"
            );
            Redis::connect_in_background(settings).map_err(StartError::Store)
        }
    }
}
