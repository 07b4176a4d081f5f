//! The one place that names concrete adapters: from the settings to the running service, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior};

use crate::adapters::crypto::{
    BcryptHasher, HmacCursorSeal, JwtAssertionVerifier, JwtSigner, KeySet, KeySetError, generate_pem,
};
use crate::adapters::http::document::{self, Documented};
use crate::adapters::http::envelope::Envelope;
use crate::adapters::http::lifecycle::Lifecycle;
use crate::adapters::http::{metrics, server};
use crate::adapters::memory::{Memory, MemoryRateLimiter};
use crate::adapters::system::{SystemClock, SystemIds, SystemSecrets};
use crate::app::bootstrap::{Administrator, BootstrapError};
use crate::app::{App, Ports, Settings};
use crate::config::{AssertionAudience, ConfigError, MetricsAddress, ServeArgs, StoreArgs, path_of};
use crate::domain::jwk::KeyType;
use crate::ports::clock::Clock;

/// How often what waits for the audit log is written.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often what is past its retention is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// The bounds by which the time of requests is told, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// A service that runs.
pub struct Service {
    pub app: Arc<App>,
    /// Where it listens.
    pub address: SocketAddr,
    pub issuer: Arc<str>,
    /// The first administrator, made at this start.
    pub administrator: Administrator,
    args: ServeArgs,
    /// The key that was made at this start, where none was set.
    made_key: Option<SecretString>,
    signer: Arc<JwtSigner>,
    lifecycle: Arc<Lifecycle>,
}

impl Service {
    /// Starts the service in memory, by the machine's clock.
    pub async fn start(args: &ServeArgs) -> Result<Self, StartError> {
        Self::start_at(args, Arc::new(SystemClock)).await
    }

    /// Starts the service in memory, by that clock.
    pub async fn start_at(args: &ServeArgs, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        refuse_stores(&args.stores)?;
        let made = match args.private_key()? {
            Some(_) => None,
            None => Some(generate_pem(KeyType::Rsa).map_err(|error| key_error("a key", error))?.into()),
        };
        let keys = load_keys(args, made.as_ref())?;
        let listener = bind("HOST and PORT", SocketAddr::new(args.host, args.port)).await?;
        let address = listener.local_addr().map_err(StartError::Io)?;
        let metrics_listener = match args.metrics_addr {
            MetricsAddress::Off => None,
            MetricsAddress::At(address) => Some(bind("METRICS_ADDR", address).await?),
        };
        let counts = if metrics_listener.is_some() { start_counting() } else { None };
        let issuer: Arc<str> = match &args.issuer_url {
            Some(url) => url.as_str().into(),
            None => format!("http://{address}").into(),
        };
        let cursors = HmacCursorSeal::new(&keys.derive("audit cursor"));
        let signer = Arc::new(JwtSigner::new(issuer.clone(), keys));
        let hasher = BcryptHasher::new(args.bcrypt_cost).map_err(StartError::Io)?;
        let ports = in_memory(clock, signer.clone(), hasher, cursors);
        let token_endpoint = format!("{issuer}/api/v1/token");
        let settings = Settings {
            issuer: issuer.clone(),
            token_endpoint_audience: match args.client_assertion_audience {
                AssertionAudience::Issuer => None,
                AssertionAudience::TokenEndpoint => Some(token_endpoint.into()),
            },
            token_ttl_seconds: args.token_ttl_seconds,
            address_requests_per_minute: args.address_requests_per_minute,
        };
        let app = Arc::new(App::new(&ports, &settings));
        let lifecycle = Arc::new(Lifecycle::default());
        let Documented { endpoint, routes, .. } =
            document::documented(&app, &issuer, &path_of(&issuer), &lifecycle);
        let envelope = Arc::new(Envelope {
            app: app.clone(),
            endpoint: Arc::new(endpoint),
            routes,
            lifecycle: lifecycle.clone(),
            trusted_proxies: args.trusted_proxies.0.clone(),
            cors_origins: args.cors_origin.0.clone(),
            issuer_path: path_of(&issuer),
        });
        if let (Some(listener), Some(counts)) = (metrics_listener, counts) {
            tokio::spawn(metrics::serve(listener, counts, lifecycle.clone()));
        }
        lifecycle.tasks().spawn(server::serve(listener, envelope, lifecycle.clone()));
        tokio::spawn(keep_house(app.clone(), lifecycle.clone()));
        // Its hash takes longer than all the rest; until it is there nobody can know its secret anyway.
        let administrator = app.bootstrap.first_administrator().await?;
        Ok(Self {
            app,
            address,
            issuer,
            administrator,
            args: args.clone(),
            made_key: made,
            signer,
            lifecycle,
        })
    }

    /// Reads the keys anew. Where they cannot be used, the present ones stay.
    pub fn reload_keys(&self) -> Result<(), StartError> {
        self.signer.reload(load_keys(&self.args, self.made_key.as_ref())?);
        Ok(())
    }

