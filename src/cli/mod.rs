//! Command-line flags and environment variables, and the [`Config`] that they make.
//!
//! Every setting is a flag and an environment variable of the same name. Every secret can also be read from
//! the file that `NAME_FILE` names. An invalid setting stops the startup and is reported in one line.

mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

pub use self::values::{List, MetricsAddress};
use self::values::{
    host, issuer, key_prefix, metrics_address, network, origin, private_network, secret_text,
};
use crate::adapters::issuers::{IssuerKeySettings, PrivateNetwork};
use crate::config::{
    AssertionAudience, Config, ConfigError, DEFAULT_ADDRESS_REQUESTS_PER_MINUTE, DEFAULT_BCRYPT_COST,
    DEFAULT_DELEGATION_DEPTH, DEFAULT_IDLE_TIMEOUT_SECONDS, DEFAULT_POOL_MAX, DEFAULT_STORE_WAIT_SECONDS,
    DEFAULT_TOKEN_TTL_SECONDS, KeyConfig, Secrets, StoreConfig,
};
use crate::domain::delegation::DEPTHS;
use crate::domain::jwk::KeyType;
use crate::domain::token::TTL_SECONDS;

/// An OAuth 2.0 identity provider for AI agents.
#[derive(Parser, Debug)]
#[command(name = "agentidp", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Command to run; `serve` if `None`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `serve`, used if no command is named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Commands of the program.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the API (the default command)
    Serve(Box<ServeArgs>),
    /// Create the organization `default` and its first administrator, and print its credential once
    Bootstrap(BootstrapArgs),
    /// Manage signing keys
    Keys {
        /// The command to run
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Bring the database tables up to date
    Migrate(StoreArgs),
    /// Copy the file of `--data` and its signing key to a folder, while it is served
    Backup {
        /// Folder for this backup alone; an earlier backup in it is replaced
        folder: PathBuf,
        /// Locations and connection settings of the stores.
        #[command(flatten)]
        stores: Box<StoreArgs>,
    },
    /// Copy all data of a file that is not served to an empty PostgreSQL database, and compare each row
    Copy(CopyArgs),
    /// Print the OpenAPI document
    Openapi {
        /// Output format
        #[arg(long, value_enum, default_value_t = DocumentFormat::Yaml)]
        format: DocumentFormat,
    },
}

/// Operations on signing keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Print a new private key for `JWT_PRIVATE_KEY`
    Generate {
        /// Key type
        #[arg(long = "type", value_enum, default_value_t = KeyTypeName::Rsa)]
        kind: KeyTypeName,
    },
}

/// Key types, by the names used on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyTypeName {
    /// Signs RS256
    Rsa,
    /// Signs ES256
    P256,
    /// Signs EdDSA
    Ed25519,
}

impl From<KeyTypeName> for KeyType {
    fn from(name: KeyTypeName) -> Self {
        match name {
            KeyTypeName::Rsa => Self::Rsa,
            KeyTypeName::P256 => Self::P256,
            KeyTypeName::Ed25519 => Self::Ed25519,
        }
    }
}

/// Locations and connection settings of the stores.
#[derive(Args, Debug, Clone)]
pub struct StoreArgs {
    /// File that keeps all data of a single instance; made at the first start, with the signing key and the first
    /// administrator. Same as `DATABASE_URL=sqlite:FILE`
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// PostgreSQL URL, or `sqlite:` and the path of a file; if omitted, all data is kept in memory
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub database_url: Option<SecretString>,
    /// File that contains `DATABASE_URL`
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub database_url_file: Option<PathBuf>,
    /// PostgreSQL URL for the role that owns the tables
    #[arg(long, env = "MIGRATION_DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub migration_database_url: Option<SecretString>,
    /// File that contains `MIGRATION_DATABASE_URL`
    #[arg(long, env = "MIGRATION_DATABASE_URL_FILE")]
    pub migration_database_url_file: Option<PathBuf>,
    /// Redis URL
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = secret_text)]
    pub redis_url: Option<SecretString>,
    /// File that contains `REDIS_URL`
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,
    /// Prefix of every key in Redis, for services that share one; letters, digits and `: . _ -`, at most 64
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "", hide_default_value = true, value_parser = key_prefix)]
    pub redis_key_prefix: String,
    /// Size of the connection pool, in addition to four dedicated connections and up to six for revocations and locks
    #[arg(long, env = "DB_POOL_MAX", default_value_t = DEFAULT_POOL_MAX, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_pool_max: u32,
    /// Seconds to wait at startup for PostgreSQL to be reachable and writable; Redis is not waited for
    #[arg(long, env = "STORE_WAIT_SECONDS", default_value_t = DEFAULT_STORE_WAIT_SECONDS, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub store_wait_seconds: u32,
}

