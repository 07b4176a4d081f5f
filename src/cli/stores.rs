//! Flags that say where data is kept.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::values::{key_prefix, secret, secret_text};
use crate::config::{ConfigError, DEFAULT_POOL_MAX, DEFAULT_STORE_WAIT_SECONDS, StoreConfig};

/// Locations and connection settings of the stores.
#[derive(Args, Debug, Clone)]
pub struct StoreArgs {
    /// File that keeps all data of a single instance; made at the first start, with the signing key and the first
    /// administrator. Same as `DATABASE_URL=sqlite:FILE`
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// PostgreSQL URL, or `sqlite:` and the path of a file; if omitted, all data is kept in memory
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub database_url: Option<SecretString>,
    /// File that contains `DATABASE_URL`
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub database_url_file: Option<PathBuf>,
    /// PostgreSQL URL for the role that owns the tables
    #[arg(long, env = "MIGRATION_DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub migration_database_url: Option<SecretString>,
    /// File that contains `MIGRATION_DATABASE_URL`
    #[arg(long, env = "MIGRATION_DATABASE_URL_FILE")]
    pub migration_database_url_file: Option<PathBuf>,
    /// Redis URL
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = secret_text)]
    pub redis_url: Option<SecretString>,
    /// File that contains `REDIS_URL`
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,
    /// Prefix of every key in Redis, for services that share one; letters, digits and `: . _ -`, at most 64
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "", hide_default_value = true, value_parser = key_prefix)]
    pub redis_key_prefix: String,
    /// Size of the connection pool, in addition to four dedicated connections and up to six for revocations and locks
    #[arg(long, env = "DB_POOL_MAX", default_value_t = DEFAULT_POOL_MAX, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_pool_max: u32,
    /// Seconds to wait at startup for PostgreSQL to be reachable and writable; Redis is not waited for
    #[arg(long, env = "STORE_WAIT_SECONDS", default_value_t = DEFAULT_STORE_WAIT_SECONDS, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub store_wait_seconds: u32,
}

impl StoreArgs {
    /// Returns the settings of the stores.
    ///
    /// Returns [`ConfigError`] if a URL and its file are both set, or if a file is unreadable or empty.
    pub fn resolve(&self) -> Result<StoreConfig, ConfigError> {
        let redis = secret("REDIS_URL", self.redis_url.as_ref(), self.redis_url_file.as_ref())?;
        Ok(StoreConfig { redis, ..self.resolve_database()? })
    }

    /// Returns the settings of the database alone, for commands that do without Redis.
    ///
    /// Returns [`ConfigError`] as [`resolve`](Self::resolve) does, but for the settings of Redis, which are not read.
    pub fn resolve_database(&self) -> Result<StoreConfig, ConfigError> {
        let (owner, owner_file) =
            (self.migration_database_url.as_ref(), self.migration_database_url_file.as_ref());
        Ok(StoreConfig {
            database: self.database()?,
            migration_database: secret("MIGRATION_DATABASE_URL", owner, owner_file)?,
            redis: None,
            redis_key_prefix: self.redis_key_prefix.clone(),
            pool_max: self.db_pool_max,
            wait: Duration::from_secs(self.store_wait_seconds.into()),
        })
    }

    /// Returns the URL of the store that keeps the data.
    pub(super) fn database(&self) -> Result<Option<SecretString>, ConfigError> {
        let url = secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_ref())?;
        match (&self.data, url) {
            (Some(_), Some(_)) => Err(ConfigError::new("--data and DATABASE_URL are both set; set one")),
            (Some(path), None) => match path.to_str() {
                Some(path) => Ok(Some(format!("sqlite://{path}").into())),
                None => Err(ConfigError::new("--data must be valid UTF-8")),
            },
            (None, url) => Ok(url),
        }
    }
}