    /// The orderly end: not ready, serving on for the drain, then no new connections; what is under way
    /// finishes, and what waits for the audit log is written.
    pub async fn end(&self) {
        self.lifecycle.begin_end();
        let drain = Duration::from_secs(self.args.drain_seconds.into());
        #[expect(clippy::disallowed_methods, reason = "a drain is time that passes, and nothing else")]
        let drained = tokio::time::sleep_until(Instant::now() + drain);
        drained.await;
        self.lifecycle.finish().await;
        if let Err(error) = self.app.audit_lane.flush_all().await {
            tracing::error!(%error, "the last audit events could not be written");
        }
    }
}

/// Counts from now on. `None` where another service in this process began to before; that one tells both.
fn start_counting() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS).expect("there are buckets");
    builder.install_recorder().ok()
}

/// The OpenAPI document of this version.
pub fn openapi() -> Result<serde_json::Value, StartError> {
    let pem = generate_pem(KeyType::Ed25519).map_err(|error| key_error("the key", error))?;
    let keys = KeySet::from_pem(&pem, "").map_err(|error| ConfigError::new(error.to_string()))?;
    let issuer: Arc<str> = "http://127.0.0.1:3000".into();
    let cursors = HmacCursorSeal::new(&keys.derive("audit cursor"));
    let signer = Arc::new(JwtSigner::new(issuer.clone(), keys));
    let hasher = BcryptHasher::new(4).map_err(StartError::Io)?;
    let ports = in_memory(Arc::new(SystemClock), signer, hasher, cursors);
    let settings = Settings {
        issuer: issuer.clone(),
        token_endpoint_audience: None,
        token_ttl_seconds: 3600,
        address_requests_per_minute: 600,
    };
    Ok(document::documented(&App::new(&ports, &settings), &issuer, "", &Arc::default()).document)
}

/// Refuses stores that are asked for and that this version has not.
pub fn refuse_stores(stores: &StoreArgs) -> Result<(), ConfigError> {
    let asked = [
        ("DATABASE_URL", stores.database()?),
        ("MIGRATION_DATABASE_URL", stores.migration_database()?),
        ("REDIS_URL", stores.redis()?),
    ];
    match asked.iter().find(|(_, url)| url.is_some()) {
        None => Ok(()),
        Some((name, _)) => Err(ConfigError::new(format!(
            "{name}: this version keeps all data in memory and cannot use it yet"
        ))),
    }
}

fn in_memory(
    clock: Arc<dyn Clock>,
    signer: Arc<JwtSigner>,
    hasher: BcryptHasher,
    cursors: HmacCursorSeal,
) -> Ports {
    let memory = Arc::new(Memory::default());
    Ports {
        agents: memory.clone(),
        organizations: memory.clone(),
        credentials: memory.clone(),
        tokens: memory.clone(),
        audit: memory.clone(),
        usage: memory,
        limiter: Arc::new(MemoryRateLimiter::new(clock.clone())),
        hasher: Arc::new(hasher),
        signer,
        assertions: Arc::new(JwtAssertionVerifier),
        cursors: Arc::new(cursors),
        clock,
        ids: Arc::new(SystemIds),
        secrets: Arc::new(SystemSecrets),
    }
}

/// The keys that are set; the one that was made at start where no private one is.
fn load_keys(args: &ServeArgs, made: Option<&SecretString>) -> Result<KeySet, StartError> {
    let private = args.private_key()?;
    let private = private.as_ref().or(made).map_or("", |pem| pem.expose_secret());
    let public = args.verify_keys()?;
    KeySet::from_pem(private, &public).map_err(|error| match error {
        KeySetError::Private(error) => key_error("JWT_PRIVATE_KEY", error),
        KeySetError::Public(error) => key_error("JWT_VERIFY_KEYS", error),
    })
}

fn key_error(name: &str, error: crate::adapters::crypto::KeyError) -> StartError {
    ConfigError::new(format!("{name} {error}")).into()
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| ConfigError::new(format!("{name}: cannot listen on {address}: {error}")).into())
}

/// Writes what waits for the audit log, and removes what is past its time, until the service ends.
async fn keep_house(app: Arc<App>, lifecycle: Arc<Lifecycle>) {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    let mut purge = tokio::time::interval(PURGE_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = lifecycle.closed() => return,
            _ = flush.tick() => {
                if let Err(error) = app.audit_lane.flush().await {
                    tracing::error!(%error, "audit events wait: they could not be written");
                }
            }
            _ = purge.tick() => match app.audit.purge().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed audit events past their retention"),
                Err(error) => tracing::error!(%error, "old audit events could not be removed"),
            },
        }
    }
}

/// Why the service did not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the machine refused: {0}")]
    Io(#[source] std::io::Error),
    #[error("ended at once, as the second signal said")]
    CutShort,
    #[error("the first administrator could not be made: {0}")]
    Bootstrap(#[from] BootstrapError),
}
