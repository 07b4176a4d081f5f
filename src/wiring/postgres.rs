//! PostgreSQL as the store of a service.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::backend::{Backend, Connections, StoreKind};
use super::start_error::StartError;
use super::store_wait::wait_for;
use crate::adapters::postgres::{
    self, PgSettings, Postgres, SchemaVersion, migrate, privileges, schema_version,
};
use crate::app::Stores;
use crate::config::{ConfigError, Secrets, StoreConfig};
use crate::ports::rate_limiter::RateLimiter;

/// Tables in PostgreSQL, with the role that serves and the role that owns them.
pub(super) struct PostgresBackend {
    database: PgSettings,
    /// If no owner is given, the serving role applies migrations.
    owner: Option<PgSettings>,
    pool_max: usize,
}

impl PostgresBackend {
    /// Parses the URL of the setting `name`, with the role that serves, and that of the configured owner.
    pub(super) fn new(name: &str, url: &SecretString, config: &StoreConfig) -> Result<Self, ConfigError> {
        let settings = |name: &str, url: &SecretString| {
            PgSettings::parse(url).map_err(|error| ConfigError::new(format!("{name} {error}")))
        };
        let owner = config.migration_database.as_ref();
        Ok(Self {
            database: settings(name, url)?,
            owner: owner.map(|url| settings("MIGRATION_DATABASE_URL", url)).transpose()?,
            pool_max: usize::try_from(config.pool_max).unwrap_or(usize::MAX),
        })
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    fn kind(&self) -> StoreKind {
        StoreKind::Server
    }

    fn signing_key(
        &self,
        _: &dyn Fn() -> Result<SecretString, StartError>,
    ) -> Result<Option<SecretString>, StartError> {
        Ok(None)
    }

    async fn migrate(&self, wait: Duration) -> Result<(), StartError> {
        let first = self.owner.as_ref().unwrap_or(&self.database);
        wait_for(wait, || postgres::check_connection(first), postgres::is_permanent).await?;
        match &self.owner {
            Some(owner) => migrate(owner, self.database.role()).await?,
            None if schema_version(&self.database).await? == SchemaVersion::Older => {
                migrate(&self.database, None).await.map_err(StartError::NotMigrated)?;
            }
            None => {}
        }
        Ok(())
    }

    async fn open(
        &self,
        limiter: Arc<dyn RateLimiter>,
    ) -> Result<(Stores, Arc<dyn Connections>), StartError> {
        match postgres::check_connection(&self.database).await {
            Err(error) if postgres::is_permanent(&error) => return Err(StartError::Store(error)),
            // If it is unavailable again, the first request to it waits.
            _ => {}
        }
        warn_of_privileges(&self.database).await;
        let postgres = Arc::new(Postgres::new(&self.database, self.pool_max).map_err(StartError::Store)?);
        Ok((Stores::of(&postgres, limiter), postgres))
    }
}

#[async_trait]
impl Connections for Postgres {
    fn secret(&self) -> &'static str {
        "password of PostgreSQL"
    }

    fn reload(&self, secrets: &Secrets) -> Result<bool, ConfigError> {
        let Some(url) = secrets.database.as_ref().map_err(Clone::clone)? else { return Ok(false) };
        Self::reload(self, url).map_err(|error| ConfigError::new(format!("DATABASE_URL {error}")))
    }

    fn report(&self) {
        self.report_connections();
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// Logs a warning if the serving role could change the audit log or create objects.
async fn warn_of_privileges(database: &PgSettings) {
    match privileges(database).await {
        Ok(privileges) if privileges.is_superuser || privileges.may_change_the_audit => tracing::warn!(
            role = database.role(),
            "the role of DATABASE_URL can modify the audit log; use a separate serving role in DATABASE_URL, and the role that owns the tables in MIGRATION_DATABASE_URL"
        ),
        Ok(privileges) if privileges.may_create => tracing::warn!(
            role = database.role(),
            "the role of DATABASE_URL can create objects in the schema of the tables; as the schema's owner run: REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn Error,
                "cannot read the privileges of the role of DATABASE_URL"
            );
        }
    }
}
