//! Flags and environment variables, as one typed and validated value.
//!
//! Every setting is a flag and an environment variable of the same name; every secret can also be read from
//! the file that `NAME_FILE` names. What is wrong is told in one line, before anything is started.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::jwk::KeyType;
use crate::domain::token::TTL_SECONDS;

/// An OAuth 2.0 identity provider for AI agents.
#[derive(Parser, Debug)]
#[command(name = "agentidp", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the API (also without a command)
    Serve(Box<ServeArgs>),
    /// Make the organization `default` and its first administrator, and print its credential once
    Bootstrap(BootstrapArgs),
    /// Work with signing keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Bring the database's tables up to date
    Migrate(StoreArgs),
    /// Print the OpenAPI document
    Openapi {
        /// The form to print it in
        #[arg(long, value_enum, default_value_t = DocumentFormat::Yaml)]
        format: DocumentFormat,
    },
}

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Print a new private key, for `JWT_PRIVATE_KEY`
    Generate {
        /// The type of the key
        #[arg(long = "type", value_enum, default_value_t = KeyTypeName::Rsa)]
        kind: KeyTypeName,
    },
}

/// The types of keys, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyTypeName {
    Rsa,
    P256,
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

/// Where the durable data is.
#[derive(Args, Debug, Clone)]
pub struct StoreArgs {
    /// PostgreSQL, as a URL; without it all data is in memory
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub database_url: Option<SecretString>,
    /// A file that holds `DATABASE_URL`
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub database_url_file: Option<PathBuf>,
    /// PostgreSQL as the role that owns the tables, as a URL
    #[arg(long, env = "MIGRATION_DATABASE_URL", hide_env_values = true, value_parser = secret_text)]
    pub migration_database_url: Option<SecretString>,
    /// A file that holds `MIGRATION_DATABASE_URL`
    #[arg(long, env = "MIGRATION_DATABASE_URL_FILE")]
    pub migration_database_url_file: Option<PathBuf>,
    /// Redis, as a URL
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = secret_text)]
    pub redis_url: Option<SecretString>,
    /// A file that holds `REDIS_URL`
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,
    /// Prefix of every key in Redis, for services that share one; letters, digits and `: . _ -`, at most 64
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "", hide_default_value = true, value_parser = key_prefix)]
    pub redis_key_prefix: String,
    /// Size of the connection pool, in addition to four dedicated connections and up to six for revocations and locks
    #[arg(long, env = "DB_POOL_MAX", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_pool_max: u32,
    /// Seconds to wait at start for PostgreSQL to be reachable and writable; Redis is not waited for
    #[arg(long, env = "STORE_WAIT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub store_wait_seconds: u32,
}

