//! Settings of a service, resolved: every secret is read.
//!
//! [`cli`](crate::cli) makes a [`Config`] from flags and environment variables, and checks each value. A program that
//! embeds the service makes one itself, within the bounds that are named here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use crate::adapters::issuers::IssuerKeySettings;

/// Settings of a service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 for any free port.
    pub listen: SocketAddr,
    /// Address of the Prometheus endpoint; `None` if metrics are not served.
    pub metrics: Option<SocketAddr>,
    /// Issuer identifier (RFC 8414 section 2), without query or fragment, used byte for byte; `None` for `http://` and
    /// the address that is listened on.
    pub issuer: Option<String>,
    /// Locations and connection settings of the stores.
    pub stores: StoreConfig,
    /// Keys with which tokens are signed and verified.
    pub keys: KeyConfig,
    /// Lifetime of a token, in seconds: within [`TTL_SECONDS`](crate::domain::token::TTL_SECONDS).
    pub token_ttl_seconds: u32,
    /// Greatest number of actors of a token: within [`DEPTHS`](crate::domain::delegation::DEPTHS).
    pub max_delegation_depth: u32,
    /// bcrypt cost factor, 4 to 14.
    pub bcrypt_cost: u32,
    /// Origins whose scripts may call the API, as browsers send them (RFC 6454).
    pub cors_origins: Vec<String>,
    /// Whether the console is served, a page for people.
    pub serves_console: bool,
    /// Networks of the proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Failed authentications allowed per client address and minute.
    pub address_requests_per_minute: u32,
    /// Accepted `aud` of client assertions.
    pub client_assertion_audience: AssertionAudience,
    /// From where the keys of trusted issuers are fetched.
    pub issuer_keys: IssuerKeySettings,
    /// Time that a connection may be idle between two requests. A load balancer must close idle connections sooner.
    pub idle_timeout: Duration,
    /// Time to keep serving, reported as not ready, once the shutdown has begun.
    pub drain: Duration,
}

impl Config {
    /// Returns the settings of a service that keeps all data in memory and listens on any free port of the loopback
    /// interface. All else has its default.
    pub const fn in_memory() -> Self {
        Self {
            listen: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            metrics: None,
            issuer: None,
            stores: StoreConfig::in_memory(),
            keys: KeyConfig { private: None, private_file: None, public: String::new(), public_file: None },
            token_ttl_seconds: DEFAULT_TOKEN_TTL_SECONDS,
            max_delegation_depth: DEFAULT_DELEGATION_DEPTH,
            bcrypt_cost: DEFAULT_BCRYPT_COST,
            cors_origins: Vec::new(),
            serves_console: true,
            trusted_proxies: Vec::new(),
            address_requests_per_minute: DEFAULT_ADDRESS_REQUESTS_PER_MINUTE,
            client_assertion_audience: AssertionAudience::Issuer,
            issuer_keys: IssuerKeySettings { private_networks: Vec::new(), ca_file: None },
            idle_timeout: Duration::from_secs(DEFAULT_IDLE_TIMEOUT_SECONDS as u64),
            drain: Duration::ZERO,
        }
    }
}

/// Secrets that may be replaced while a service runs, each as it was read again.
#[derive(Debug)]
pub struct Secrets {
    /// Keys with which tokens are signed and verified.
    pub keys: Result<KeyConfig, ConfigError>,
    /// URL of the store that keeps the data, of which only the password may change.
    pub database: Result<Option<SecretString>, ConfigError>,
    /// URL of Redis, of which only the password may change.
    pub redis: Result<Option<SecretString>, ConfigError>,
}

/// Default lifetime of a token, in seconds.
pub const DEFAULT_TOKEN_TTL_SECONDS: u32 = 3600;
/// Default greatest number of actors of a token.
pub const DEFAULT_DELEGATION_DEPTH: u32 = 3;
/// Default bcrypt cost factor.
pub const DEFAULT_BCRYPT_COST: u32 = 10;
/// Default number of unauthenticated requests allowed per client address and minute.
pub const DEFAULT_ADDRESS_REQUESTS_PER_MINUTE: u32 = 600;
/// Default time that a connection may be idle, in seconds: more than the 60 of most load balancers.
pub const DEFAULT_IDLE_TIMEOUT_SECONDS: u32 = 75;
/// Default size of the connection pool.
pub const DEFAULT_POOL_MAX: u32 = 10;
/// Default time to wait for the stores at startup, in seconds.
pub const DEFAULT_STORE_WAIT_SECONDS: u32 = 30;

/// Locations and connection settings of the stores.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// URL of the store that keeps the data; `None` if all data is kept in memory.
    pub database: Option<SecretString>,
    /// URL with the role that owns the tables; `None` if the serving role owns them.
    pub migration_database: Option<SecretString>,
    /// URL of Redis; `None` if it is not used.
    pub redis: Option<SecretString>,
    /// Prefix of every key in Redis, without braces.
    pub redis_key_prefix: String,
    /// Maximum number of pooled connections.
    pub pool_max: u32,
    /// Time to wait at startup for the database to be reachable and writable.
    pub wait: Duration,
}

impl StoreConfig {
    /// Returns the settings for keeping all data in memory.
    pub const fn in_memory() -> Self {
        Self {
            database: None,
            migration_database: None,
            redis: None,
            redis_key_prefix: String::new(),
            pool_max: DEFAULT_POOL_MAX,
            wait: Duration::from_secs(DEFAULT_STORE_WAIT_SECONDS as u64),
        }
    }
}

/// Where traces are sent (OpenTelemetry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// URL to which traces are posted, with its path.
    pub endpoint: String,
    /// `service.name` of the traces.
    pub service: String,
}

/// Keys with which tokens are signed and verified, in PEM.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// The signing key; `None` if one is generated at startup, which only a service in memory may do.
    pub private: Option<SecretString>,
    /// File of the signing key; `None` if it was not read from a file.
    pub private_file: Option<PathBuf>,
    /// Additional public keys to publish and accept; empty if there are none.
    pub public: String,
    /// File of the additional keys; `None` if they were not read from a file.
    pub public_file: Option<PathBuf>,
}

impl KeyConfig {
    /// Returns whether these are the same keys, written in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.has_same_private(other) && self.public == other.public
    }

    /// Returns whether both have the same signing key, written in the same way.
    pub fn has_same_private(&self, other: &Self) -> bool {
        let private = |keys: &Self| keys.private.as_ref().map(|pem| pem.expose_secret().to_owned());
        private(self) == private(other)
    }
}

/// Accepted `aud` of client assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AssertionAudience {
    /// The issuer URL only
    Issuer,
    /// The URL of the token endpoint too
    TokenEndpoint,
}

/// An invalid setting; the message is one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// Creates an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
