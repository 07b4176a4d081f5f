//! The running service, from start to shutdown.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::backend::StoreKind;
use super::background;
use super::clock_source::ClockSource;
use super::key_ages::KeyAges;
use super::metrics::Metrics;
use super::open_stores::{OpenStores, configured};
use super::start_error::StartError;
use super::store_wait::wait_for;
use crate::adapters::crypto::{
    BcryptHasher, HmacCursorSeal, JwtAssertionVerifier, JwtProofVerifier, JwtSigner, KeySet, KeySetError,
    generate_pem,
};
use crate::adapters::http::{Front, HttpApi, HttpConfig, serve, serve_metrics};
use crate::adapters::issuers::{FetchedIssuerKeys, IssuerKeySettings};
use crate::adapters::system::{SystemClock, SystemIds, SystemSecrets};
use crate::app::bootstrap::{Administrator, BootstrapError};
use crate::app::shutdown::Shutdown;
use crate::app::{App, Ports, Settings, StoreError, error_chain};
use crate::config::{AssertionAudience, Config, ConfigError, KeyConfig, Secrets, StoreConfig};
use crate::domain::jwk::KeyType;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids as _;

/// Maximum time that a shutdown waits for buffered data to be written.
const LONGEST_FLUSH: Duration = Duration::from_secs(6);
/// Maximum time that a shutdown waits for the stores to close.
///
/// With all earlier steps, a shutdown takes less than 25 s plus the configured drain period.
const LONGEST_CLOSE: Duration = Duration::from_secs(4);
/// Purpose of the key of secrets' digests.
const SECRET_DIGEST: &str = "client secret digest";

/// A running service.
pub struct Service {
    /// The use cases of the service.
    pub app: Arc<App>,
    /// Address that the service listens on.
    pub address: SocketAddr,
    /// Issuer identifier.
    pub issuer: Arc<str>,
    /// First administrator, created at this start; `None` if there was one, or if several instances may share the data.
    pub administrator: Option<Administrator>,
    /// Where the data is kept.
    pub store: StoreKind,
    drain: Duration,
    /// Signing key generated at this start, or kept with the data; `None` if one is configured.
    made_key: Option<SecretString>,
    /// Configuration of the keys in use.
    keys: Mutex<KeyConfig>,
    key_ages: Arc<KeyAges>,
    clock: Arc<dyn Clock>,
    signer: Arc<JwtSigner>,
    hasher: Arc<BcryptHasher>,
    stores: OpenStores,
    shutdown: Arc<Shutdown>,
    metrics: Option<Arc<Metrics>>,
}

