//! The stores of a service: chosen by the scheme of their URL, opened, and closed.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::backend::{Backend, Connections, StoreKind};
use super::clock_source::ClockSource;
use super::postgres::PostgresBackend;
use super::redis;
use super::sqlite::SqliteBackend;
use super::start_error::StartError;
use crate::adapters::memory::{Memory, MemoryRateLimiter};
use crate::app::Stores;
use crate::config::{ConfigError, Secrets, StoreConfig};

/// Returns the backend of a database URL, by its scheme. `name` is the setting that has the URL.
///
/// Returns [`ConfigError`] if no store has this scheme, or if the URL is malformed.
pub(super) fn by_scheme(
    name: &str,
    url: &SecretString,
    config: &StoreConfig,
) -> Result<Box<dyn Backend>, ConfigError> {
    match url.expose_secret().split_once(':') {
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            Ok(Box::new(PostgresBackend::new(name, url, config)?))
        }
        Some(("sqlite", path)) => Ok(Box::new(SqliteBackend::new(name, path, config)?)),
        _ => Err(ConfigError::new(format!(
            "{name} must be a URL that begins with postgres:// or postgresql://, or sqlite: and a path"
        ))),
    }
}

/// Returns the configured backend; `None` if all data is kept in memory.
pub(super) fn configured(config: &StoreConfig) -> Result<Option<Box<dyn Backend>>, ConfigError> {
    let backend = config.database.as_ref().map(|url| by_scheme("DATABASE_URL", url, config)).transpose()?;
    if backend.is_none() && config.migration_database.is_some() {
        let reason = "MIGRATION_DATABASE_URL: set DATABASE_URL too, for the serving role";
        return Err(ConfigError::new(reason));
    }
    Ok(backend)
}

/// The open stores of one service.
#[derive(Clone)]
pub(super) struct OpenStores {
    /// The stores as ports.
    pub stores: Stores,
    /// Where the data is kept.
    pub kind: StoreKind,
    connections: Vec<Arc<dyn Connections>>,
}

impl OpenStores {
    /// Opens the stores of the configured backend, with tables that are up to date.
    ///
    /// Waits for the database if it is unavailable. Redis is not waited for.
    pub(super) async fn open(
        backend: Option<&dyn Backend>,
        config: &StoreConfig,
        clock_source: &ClockSource,
    ) -> Result<Self, StartError> {
        let redis = config.redis.as_ref().map(|url| redis::settings(url, config)).transpose()?;
        let limiter = Arc::new(MemoryRateLimiter::new(clock_source.clock().clone()));
        let mut open = match backend {
            None => {
                let stores = Stores::of(&Arc::new(Memory::default()), limiter);
                Self { stores, kind: StoreKind::Memory, connections: Vec::new() }
            }
            Some(backend) => {
                backend.migrate(config.wait).await?;
                let (stores, connections) = backend.open(limiter).await?;
                Self { stores, kind: backend.kind(), connections: vec![connections] }
            }
        };
        if let Some(settings) = redis {
            let redis = redis::connect(&settings).await?;
            open.stores = redis::share(open.stores, &redis, clock_source);
            open.connections.push(redis);
        }
        Ok(open)
    }

    /// Replaces the passwords of all connections. Returns for each whether it has changed.
    pub(super) fn reload(
        &self,
        secrets: &Secrets,
    ) -> impl Iterator<Item = (&'static str, Result<bool, ConfigError>)> {
        self.connections.iter().map(|connections| (connections.secret(), connections.reload(secrets)))
    }

    /// Reports the state of all connections as metrics.
    pub(super) fn report(&self) {
        self.connections.iter().for_each(|connections| connections.report());
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        for connections in &self.connections {
            connections.close().await;
        }
    }
}