impl StoreArgs {
    /// The database, where one is given.
    pub fn database(&self) -> Result<Option<SecretString>, ConfigError> {
        secret("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_ref())
    }

    /// The database as its owner, where that is given.
    pub fn migration_database(&self) -> Result<Option<SecretString>, ConfigError> {
        let (url, file) = (self.migration_database_url.as_ref(), self.migration_database_url_file.as_ref());
        secret("MIGRATION_DATABASE_URL", url, file)
    }

    /// The Redis, where one is given.
    pub fn redis(&self) -> Result<Option<SecretString>, ConfigError> {
        secret("REDIS_URL", self.redis_url.as_ref(), self.redis_url_file.as_ref())
    }
}

/// What `bootstrap` takes.
#[derive(Args, Debug, Clone)]
pub struct BootstrapArgs {
    /// Make another administrator, though there was a first one
    #[arg(long)]
    pub recover: bool,
    /// The cost of bcrypt
    #[arg(long, env = "BCRYPT_COST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// What `serve` takes.
#[derive(Args, Debug, Clone)]
pub struct ServeArgs {
    /// The port to listen on; 0 for any that is free
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// The address to listen on
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Where metrics are told, or `off`
    #[arg(long, env = "METRICS_ADDR", default_value = "127.0.0.1:9464", value_parser = metrics_address)]
    pub metrics_addr: MetricsAddress,
    #[command(flatten)]
    pub stores: StoreArgs,
    /// The URL under which clients know this service [default: http://HOST:PORT]
    #[arg(long, env = "ISSUER_URL", value_parser = issuer)]
    pub issuer_url: Option<String>,
    /// The key that signs tokens, as PEM: RSA of 2048 to 4096 bits, P-256 or Ed25519; in memory one is made at start where it is not given
    #[arg(long, env = "JWT_PRIVATE_KEY", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_private_key: Option<SecretString>,
    /// A file that holds `JWT_PRIVATE_KEY`
    #[arg(long, env = "JWT_PRIVATE_KEY_FILE")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Public keys that are published and accepted too, as PEM: the next one, the retired ones
    #[arg(long, env = "JWT_VERIFY_KEYS", hide_env_values = true, allow_hyphen_values = true,
          value_parser = secret_text)]
    pub jwt_verify_keys: Option<SecretString>,
    /// A file that holds `JWT_VERIFY_KEYS`
    #[arg(long, env = "JWT_VERIFY_KEYS_FILE")]
    pub jwt_verify_keys_file: Option<PathBuf>,
    /// How long a token lives, in seconds
    #[arg(long, env = "TOKEN_TTL_SECONDS", default_value_t = 3600,
          value_parser = clap::value_parser!(u32).range(i64::from(*TTL_SECONDS.start())..=i64::from(*TTL_SECONDS.end())))]
    pub token_ttl_seconds: u32,
    /// The cost of bcrypt
    #[arg(long, env = "BCRYPT_COST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=14))]
    pub bcrypt_cost: u32,
    /// Origins whose scripts may call this API, with commas between; none where nothing is said
    #[arg(long, env = "CORS_ORIGIN", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, origin))]
    pub cors_origin: List<String>,
    /// Networks whose `X-Forwarded-For` counts, as CIDRs with commas between; none where nothing is said
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "", hide_default_value = true,
          value_parser = |text: &str| List::parse(text, network))]
    pub trusted_proxies: List<IpNet>,
    /// How many requests a minute an address may make that prove nothing
    #[arg(long, env = "ADDRESS_REQUESTS_PER_MINUTE", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub address_requests_per_minute: u32,
    /// Whom client assertions may be for: the issuer, or the token endpoint's URL as well
    #[arg(long, env = "CLIENT_ASSERTION_AUDIENCE", value_enum, default_value_t = AssertionAudience::Issuer)]
    pub client_assertion_audience: AssertionAudience,
    /// The form of the log
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How long to serve on after the signal to end, not ready any more, in seconds
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub drain_seconds: u32,
}

/// Values with commas between. Nothing is none, as compose files have it.
#[derive(Clone, Debug, Default)]
pub struct List<T>(pub Vec<T>);

impl<T> List<T> {
    fn parse(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let values = text.split(',').map(str::trim).filter(|value| !value.is_empty());
        Ok(Self(values.map(parse).collect::<Result<_, _>>()?))
    }
}

/// Where metrics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    Off,
    At(SocketAddr),
}

/// Whom client assertions may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AssertionAudience {
    Issuer,
    TokenEndpoint,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The form of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    Yaml,
    Json,
}

/// The settings are wrong; one line says how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl ServeArgs {
    /// The signing key, where one is given.
    pub fn private_key(&self) -> Result<Option<SecretString>, ConfigError> {
        Ok(secret("JWT_PRIVATE_KEY", self.jwt_private_key.as_ref(), self.jwt_private_key_file.as_ref())?
            .map(|pem| unescaped(pem.expose_secret()).into()))
    }

    /// The keys that are published and accepted too.
    pub fn verify_keys(&self) -> Result<String, ConfigError> {
        let keys =
            secret("JWT_VERIFY_KEYS", self.jwt_verify_keys.as_ref(), self.jwt_verify_keys_file.as_ref())?;
        Ok(keys.map(|keys| unescaped(keys.expose_secret())).unwrap_or_default())
    }
}