impl StoreArgs {
    /// Returns the settings of the stores.
    ///
    /// Returns [`ConfigError`] if a URL and its file are both set, or if a file is unreadable or empty.
    pub fn resolve(&self) -> Result<StoreConfig, ConfigError> {
        let redis = secret("REDIS_URL", self.redis_url.as_ref(), self.redis_url_file.as_ref())?;
        Ok(StoreConfig { redis, ..self.resolve_database()? })
    }

    /// Returns the settings of the database alone, for commands that do without Redis.
    ///
    /// Returns [`ConfigError`] as [`resolve`](Self::resolve) does, but for the settings of Redis, which are not read.
    pub fn resolve_database(&self) -> Result<StoreConfig, ConfigError> {
        let (owner, owner_file) =
            (self.migration_database_url.as_ref(), self.migration_database_url_file.as_ref());
        Ok(StoreConfig {
            database: self.database()?,
            migration_database: secret("MIGRATION_DATABASE_URL", owner, owner_file)?,
            redis: None,
            redis_key_prefix: self.redis_key_prefix.clone(),
            pool_max: self.db_pool_max,
            wait: Duration::from_secs(self.store_wait_seconds.into()),
        })
    }

    /// Returns the URL of the store that keeps the data.
    fn database(&self) -> Result<Option<SecretString>, ConfigError> {
        let url = secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_ref())?;
        match (&self.data, url) {
            (Some(_), Some(_)) => Err(ConfigError::new("--data and DATABASE_URL are both set; set one")),
            (Some(path), None) => match path.to_str() {
                Some(path) => Ok(Some(format!("sqlite:{path}").into())),
                None => Err(ConfigError::new("--data must be valid UTF-8")),
            },
            (None, url) => Ok(url),
        }
    }
}

/// Arguments of `copy`.
#[derive(Args, Debug, Clone)]
pub struct CopyArgs {
    /// `sqlite:` and the path of the file
    #[arg(long)]
    pub from: String,
    /// PostgreSQL URL with the role that shall own the tables
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub to: Option<SecretString>,
    /// File that contains this URL
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub to_file: Option<PathBuf>,
}

impl CopyArgs {
    /// Returns the PostgreSQL URL.
    ///
    /// Returns [`ConfigError`] if the URL and its file are both set or both missing, or if the file is unreadable.
    pub fn target(&self) -> Result<SecretString, ConfigError> {
        let target = secret("DATABASE_URL", self.to.as_ref(), self.to_file.as_ref())?;
        target.ok_or_else(|| {
            ConfigError::new("copy needs --to, or DATABASE_URL: the URL of an empty PostgreSQL database")
        })
    }
}

