//! Connection settings of Redis.

use std::time::Duration;

use fred::types::config::Config;
use secrecy::{ExposeSecret as _, SecretString};

/// Maximum time that a command may take.
pub(super) const COMMAND: Duration = Duration::from_millis(250);
/// Maximum time that a connection attempt may take.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

/// Location of Redis, parsed from a URL.
#[derive(Clone)]
pub struct RedisSettings {
    pub(super) config: Config,
    /// Starts every key.
    pub(super) key_prefix: String,
}

impl RedisSettings {
    /// Parses the URL of a Redis server, cluster or sentinel.
    ///
    /// Accepts `redis://`, `rediss://` (TLS), `redis-cluster://`, `redis-sentinel://`, their `rediss-` forms, and
    /// `redis+unix://` with a path and `?db=`. The error never contains the password.
    pub fn parse(url: &SecretString) -> Result<Self, RedisSettingsError> {
        let url = url.expose_secret();
        if !url.starts_with("redis") || !url.contains("://") {
            return Err(RedisSettingsError::NoUrl);
        }
        let mut config = Config::from_url(url).map_err(|_| RedisSettingsError::Malformed)?;
        if let Some((_, query)) = url.split_once('?').filter(|_| config.server.is_unix_socket()) {
            let database = query.split('&').find_map(|parameter| parameter.strip_prefix("db="));
            config.database = match database.map(str::parse) {
                None => None,
                Some(Ok(database)) => Some(database),
                Some(Err(_)) => return Err(RedisSettingsError::Malformed),
            };
        }
        Ok(Self { config, key_prefix: String::new() })
    }

    /// The same server, with keys that start with this prefix, so that several services can share it.
    #[must_use]
    pub fn with_key_prefix(self, key_prefix: &str) -> Self {
        Self { key_prefix: key_prefix.to_owned(), ..self }
    }
}

/// Error of an invalid URL. Never contains the URL.
#[derive(Debug, thiserror::Error)]
pub enum RedisSettingsError {
    /// The text is not a URL of Redis.
    #[error(
        "must be a URL that begins with redis://, rediss://, redis-cluster://, redis-sentinel:// or redis+unix://"
    )]
    NoUrl,
    /// The URL cannot be parsed.
    #[error("cannot be parsed as a URL; percent-encode special characters in the password")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_run_redis_has_a_url() {
        for url in [
            "redis://localhost",
            "redis://:word@db.example.com:6380/3",
            "rediss://user:word@db.example.com",
            "redis-cluster://a:7000?node=b:7001&node=c:7002",
            "rediss-cluster://a:7000",
            "redis-sentinel://a:26379?node=b:26379&sentinelServiceName=main",
            "redis+unix:///run/redis.sock?db=3",
        ] {
            assert!(RedisSettings::parse(&url.into()).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for url in ["http://:hunter2@db", "redis://:hunter2@db:port", "redis+unix:///hunter2?db=x"] {
            let error = RedisSettings::parse(&url.into()).err().expect("a fault").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
