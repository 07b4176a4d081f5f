//! The operations of a kind of store at start and shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::start_error::StartError;
use crate::app::Stores;
use crate::config::{ConfigError, Secrets};
use crate::ports::rate_limiter::RateLimiter;

/// Where a service keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: all data is lost on exit.
    Memory,
    /// In a file of this instance alone.
    File,
    /// In a database server that several instances may share.
    Server,
}

impl StoreKind {
    /// Returns whether stored data outlives the process.
    pub const fn is_durable(self) -> bool {
        !matches!(self, Self::Memory)
    }
}

/// A kind of store that keeps its data.
#[async_trait]
pub(super) trait Backend: Send + Sync {
    /// Returns where the data is kept.
    fn kind(&self) -> StoreKind;

    /// Returns an error if the store cannot be opened, as far as that is known without a change.
    fn check(&self) -> Result<(), StartError> {
        Ok(())
    }

    /// Returns whether opening the store would create it.
    fn is_new(&self) -> bool {
        false
    }

    /// Returns the signing key that is kept with the data, and makes it at the first start.
    ///
    /// `None` if the store keeps none.
    fn signing_key(
        &self,
        make: &dyn Fn() -> Result<SecretString, StartError>,
    ) -> Result<Option<SecretString>, StartError>;

    /// Returns the file of the signing key that is kept with the data; `None` if the store keeps none.
    fn signing_key_file(&self) -> Option<PathBuf> {
        None
    }

    /// Brings the tables up to date. Waits up to `wait` for the store.
    async fn migrate(&self, wait: Duration) -> Result<(), StartError>;

    /// Opens the stores, whose tables are up to date.
    async fn open(&self, limiter: Arc<dyn RateLimiter>)
    -> Result<(Stores, Arc<dyn Connections>), StartError>;
}

/// Connections of an open store.
#[async_trait]
pub(super) trait Connections: Send + Sync {
    /// Name of what [`reload`](Self::reload) replaces.
    fn secret(&self) -> &'static str;

    /// Opens new connections with the password of these secrets from now on. Returns whether it has changed.
    ///
    /// Returns [`ConfigError`] if its URL is malformed, or if more than the password has changed.
    fn reload(&self, secrets: &Secrets) -> Result<bool, ConfigError>;

    /// Reports the state of the connections as metrics. Does not block.
    fn report(&self) {}

    /// Closes all connections.
    async fn close(&self);
}