/// Arguments of `bootstrap`.
#[derive(Args, Debug, Clone)]
pub struct BootstrapArgs {
    /// Create another administrator even if the first one was already created
    #[arg(long)]
    pub recover: bool,
    /// bcrypt cost factor
    #[arg(long, env = "BCRYPT_COST", default_value_t = DEFAULT_BCRYPT_COST, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    /// Locations and connection settings of the stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// Arguments of `serve`.
#[derive(Args, Debug, Clone)]
pub struct ServeArgs {
    /// Port to listen on; 0 for any free port
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// Address to listen on, or `localhost`
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Address of the Prometheus endpoint, or `off`
    #[arg(long, env = "METRICS_ADDR", default_value = "127.0.0.1:9464", value_parser = metrics_address)]
    pub metrics_addr: MetricsAddress,
    /// Locations and connection settings of the stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// Public URL of this service, used as the issuer of its tokens [default: http://HOST:PORT]
    #[arg(long, env = "ISSUER_URL", value_parser = issuer)]
    pub issuer_url: Option<String>,
    /// Private key that signs tokens, in PEM: RSA of 2048 to 4096 bits, P-256 or Ed25519; if omitted, one is
    /// generated at startup (in-memory storage only)
    #[arg(long, env = "JWT_PRIVATE_KEY", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_private_key: Option<SecretString>,
    /// File that contains `JWT_PRIVATE_KEY`
    #[arg(long, env = "JWT_PRIVATE_KEY_FILE")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Additional public keys to publish and accept, in PEM: the next key and retired keys
    #[arg(long, env = "JWT_VERIFY_KEYS", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_verify_keys: Option<SecretString>,
    /// File that contains `JWT_VERIFY_KEYS`
    #[arg(long, env = "JWT_VERIFY_KEYS_FILE")]
    pub jwt_verify_keys_file: Option<PathBuf>,
    /// Lifetime of a token, in seconds
    #[arg(long, env = "TOKEN_TTL_SECONDS", default_value_t = DEFAULT_TOKEN_TTL_SECONDS,
          value_parser = clap::value_parser!(u32).range(i64::from(*TTL_SECONDS.start())..=i64::from(*TTL_SECONDS.end())))]
    pub token_ttl_seconds: u32,
    /// Greatest number of agents that act for one subject, each for the one before it
    #[arg(long, env = "MAX_DELEGATION_DEPTH", default_value_t = DEFAULT_DELEGATION_DEPTH,
          value_parser = clap::value_parser!(u32).range(i64::from(*DEPTHS.start())..=i64::from(*DEPTHS.end())))]
    pub max_delegation_depth: u32,
    /// bcrypt cost factor
    #[arg(long, env = "BCRYPT_COST", default_value_t = DEFAULT_BCRYPT_COST, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    /// Comma-separated origins whose scripts may call this API [default: none]
    #[arg(long, env = "CORS_ORIGIN", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, origin))]
    pub cors_origin: List<String>,
    /// Comma-separated CIDRs of proxies whose `X-Forwarded-For` header is trusted [default: none]
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, network))]
    pub trusted_proxies: List<IpNet>,
    /// Unauthenticated requests allowed per client address and minute
    #[arg(long, env = "ADDRESS_REQUESTS_PER_MINUTE", default_value_t = DEFAULT_ADDRESS_REQUESTS_PER_MINUTE,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub address_requests_per_minute: u32,
    /// Accepted `aud` of client assertions: the issuer only, or the token endpoint URL too
    #[arg(long, env = "CLIENT_ASSERTION_AUDIENCE", value_enum, default_value_t = AssertionAudience::Issuer)]
    pub client_assertion_audience: AssertionAudience,
    /// Comma-separated `CIDR` or `CIDR:port` of private networks from which keys of trusted issuers may be fetched
    /// [default: none]
    #[arg(long, env = "ISSUER_PRIVATE_NETWORKS", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, private_network))]
    pub issuer_private_networks: List<PrivateNetwork>,
    /// File of certificates, in PEM, that trusted issuers may have in addition to those of the system
    #[arg(long, env = "ISSUER_CA_FILE")]
    pub issuer_ca_file: Option<PathBuf>,
    /// Log format
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Seconds that a connection may be idle between two requests; must exceed the idle time-out of the load balancer
    #[arg(long, env = "IDLE_TIMEOUT_SECONDS", default_value_t = DEFAULT_IDLE_TIMEOUT_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub idle_timeout_seconds: u32,
    /// Seconds to keep serving, reported as not ready, after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub drain_seconds: u32,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event
    Text,
    /// One JSON object an event
    Json,
}

/// Output format of the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

#[expect(clippy::disallowed_methods, reason = "this module reads the environment")]
impl Cli {
    /// Parses the arguments and the environment of this process.
    ///
    /// An empty variable counts as not set, and white space around a value is dropped: compose files pass unset
    /// variables as empty ones, and secrets often end with a line end. A command reads only its own settings.
    pub fn of_process() -> Result<Self, clap::Error> {
        fn tidied(command: clap::Command) -> clap::Command {
            let tidy = |arg: clap::Arg| {
                let value = arg.get_env().and_then(|name| std::env::var(name).ok());
                match value.as_deref().map(|value| (value, value.trim())) {
                    None => arg,
                    Some((value, trimmed)) if value == trimmed && !value.is_empty() => arg,
                    Some((_, "")) => arg.env(Resettable::Reset),
                    Some((_, trimmed)) => {
                        arg.env(Resettable::Reset).default_value(trimmed.to_owned()).hide_default_value(true)
                    }
                }
            };
            command.mut_args(tidy).mut_subcommands(tidied)
        }
        let mut command = tidied(Self::command());
        let first = std::env::args().nth(1).unwrap_or_default();
        if command.find_subcommand(first).is_some() {
            command = command.mut_args(|arg| arg.env(Resettable::Reset));
        }
        Self::from_arg_matches(&command.try_get_matches()?)
    }