impl Service {
    /// Starts the service on the configured stores, with the system clock.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_by(config, ClockSource::System(Arc::new(SystemClock))).await
    }

    /// Starts the service with this clock, which rate limits follow too.
    ///
    /// For tests that control the time.
    pub async fn start_at(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Self::start_by(config, ClockSource::Injected(clock)).await
    }

    async fn start_by(config: &Config, clock_source: ClockSource) -> Result<Self, StartError> {
        let shutdown = Arc::new(Shutdown::default());
        let started = Self::start_within(config, clock_source, &shutdown).await;
        if started.is_err() {
            shutdown.drain().await;
        }
        started
    }

    /// Starts the service, with its tasks under this [`Shutdown`].
    ///
    /// The service listens immediately, and responds that it is starting until its stores are available.
    async fn start_within(
        config: &Config,
        clock_source: ClockSource,
        shutdown: &Arc<Shutdown>,
    ) -> Result<Self, StartError> {
        let backend = configured(&config.stores)?;
        if let Some(backend) = &backend {
            backend.check()?;
        }
        let made = match (&config.keys.private, &backend) {
            (Some(_), _) => None,
            (None, Some(backend)) => Some(backend.signing_key(&new_key)?.ok_or_else(needs_key)?),
            (None, None) => Some(new_key()?),
        };
        let keys = load_keys(&config.keys, made.as_ref())?;
        let listener = bind("HOST and PORT", "--port", config.listen).await?;
        let address = listener.local_addr().map_err(StartError::Io)?;
        let metrics_listener = match config.metrics {
            None => None,
            Some(address) => Some(bind("METRICS_ADDR", "--metrics-addr", address).await?),
        };
        let metrics = metrics_listener.as_ref().and_then(|_| Metrics::install()).map(Arc::new);
        let issuer: Arc<str> = match &config.issuer {
            Some(url) => url.as_str().into(),
            None => format!("http://{address}").into(),
        };
        let cursors = HmacCursorSeal::new(&keys.derive("audit cursor"));
        let hasher = Arc::new(hasher(config.bcrypt_cost, &keys)?);
        let signer = Arc::new(JwtSigner::new(issuer.clone(), keys));
        let front = Arc::new(Front::new(|| SystemIds.next().to_string()));
        let pooled = usize::try_from(config.stores.pool_max).unwrap_or(usize::MAX / 2);
        shutdown.tasks().spawn(serve(listener, front.clone(), shutdown.clone(), config.idle_timeout, pooled));
        if let (Some(listener), Some(metrics)) = (metrics_listener, &metrics) {
            tokio::spawn(serve_metrics(listener, metrics.clone(), shutdown.clone()));
        }
        let stores = OpenStores::open(backend.as_deref(), &config.stores, &clock_source).await?;
        let token_endpoint = format!("{}/api/v1/token", issuer.trim_end_matches('/'));
        let settings = Settings {
            issuer: issuer.clone(),
            token_endpoint_audience: match config.client_assertion_audience {
                AssertionAudience::Issuer => None,
                AssertionAudience::TokenEndpoint => Some(token_endpoint.into()),
            },
            token_ttl_seconds: config.token_ttl_seconds,
            max_delegation_depth: config.max_delegation_depth,
            address_requests_per_minute: config.address_requests_per_minute,
            has_metrics: metrics.is_some(),
        };
        let clock = clock_source.clock().clone();
        let kept_key = backend.as_ref().and_then(|backend| backend.signing_key_file());
        let key_ages = Arc::new(KeyAges::new(&config.keys, kept_key, clock.now()));
        if let Some(metrics) = &metrics {
            let (stores, key_ages, clock) = (stores.clone(), key_ages.clone(), clock.clone());
            metrics.read_at_scrape(move || {
                stores.report();
                key_ages.report(clock.now());
            });
        }
        let issuer_keys = fetched_keys(&config.issuer_keys, &clock_source)?;
        let app =
            core(&stores, &clock_source, signer.clone(), hasher.clone(), cursors, issuer_keys, &settings);
        let app = Arc::new(app);
        if stores.kind.is_durable() {
            make_default_organization(&app, &config.stores).await?;
        }
        let http = HttpConfig {
            trusted_proxies: config.trusted_proxies.clone(),
            cors_origins: config.cors_origins.clone(),
            serves_console: config.serves_console,
        };
        front.open(Arc::new(HttpApi::new(app.clone(), shutdown.clone(), http)));
        background::spawn(&app, shutdown);
        // Created last, because its hash takes longer than all other steps, and its secret is unknown to clients
        // until then.
        let administrator = match stores.kind {
            StoreKind::Server => None,
            StoreKind::Memory => Some(app.bootstrap.first_administrator().await?),
            StoreKind::File => match app.bootstrap.first_administrator().await {
                Err(BootstrapError::AlreadyDone) => None,
                outcome => Some(outcome?),
            },
        };
        Ok(Self {
            app,
            address,
            issuer,
            administrator,
            store: stores.kind,
            drain: config.drain,
            made_key: made,
            keys: Mutex::new(config.keys.clone()),
            key_ages,
            clock,
            signer,
            hasher,
            stores,
            shutdown: shutdown.clone(),
            metrics,
        })
    }

    /// Adds gauges that `read` sets each time the metrics are scraped. It must not block.
    pub fn read_at_scrape(&self, read: impl Fn() + Send + 'static) {
        if let Some(metrics) = &self.metrics {
            metrics.read_at_scrape(read);
        }
    }

    /// Returns the configuration of the keys in use.
    pub fn keys(&self) -> KeyConfig {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses these keys and passwords from now on, and returns for each kind whether it has changed.
    ///
    /// What cannot be used is an error, and the current one stays in use. Open connections stay open.
    pub fn reload(&self, secrets: &Secrets) -> Vec<(&'static str, Result<bool, StartError>)> {
        let passwords = self.stores.reload(secrets);
        let passwords = passwords.map(|(name, reloaded)| (name, reloaded.map_err(StartError::from)));
        let keys = secrets.keys.as_ref().map_err(|error| error.clone().into());
        std::iter::once(("keys", keys.and_then(|keys| self.reload_keys(keys)))).chain(passwords).collect()
    }

    fn reload_keys(&self, config: &KeyConfig) -> Result<bool, StartError> {
        let mut in_use = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if in_use.is_same(config) {
            return Ok(false);
        }
        let keys = load_keys(config, self.made_key.as_ref())?;
        self.hasher.reload(&keys.derive(SECRET_DIGEST));
        self.signer.reload(keys);
        self.key_ages.reload(&in_use, config, self.clock.now());
        *in_use = config.clone();
        Ok(true)
    }

    /// Shuts the service down in order.
    ///
    /// The service reports not ready but keeps serving for the drain period. Then it accepts no new connections,
    /// finishes requests in progress, writes and publishes buffered data, and closes the stores.
    pub async fn end(&self) {
        self.shutdown.start_draining();
        #[expect(clippy::disallowed_methods, reason = "a drain is time that passes, and nothing else")]
        let drained = tokio::time::sleep_until(Instant::now() + self.drain);
        drained.await;
        self.shutdown.drain().await;
        // Each step is bounded, so that the shutdown takes less than the 30 s that supervisors usually allow.
        if timeout(LONGEST_FLUSH, background::finish(&self.app)).await.is_err() {
            tracing::error!("stopped before all buffered data was written: a store is too slow");
        }
        if timeout(LONGEST_CLOSE, self.stores.close()).await.is_err() {
            tracing::warn!("stopped before the connections to the stores were closed");
        }
    }
}

