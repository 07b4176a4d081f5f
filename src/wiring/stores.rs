//! Opens the configured stores, waits for them, connects them to the ports, and closes them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::adapters::memory::{Memory, MemoryRateLimiter};
use crate::adapters::postgres::{
    self, MigrationError, PgSettings, Postgres, SchemaVersion, migrate, privileges, schema_version,
};
use crate::adapters::redis::{
    FallbackRateLimiter, FallbackTokenStore, Redis, RedisRateLimiter, RedisRevocationCache, RedisSettings,
    RedisUsageMirror,
};
use crate::app::Stores;
use crate::app::bootstrap::BootstrapError;
use crate::config::{ConfigError, StoreArgs};
use crate::ports::clock::Clock;
use crate::ports::store_error::StoreError;

/// Interval at which a store that is unavailable at start is retried.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// Interval at which the log repeats which store the start is waiting for.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Clock that rate windows and revocation notices follow.
#[derive(Clone)]
pub(super) enum ClockSource {
    /// The system clock, and Redis's own clock for rate windows in Redis.
    System(Arc<dyn Clock>),
    /// A test's clock, everywhere.
    Injected(Arc<dyn Clock>),
}

impl ClockSource {
    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        let (Self::System(clock) | Self::Injected(clock)) = self;
        clock
    }
}

/// The open stores of one service.
#[derive(Clone)]
pub(super) struct OpenStores {
    /// The stores as ports.
    pub ports: Stores,
    postgres: Option<Arc<Postgres>>,
    redis: Option<Arc<Redis>>,
}

impl OpenStores {
    /// Creates all stores in memory.
    pub(super) fn in_memory(clock_source: &ClockSource) -> Self {
        let limiter = Arc::new(MemoryRateLimiter::new(clock_source.clock().clone()));
        let ports = Stores::of(&Arc::new(Memory::default()), limiter);
        Self { ports, postgres: None, redis: None }
    }

    /// Opens the configured stores, with tables that are up to date.
    ///
    /// Waits for PostgreSQL if it is unavailable. Redis is not waited for.
    pub(super) async fn open(args: &StoreArgs, clock_source: &ClockSource) -> Result<Self, StartError> {
        let database = pg_settings("DATABASE_URL", args.database()?)?;
        let owner = pg_settings("MIGRATION_DATABASE_URL", args.migration_database()?)?;
        let redis = match args.redis()? {
            None => None,
            Some(url) => {
                let settings = RedisSettings::parse(&url).map_err(|error| wrong("REDIS_URL", &error))?;
                Some(settings.with_key_prefix(&args.redis_key_prefix))
            }
        };
        let patience = Duration::from_secs(args.store_wait_seconds.into());
        let mut stores = Self::in_memory(clock_source);
        if let Some(database) = database {
            bring_up_to_date(&database, owner.as_ref(), patience).await?;
            warn_of_privileges(&database).await;
            let connections = usize::try_from(args.db_pool_max).unwrap_or(usize::MAX);
            let postgres = Arc::new(Postgres::new(&database, connections).map_err(StartError::Store)?);
            stores = stores.on_postgres(postgres);
        } else if owner.is_some() {
            let reason = "MIGRATION_DATABASE_URL: set DATABASE_URL too, for the serving role";
            return Err(ConfigError::new(reason).into());
        }
        if let Some(settings) = redis {
            let redis = connect_redis(&settings).await?;
            stores = stores.beside_redis(redis, clock_source);
        }
        Ok(stores)
    }

    fn on_postgres(self, postgres: Arc<Postgres>) -> Self {
        let ports = Stores::of(&postgres, self.ports.limiter);
        Self { ports, postgres: Some(postgres), ..self }
    }