    /// Returns whether the log is JSON, even if the arguments cannot be parsed.
    pub fn logs_json() -> bool {
        let mut words = std::env::args().skip_while(|word| word != "--log-format");
        std::env::var("LOG_FORMAT").is_ok_and(|format| format.trim() == "json")
            || std::env::args().any(|word| word == "--log-format=json")
            || words.nth(1).is_some_and(|format| format == "json")
    }
}

impl ServeArgs {
    /// Returns the settings of the service.
    ///
    /// Returns [`ConfigError`] if a secret and its file are both set, or if a file is unreadable or empty.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        Ok(Config {
            listen: SocketAddr::new(self.host, self.port),
            metrics: match self.metrics_addr {
                MetricsAddress::Off => None,
                MetricsAddress::At(address) => Some(address),
            },
            issuer: self.issuer_url.clone(),
            stores: self.stores.resolve()?,
            keys: self.keys()?,
            token_ttl_seconds: self.token_ttl_seconds,
            max_delegation_depth: self.max_delegation_depth,
            bcrypt_cost: self.bcrypt_cost,
            cors_origins: self.cors_origin.0.clone(),
            trusted_proxies: self.trusted_proxies.0.clone(),
            address_requests_per_minute: self.address_requests_per_minute,
            client_assertion_audience: self.client_assertion_audience,
            issuer_keys: IssuerKeySettings {
                private_networks: self.issuer_private_networks.0.clone(),
                ca_file: self.issuer_ca_file.clone(),
            },
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds.into()),
            drain: Duration::from_secs(self.drain_seconds.into()),
        })
    }

    /// Reads the secrets again that may be replaced while the service runs.
    ///
    /// What cannot be read does not keep the others from being replaced.
    pub fn secrets(&self) -> Secrets {
        let StoreArgs { redis_url, redis_url_file, .. } = &self.stores;
        Secrets {
            keys: self.keys(),
            database: self.stores.database(),
            redis: secret("REDIS_URL", redis_url.as_ref(), redis_url_file.as_ref()),
        }
    }

    fn keys(&self) -> Result<KeyConfig, ConfigError> {
        let private =
            secret("JWT_PRIVATE_KEY", self.jwt_private_key.as_ref(), self.jwt_private_key_file.as_ref())?;
        let public =
            secret("JWT_VERIFY_KEYS", self.jwt_verify_keys.as_ref(), self.jwt_verify_keys_file.as_ref())?;
        Ok(KeyConfig {
            private: private.map(|pem| unescaped(pem.expose_secret()).into()),
            public: public.map(|keys| unescaped(keys.expose_secret())).unwrap_or_default(),
        })
    }
}

/// Returns the secret from its value or from its file.
///
/// Returns [`ConfigError`] if both are set, or if the file is unreadable or empty.
fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::new(format!("{name} and {name}_FILE are both set; set one"))),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            // An empty file is still being written or was truncated, because no key and no password is empty.
            Ok(text) if text.trim().is_empty() => {
                Err(ConfigError::new(format!("{name}_FILE: {} is empty", path.display())))
            }
            Ok(text) => Ok(Some(text.trim_end().into())),
            Err(error) => Err(ConfigError::new(format!("{name}_FILE: {}: {error}", path.display()))),
        },
        (None, None) => Ok(None),
    }
}

/// Replaces each escaped `\n` by a line end, because environment variables often contain PEM in that form.
fn unescaped(pem: &str) -> String {
    pem.replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["agentidp"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_out_of_bounds_stops_the_start() {
        for arguments in [
            ["--port", "70000"],
            ["--token-ttl-seconds", "59"],
            ["--token-ttl-seconds", "86401"],
            ["--bcrypt-cost", "3"],
            ["--bcrypt-cost", "15"],
            ["--metrics-addr", "on"],
            ["--redis-key-prefix", "a{b"],
            ["--redis-key-prefix", &"a".repeat(65)],
            ["--host", "example.com"],
            ["--host", ""],
            ["--idle-timeout-seconds", "0"],
            ["--issuer-url", "ftp://example.com"],
            ["--issuer-url", "https://example.com?x"],
            ["--issuer-url", "https://user:word@example.com"],
            ["--cors-origin", "https://example.com/path"],
            ["--cors-origin", "https://Example.com"],
            ["--cors-origin", "https://example.com:443"],
            ["--trusted-proxies", "10.0.0.0/33"],
            ["--address-requests-per-minute", "0"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
