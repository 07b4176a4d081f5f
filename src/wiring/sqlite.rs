//! One SQLite file as the store of a service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::backend::{Backend, Connections, StoreKind};
use super::service::key_error;
use super::start_error::StartError;
use crate::adapters::crypto::{KeySet, KeySetError};
use crate::adapters::sqlite::{self, Sqlite, signing_key};
use crate::app::Stores;
use crate::config::{ConfigError, Secrets, StoreConfig};
use crate::ports::rate_limiter::RateLimiter;

/// Returns the path in what follows `sqlite:`. As other programs write it, `sqlite:///path` is `/path`.
pub(super) fn path_of(rest: &str) -> &str {
    rest.strip_prefix("//").unwrap_or(rest)
}

/// A file, and the key next to it.
pub(super) struct SqliteBackend {
    path: PathBuf,
}

impl SqliteBackend {
    /// Parses what follows `sqlite:` in the setting `name`.
    pub(super) fn new(name: &str, path: &str, config: &StoreConfig) -> Result<Self, ConfigError> {
        let wrong = |reason: &str| Err(ConfigError::new(reason.to_owned()));
        let path = path_of(path);
        if path.is_empty() || path.contains(['?', '#']) || path == ":memory:" {
            return Err(ConfigError::new(format!(
                "{name} must name a file after sqlite:, without parameters, such as sqlite:agentidp.db; without {name}, \
                 all data is kept in memory"
            )));
        }
        if config.migration_database.is_some() {
            return wrong("MIGRATION_DATABASE_URL: a file has no roles; unset it");
        }
        if config.redis.is_some() {
            return wrong(
                "REDIS_URL: Redis is what several instances share, and a file serves one instance; unset it, or use \
                 PostgreSQL",
            );
        }
        Ok(Self { path: PathBuf::from(path) })
    }

    /// Copies the file and its key to a folder.
    pub(super) async fn backup(self, folder: PathBuf) -> Result<(), StartError> {
        let made = tokio::task::spawn_blocking(move || sqlite::backup(&self.path, &folder)).await;
        Ok(made.map_err(|error| StartError::Io(std::io::Error::other(error)))??)
    }

    async fn opened(&self) -> Result<Sqlite, StartError> {
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await;
        Ok(opened.map_err(|error| StartError::Io(std::io::Error::other(error)))??)
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    fn kind(&self) -> StoreKind {
        StoreKind::File
    }

    fn signing_key(
        &self,
        make: &dyn Fn() -> Result<SecretString, StartError>,
    ) -> Result<Option<SecretString>, StartError> {
        let make = || make().map(|pem| pem.expose_secret().to_owned());
        let pem = signing_key(&self.path, make)?;
        KeySet::from_pem(&pem, "").map_err(|error| match error {
            KeySetError::Private(error) | KeySetError::Public(error) => {
                key_error(&format!("{}.key", self.path.display()), error)
            }
        })?;
        Ok(Some(pem.into()))
    }

    fn signing_key_file(&self) -> Option<PathBuf> {
        Some(sqlite::key_path(&self.path))
    }

    fn check(&self) -> Result<(), StartError> {
        Ok(sqlite::check(&self.path)?)
    }

    fn is_new(&self) -> bool {
        !self.path.exists()
    }

    async fn migrate(&self, _: Duration) -> Result<(), StartError> {
        self.opened().await?.close().await;
        Ok(())
    }

    async fn open(
        &self,
        limiter: Arc<dyn RateLimiter>,
    ) -> Result<(Stores, Arc<dyn Connections>), StartError> {
        let sqlite = Arc::new(self.opened().await?);
        Ok((Stores::of(&sqlite, limiter), sqlite))
    }
}

#[async_trait]
impl Connections for Sqlite {
    fn secret(&self) -> &'static str {
        "password of SQLite"
    }

    fn reload(&self, _: &Secrets) -> Result<bool, ConfigError> {
        Ok(false)
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
