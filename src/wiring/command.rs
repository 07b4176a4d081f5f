//! One-shot commands: `migrate`, `bootstrap`.

use std::sync::Arc;
use std::time::Duration;

use super::service::{core, key_error};
use super::stores::{ClockSource, OpenStores, StartError, bring_up_to_date, pg_settings};
use crate::adapters::crypto::{BcryptHasher, HmacCursorSeal, JwtSigner, KeySet, generate_pem};
use crate::adapters::system::SystemClock;
use crate::app::bootstrap::Administrator;
use crate::app::{App, Settings};
use crate::config::{BootstrapArgs, ConfigError, StoreArgs};
use crate::domain::jwk::KeyType;

/// Applies all missing migrations to the configured database.
pub async fn migrate_tables(args: &StoreArgs) -> Result<(), StartError> {
    let owner = pg_settings("MIGRATION_DATABASE_URL", args.migration_database()?)?;
    let database = pg_settings("DATABASE_URL", args.database()?)?;
    let patience = Duration::from_secs(args.store_wait_seconds.into());
    match (&database, &owner) {
        (Some(database), owner) => bring_up_to_date(database, owner.as_ref(), patience).await,
        (None, Some(owner)) => bring_up_to_date(owner, None, patience).await,
        (None, None) => Err(needs_postgresql("migrate", "in memory there is nothing to migrate").into()),
    }
}

/// Creates the organization `default` and its first administrator; with `--recover`, another administrator.
pub async fn bootstrap(args: &BootstrapArgs) -> Result<Administrator, StartError> {
    let stores = StoreArgs { redis_url: None, redis_url_file: None, ..args.stores.clone() };
    if stores.database()?.is_none() {
        return Err(
            needs_postgresql("bootstrap", "in memory, `serve` creates the first administrator").into()
        );
    }
    let stores = OpenStores::open(&stores, &machine_time()).await?;
    let app = app_without_key(&stores, args.bcrypt_cost)?;
    let outcome = match args.recover {
        true => app.bootstrap.another_administrator().await,
        false => app.bootstrap.first_administrator().await,
    };
    stores.close().await;
    Ok(outcome?)
}

/// Creates the use cases with a temporary signing key, for commands that publish no signature.
fn app_without_key(stores: &OpenStores, bcrypt_cost: u32) -> Result<App, StartError> {
    let pem = generate_pem(KeyType::Ed25519).map_err(|error| key_error("the key", error))?;
    let keys = KeySet::from_pem(&pem, "").map_err(|error| ConfigError::new(error.to_string()))?;
    let issuer: Arc<str> = "http://127.0.0.1:3000".into();
    let cursors = HmacCursorSeal::new(&keys.derive("audit cursor"));
    let signer = Arc::new(JwtSigner::new(issuer.clone(), keys));
    let hasher = BcryptHasher::new(bcrypt_cost).map_err(StartError::Io)?;
    let settings = Settings {
        issuer,
        token_endpoint_audience: None,
        token_ttl_seconds: 3600,
        address_requests_per_minute: 600,
    };
    Ok(core(stores, &machine_time(), signer, hasher, cursors, &settings))
}

fn machine_time() -> ClockSource {
    ClockSource::System(Arc::new(SystemClock))
}

fn needs_postgresql(command: &str, instead: &str) -> ConfigError {
    ConfigError::new(format!("{command} needs PostgreSQL: set DATABASE_URL; {instead}"))
}