    fn beside_redis(mut self, redis: Arc<Redis>, clock_source: &ClockSource) -> Self {
        let driven = match clock_source {
            ClockSource::System(_) => None,
            ClockSource::Injected(clock) => Some(clock.clone()),
        };
        let shared = Arc::new(RedisRateLimiter::new(redis.clone(), driven));
        let revocation_cache =
            Arc::new(RedisRevocationCache::new(redis.clone(), clock_source.clock().clone()));
        let usage_mirror = Arc::new(RedisUsageMirror::new(redis.clone(), clock_source.clock().clone()));
        let fallback = Arc::new(FallbackTokenStore::new(self.ports.tokens, revocation_cache.clone()));
        let limiter = Arc::new(FallbackRateLimiter::new(shared, self.ports.limiter));
        self.ports.health.push(limiter.clone());
        let ports = Stores {
            tokens: fallback,
            limiter,
            revocation_cache: Some(revocation_cache),
            usage_mirror: Some(usage_mirror),
            ..self.ports
        };
        Self { ports, redis: Some(redis), ..self }
    }

    /// Returns whether stored data outlives the process.
    pub(super) fn are_durable(&self) -> bool {
        self.postgres.is_some()
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.close().await;
        }
        if let Some(redis) = &self.redis {
            redis.close().await;
        }
    }
}

/// Applies the missing migrations, as the role that owns the tables.
///
/// If no owner is given, the serving role applies them. Waits up to `patience` for PostgreSQL.
pub(super) async fn bring_up_to_date(
    database: &PgSettings,
    owner: Option<&PgSettings>,
    patience: Duration,
) -> Result<(), StartError> {
    let first = owner.unwrap_or(database);
    wait_for("PostgreSQL", patience, || postgres::check_connection(first), postgres::is_permanent).await?;
    match owner {
        Some(owner) => migrate(owner, database.role()).await?,
        None if schema_version(database).await? == SchemaVersion::Older => {
            migrate(database, None).await.map_err(StartError::NotMigrated)?;
        }
        None => {}
    }
    Ok(())
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

/// Parses the PostgreSQL URL of the setting with this name.
pub(super) fn pg_settings(name: &str, url: Option<SecretString>) -> Result<Option<PgSettings>, ConfigError> {
    url.map(|url| PgSettings::parse(&url)).transpose().map_err(|error| wrong(name, &error))
}

fn wrong(name: &str, error: &dyn Error) -> ConfigError {
    ConfigError::new(format!("{name} {error}"))
}

/// Connects to Redis, or keeps connecting in the background.
///
/// Nothing needs Redis to start, and an outage of Redis must not keep instances from starting. Only a wrong setting
/// or password is an error.
async fn connect_redis(settings: &RedisSettings) -> Result<Arc<Redis>, StartError> {
    match Redis::connect(settings).await {
        Ok(redis) => Ok(redis),
        Err(error) if error.is_final => Err(StartError::Store(error.into())),
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

/// Retries `connect` until it succeeds, fails for good, or `patience` has elapsed.
pub(super) async fn wait_for<T, F>(
    store: &str,
    patience: Duration,
    connect: impl Fn() -> F,
    is_final: impl Fn(&StoreError) -> bool,
) -> Result<T, StartError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    let mut told: Option<Instant> = None;
    let mut pause = interval(TRY_EVERY);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        match connect().await {
            Ok(connected) => return Ok(connected),
            Err(error) if is_final(&error) || began.elapsed() >= patience => {
                return Err(StartError::Store(error));
            }
            Err(error) if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) => {
                told = Some(Instant::now());
                tracing::info!(error = &error as &dyn Error, "waiting for {store}");
            }
            Err(_) => {}
        }
    }
}

/// Error that prevented the service from starting or from shutting down in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system returned an error.
    #[error("{0}")]
    Io(#[source] std::io::Error),
    /// A second signal interrupted the shutdown.
    #[error("interrupted by a second signal")]
    CutShort,
    /// The organization `default` or an administrator could not be created.
    #[error("no administrator was created")]
    Bootstrap(#[from] BootstrapError),
    /// A store could not be opened.
    #[error(transparent)]
    Store(StoreError),
    /// The serving role could not apply the migrations.
    #[error(
        "PostgreSQL: the role of DATABASE_URL cannot migrate the tables; \
         set MIGRATION_DATABASE_URL to a URL with the role that owns them"
    )]
    NotMigrated(#[source] MigrationError),
    /// A migration failed, or the schema version could not be read.
    #[error("PostgreSQL")]
    Migration(#[from] MigrationError),
}