/// Creates the organization `default` if it does not exist.
///
/// Retries while the store is overloaded, as while the store is unavailable.
async fn make_default_organization(app: &App, stores: &StoreConfig) -> Result<(), StartError> {
    let made = || async {
        match app.bootstrap.default_organization().await {
            Err(BootstrapError::Store(error)) => Err(error),
            outcome => Ok(outcome),
        }
    };
    wait_for(stores.wait, made, |error| !matches!(error, StoreError::Unavailable { .. })).await??;
    Ok(())
}

/// Creates the use cases on these stores.
pub(super) fn core(
    stores: &OpenStores,
    clock_source: &ClockSource,
    signer: Arc<JwtSigner>,
    hasher: Arc<BcryptHasher>,
    cursors: HmacCursorSeal,
    issuer_keys: Arc<FetchedIssuerKeys>,
    settings: &Settings,
) -> App {
    let ports = Ports {
        stores: stores.stores.clone(),
        hasher,
        signer,
        assertions: Arc::new(JwtAssertionVerifier::default()),
        proofs: Arc::new(JwtProofVerifier::default()),
        issuer_keys,
        cursors: Arc::new(cursors),
        clock: clock_source.clock().clone(),
        ids: Arc::new(SystemIds),
        secrets: Arc::new(SystemSecrets),
    };
    App::new(&ports, settings)
}

/// Creates the source of trusted issuers' keys.
pub(super) fn fetched_keys(
    settings: &IssuerKeySettings,
    clock_source: &ClockSource,
) -> Result<Arc<FetchedIssuerKeys>, StartError> {
    let keys = FetchedIssuerKeys::new(settings, clock_source.clock().clone());
    Ok(Arc::new(keys.map_err(|error| ConfigError::new(error_chain(&error)))?))
}

/// Creates a hasher of this cost, whose digests have a key derived from the signing key.
pub(super) fn hasher(cost: u32, keys: &KeySet) -> Result<BcryptHasher, StartError> {
    BcryptHasher::new(cost, &keys.derive(SECRET_DIGEST)).map_err(StartError::Io)
}

/// Loads the configured keys, with `made` as the private key if none is configured.
fn load_keys(keys: &KeyConfig, made: Option<&SecretString>) -> Result<KeySet, StartError> {
    let private = keys.private.as_ref().or(made).map_or("", |pem| pem.expose_secret());
    KeySet::from_pem(private, &keys.public).map_err(|error| match error {
        KeySetError::Private(error) => key_error("JWT_PRIVATE_KEY", error),
        KeySetError::Public(error) => key_error("JWT_VERIFY_KEYS", error),
    })
}

pub(super) fn new_key() -> Result<SecretString, StartError> {
    Ok(generate_pem(KeyType::Rsa).map_err(|error| key_error("a key", error))?.into())
}

fn needs_key() -> ConfigError {
    ConfigError::new(
        "JWT_PRIVATE_KEY is needed with DATABASE_URL: every instance must sign by the same key; \
         `agentidp keys generate` makes one",
    )
}

pub(super) fn key_error(name: &str, error: crate::adapters::crypto::KeyError) -> StartError {
    ConfigError::new(format!("{name} {error}")).into()
}

async fn bind(name: &str, flag: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => format!("; choose another with {flag}"),
            _ => String::new(),
        };
        ConfigError::new(format!("{name}: cannot listen on {address}: {error}{advice}")).into()
    })
}
