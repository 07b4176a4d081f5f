//! The stores of a service: chosen by the scheme of their URL, opened, and closed.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::backend::{Backend, Connections};
use super::clock_source::ClockSource;
use super::postgres::PostgresBackend;
use super::redis;
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
    match url.expose_secret().split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => Ok(Box::new(PostgresBackend::new(name, url, config)?)),
        _ => Err(ConfigError::new(format!(
            "{name} must be a URL that begins with postgres:// or postgresql://"
        ))),
    }
}

/// The open stores of one service.
#[derive(Clone)]
pub(super) struct OpenStores {
    /// The stores as ports.
    pub stores: Stores,
    /// Whether stored data outlives the process.
    pub are_durable: bool,
    connections: Vec<Arc<dyn Connections>>,
}

impl OpenStores {
    /// Opens the configured stores, with tables that are up to date.
    ///
    /// Waits for the database if it is unavailable. Redis is not waited for.
    pub(super) async fn open(config: &StoreConfig, clock_source: &ClockSource) -> Result<Self, StartError> {
        let backend =
            config.database.as_ref().map(|url| by_scheme("DATABASE_URL", url, config)).transpose()?;
        if backend.is_none() && config.migration_database.is_some() {
            let reason = "MIGRATION_DATABASE_URL: set DATABASE_URL too, for the serving role";
            return Err(ConfigError::new(reason).into());
        }
        let redis = config.redis.as_ref().map(|url| redis::settings(url, config)).transpose()?;
        let limiter = Arc::new(MemoryRateLimiter::new(clock_source.clock().clone()));
        let mut open = match &backend {
            None => {
                let stores = Stores::of(&Arc::new(Memory::default()), limiter);
                Self { stores, are_durable: false, connections: Vec::new() }
            }
            Some(backend) => {
                backend.migrate(config.wait).await?;
                let (stores, connections) = backend.open(limiter).await?;
                Self { stores, are_durable: true, connections: vec![connections] }
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

    /// Closes all connections.
    pub(super) async fn close(&self) {
        for connections in &self.connections {
            connections.close().await;
        }
    }
}