/// A secret by its name, or from the file that is named for it; not both.
fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::new(format!("{name} and {name}_FILE are both set; set one"))),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            // It is being written at this moment, or was cut off: no key and no password is empty.
            Ok(text) if text.trim().is_empty() => {
                Err(ConfigError::new(format!("{name}_FILE: {} is empty", path.display())))
            }
            Ok(text) => Ok(Some(text.trim_end().into())),
            Err(error) => Err(ConfigError::new(format!("{name}_FILE: {}: {error}", path.display()))),
        },
        (None, None) => Ok(None),
    }
}

fn secret_text(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

/// A PEM text may come with `\n` for its line ends, as environment variables often have it.
fn unescaped(pem: &str) -> String {
    pem.replace("\\n", "\n")
}

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text == "off" {
        return Ok(MetricsAddress::Off);
    }
    text.parse().map(MetricsAddress::At).map_err(|_| "must be an address with a port, or `off`".to_owned())
}

/// No braces: they would move the hash tag that keeps the two windows of a rate limit in one slot of a cluster.
fn key_prefix(text: &str) -> Result<String, String> {
    let is_valid = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'_' | b'-'));
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must be at most 64 letters, digits and : . _ -".to_owned())
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "must be a network, such as 10.0.0.0/8".to_owned())
}

/// An absolute `http` or `https` URL without query, fragment or trailing slash (RFC 8414 section 2).
fn issuer(text: &str) -> Result<String, String> {
    let uri = fluent_uri::Uri::parse(text).map_err(|_| "must be a URL".to_owned())?;
    let is_web = matches!(uri.scheme().as_str(), "http" | "https");
    if !is_web || uri.authority().is_none_or(|authority| authority.host().is_empty()) {
        return Err("must begin with http:// or https:// and a host".to_owned());
    }
    if uri.authority().is_some_and(|authority| authority.userinfo().is_some()) {
        return Err("must not name a user".to_owned());
    }
    if uri.has_query() || uri.has_fragment() {
        return Err("must have neither query nor fragment".to_owned());
    }
    if text.ends_with('/') {
        return Err("must not end with a slash".to_owned());
    }
    Ok(text.to_owned())
}

/// An origin as browsers send it (RFC 6454): scheme, host, and a port where it is not the scheme's own.
fn origin(text: &str) -> Result<String, String> {
    const WRONG: &str = "must be an origin, such as https://app.example.com";
    let uri = fluent_uri::Uri::parse(text).map_err(|_| WRONG.to_owned())?;
    let is_bare =
        uri.authority().is_some() && uri.path().is_empty() && !uri.has_query() && !uri.has_fragment();
    let names_default_port = (text.starts_with("https://") && text.ends_with(":443"))
        || (text.starts_with("http://") && text.ends_with(":80"));
    let is_as_sent = !names_default_port && !text.contains('@') && *text == text.to_ascii_lowercase();
    if is_bare && is_as_sent { Ok(text.to_owned()) } else { Err(WRONG.to_owned()) }
}

/// The path of an issuer's URL, without a slash at its end.
pub fn path_of(issuer: &str) -> String {
    let path = fluent_uri::Uri::parse(issuer).map(|uri| uri.path().as_str().to_owned()).unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["agentidp"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
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
            ["--issuer-url", "ftp://example.com"],
            ["--issuer-url", "https://example.com/"],
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

    #[test]
    fn a_path_of_an_issuer_has_no_slash_at_its_end() {
        assert_eq!(path_of("https://example.com"), "");
        assert_eq!(path_of("https://example.com/idp"), "/idp");
    }
}
