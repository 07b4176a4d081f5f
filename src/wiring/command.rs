//! One-shot commands: `migrate`, `bootstrap`.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::backend::Backend;
use super::clock_source::ClockSource;
use super::open_stores::{OpenStores, by_scheme, configured};
use super::service::{core, fetched_keys, hasher, key_error, new_key};
use super::sqlite::SqliteBackend;
use super::start_error::StartError;
use crate::adapters::crypto::{HmacCursorSeal, JwtSigner, KeySet, generate_pem};
use crate::adapters::issuers::IssuerKeySettings;
use crate::adapters::system::SystemClock;
use crate::app::bootstrap::Administrator;
use crate::app::{App, Settings};
use crate::config::{
    ConfigError, DEFAULT_ADDRESS_REQUESTS_PER_MINUTE, DEFAULT_DELEGATION_DEPTH, DEFAULT_TOKEN_TTL_SECONDS,
    StoreConfig,
};
use crate::domain::jwk::KeyType;

/// Applies all missing migrations to the configured database.
pub async fn migrate_tables(config: &StoreConfig) -> Result<(), StartError> {
    // Without a serving role, the owner of the tables is the only role.
    let owner_alone = StoreConfig { migration_database: None, ..config.clone() };
    let (name, url, config) = match (&config.database, &config.migration_database) {
        (Some(url), _) => ("DATABASE_URL", url, config),
        (None, Some(owner)) => ("MIGRATION_DATABASE_URL", owner, &owner_alone),
        (None, None) => {
            return Err(needs_database("migrate", "in memory there is nothing to migrate").into());
        }
    };
    let backend = by_scheme(name, url, config)?;
    keep_key(&*backend)?;
    backend.migrate(config.wait).await
}

/// Copies the file that keeps the data, and its key, to a folder, while it is served.
pub async fn backup(config: &StoreConfig, folder: PathBuf) -> Result<(), StartError> {
    let path = config.database.as_ref().and_then(|url| url.expose_secret().strip_prefix("sqlite:"));
    let Some(path) = path else {
        let reason =
            "backup copies the file that --data names; for PostgreSQL use pg_dump or a physical backup";
        return Err(ConfigError::new(reason).into());
    };
    SqliteBackend::new("--data", path, config)?.backup(folder).await
}

/// Creates the organization `default` and its first administrator; another administrator if `recover`.
///
/// Nothing of this needs Redis, which is best left out of the settings.
pub async fn bootstrap(
    config: &StoreConfig,
    bcrypt_cost: u32,
    recover: bool,
) -> Result<Administrator, StartError> {
    if config.database.is_none() {
        return Err(needs_database("bootstrap", "in memory, `serve` creates the first administrator").into());
    }
    let backend = configured(config)?;
    if let Some(backend) = &backend {
        if recover && backend.is_new() {
            return Err(
                ConfigError::new("--recover: there is no such file, and so nothing to recover").into()
            );
        }
        keep_key(&**backend)?;
    }
    let stores = OpenStores::open(backend.as_deref(), config, &machine_time()).await?;
    let app = app_without_key(&stores, bcrypt_cost)?;
    let outcome = match recover {
        true => app.bootstrap.another_administrator().await,
        false => app.bootstrap.first_administrator().await,
    };
    stores.close().await;
    Ok(outcome?)
}

/// Makes the signing key of a new store that keeps one, because data without its key would not be served.
fn keep_key(backend: &dyn Backend) -> Result<(), StartError> {
    backend.check()?;
    backend.signing_key(&new_key).map(drop)
}

/// Creates the use cases with a temporary signing key, for commands that publish no signature.
fn app_without_key(stores: &OpenStores, bcrypt_cost: u32) -> Result<App, StartError> {
    let pem = generate_pem(KeyType::Ed25519).map_err(|error| key_error("the key", error))?;
    let keys = KeySet::from_pem(&pem, "").map_err(|error| ConfigError::new(error.to_string()))?;
    let issuer: Arc<str> = "http://127.0.0.1:3000".into();
    let cursors = HmacCursorSeal::new(&keys.derive("audit cursor"));
    let hasher = Arc::new(hasher(bcrypt_cost, &keys)?);
    let signer = Arc::new(JwtSigner::new(issuer.clone(), keys));
    let settings = Settings {
        issuer,
        token_endpoint_audience: None,
        token_ttl_seconds: DEFAULT_TOKEN_TTL_SECONDS,
        max_delegation_depth: DEFAULT_DELEGATION_DEPTH,
        address_requests_per_minute: DEFAULT_ADDRESS_REQUESTS_PER_MINUTE,
        has_metrics: false,
    };
    let issuer_keys = fetched_keys(&IssuerKeySettings::default(), &machine_time())?;
    Ok(core(stores, &machine_time(), signer, hasher, cursors, issuer_keys, &settings))
}

fn machine_time() -> ClockSource {
    ClockSource::System(Arc::new(SystemClock))
}

fn needs_database(command: &str, instead: &str) -> ConfigError {
    ConfigError::new(format!("{command} needs a database: use --data or set DATABASE_URL; {instead}"))
}
