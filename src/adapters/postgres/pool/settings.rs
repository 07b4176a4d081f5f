//! Connection settings for PostgreSQL, from a URL in libpq's format.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::tls::{Tls, TlsError};

/// Options of every session. Those of the URL come after them.
const OPTIONS: &str = "-c statement_timeout=2000 -c lock_timeout=1000 \
    -c idle_in_transaction_session_timeout=1000 -c jit=off -c timezone=UTC";
/// Time limit for opening a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long sent bytes may stay unacknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);

/// Connection settings for PostgreSQL.
#[derive(Clone)]
pub struct PgSettings {
    pub(crate) config: Config,
    /// The same configuration for each host of the URL alone, in the URL's order.
    pub(crate) hosts: Vec<Config>,
    pub(crate) tls: Tls,
    /// `sslmode=allow`: connect without TLS, and with TLS if the server demands it.
    pub(crate) falls_back_to_tls: bool,
}

impl PgSettings {
    /// Parses a URL of the form `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// In addition to what `tokio-postgres` supports, `sslmode` may be any of libpq's six modes, and `sslrootcert`
    /// may name a file of certificates, or be `system`. Errors do not contain the password.
    ///
    /// If the URL names several hosts, the first writable one is used, regardless of `target_session_attrs`, because
    /// a lagging standby would treat a revoked token as active.
    pub fn parse(url: &SecretString) -> Result<Self, SettingsError> {
        let url = url.expose_secret();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(SettingsError::NoUrl);
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = "prefer";
        let mut roots = None;
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => roots = Some(path(value)?),
                _ => rest.push(parameter),
            }
        }
        let url = format!("{address}?{}", rest.join("&"));
        let mut config = Config::from_str(&url).map_err(|_| SettingsError::Malformed)?;
        let (ssl, tls) = match (mode, roots) {
            ("disable" | "allow", _) => (SslMode::Disable, Tls::unverified()),
            ("prefer", _) => (SslMode::Prefer, Tls::unverified()),
            ("require", None) => (SslMode::Require, Tls::unverified()),
            ("require" | "verify-ca", roots) => (SslMode::Require, Tls::verified(roots.as_deref(), false)?),
            ("verify-full", roots) => (SslMode::Require, Tls::verified(roots.as_deref(), true)?),
            _ => return Err(SettingsError::SslMode),
        };
        let options = match config.get_options() {
            Some(options) => format!("{OPTIONS} {options}"),
            None => OPTIONS.to_owned(),
        };
        config
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(ssl)
            .options(options)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("agentidp");
        }
        Ok(Self { hosts: hosts_of(&config), config, tls, falls_back_to_tls: mode == "allow" })
    }

    /// Returns the role to connect as; `None` if the URL names none.
    pub fn role(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// Returns these settings without statement and lock timeouts, for long-running work.
    #[must_use]
    pub(crate) fn without_timeouts(&self) -> Self {
        let mut settings = self.clone();
        let options = self.config.get_options().unwrap_or_default();
        settings.config.options(format!("{options} -c statement_timeout=0 -c lock_timeout=0"));
        settings.hosts = hosts_of(&settings.config);
        settings
    }
}

/// Splits a configuration by host, so that each host has its own time to answer.
fn hosts_of(config: &Config) -> Vec<Config> {
    let port = |place: usize| config.get_ports().get(place).or(config.get_ports().first()).copied();
    let named = config.get_hosts().len().max(config.get_hostaddrs().len());
    let one = |place: usize| {
        let mut one = Config::new();
        match config.get_hosts().get(place) {
            Some(Host::Tcp(name)) => one.host(name),
            #[cfg(unix)]
            Some(Host::Unix(path)) => one.host_path(path),
            None => &mut one,
        };
        config.get_hostaddrs().get(place).map(|address| one.hostaddr(*address));
        port(place).map(|port| one.port(port));
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|name| one.dbname(name));
        config.get_options().map(|options| one.options(options));
        config.get_application_name().map(|name| one.application_name(name));
        config.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
        config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
        config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
        config.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
        one.ssl_mode(config.get_ssl_mode())
            .ssl_negotiation(config.get_ssl_negotiation())
            .channel_binding(config.get_channel_binding())
            .target_session_attrs(config.get_target_session_attrs())
            .keepalives(config.get_keepalives())
            .keepalives_idle(config.get_keepalives_idle());
        one
    };
    (0..named.max(1)).map(one).collect()
}

fn path(value: &str) -> Result<PathBuf, SettingsError> {
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    decoded.map(|path| PathBuf::from(path.into_owned())).map_err(|_| SettingsError::Malformed)
}

/// Error in a PostgreSQL URL. The message never contains the URL.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The value is not a PostgreSQL URL.
    #[error("must be a URL that begins with postgres:// or postgresql://")]
    NoUrl,
    /// The URL cannot be parsed.
    #[error("cannot be parsed as a URL; percent-encode special characters in the password")]
    Malformed,
    /// The `sslmode` is unknown.
    #[error("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// TLS cannot be configured.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PgSettings, SettingsError> {
        PgSettings::parse(&url.into())
    }

    #[test]
    fn every_sslmode_of_libpq_is_understood() {
        for (mode, ssl) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::Require),
            ("verify-full", SslMode::Require),
        ] {
            let settings =
                parse(&format!("postgres://a:b@db.example.com/x?sslmode={mode}&sslrootcert=system"));
            assert_eq!(settings.expect("understood").config.get_ssl_mode(), ssl, "{mode}");
        }
        assert!(matches!(parse("postgres://db/x?sslmode=maybe"), Err(SettingsError::SslMode)));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for url in
            ["mysql://a:hunter2@db/x", "postgres://a:hunter2@db:port/x", "postgres://a:hunter2@db/?x=1"]
        {
            let error = parse(url).err().expect("a fault").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let missing = parse("postgres://a:hunter2@db/x?sslmode=verify-full&sslrootcert=/nowhere.pem");
        assert!(missing.err().expect("a fault").to_string().contains("/nowhere.pem"));
    }

    #[test]
    fn only_a_server_that_can_be_written_will_do_whatever_the_url_says() {
        for query in ["", "?target_session_attrs=any", "?target_session_attrs=read-only"] {
            let settings = parse(&format!("postgres://a:b@db/x{query}")).expect("a URL");
            assert_eq!(settings.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite, "{query}");
        }
    }

    #[test]
    fn each_host_of_a_url_is_tried_by_itself_with_all_that_the_url_says() {
        let url = "postgres://user:word@one:1,%2Frun%2Ftwo:2,three:3/base?application_name=mine";
        let settings = parse(url).expect("a URL");
        let places: Vec<_> =
            settings.hosts.iter().map(|one| (one.get_hosts().to_vec(), one.get_ports().to_vec())).collect();
        let tcp = |name: &str| Host::Tcp(name.to_owned());
        assert_eq!(
            places,
            [
                (vec![tcp("one")], vec![1]),
                (vec![Host::Unix("/run/two".into())], vec![2]),
                (vec![tcp("three")], vec![3])
            ]
        );
        for one in &settings.hosts {
            assert_eq!((one.get_user(), one.get_password()), (Some("user"), Some(&b"word"[..])));
            assert_eq!((one.get_dbname(), one.get_application_name()), (Some("base"), Some("mine")));
            assert_eq!(one.get_options(), settings.config.get_options());
            assert_eq!(one.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
        let one_port = parse("postgres://one,two:7/base").expect("a URL");
        assert_eq!(one_port.hosts[1].get_ports(), [7]);
        assert_eq!(one_port.hosts[0].get_ports(), one_port.config.get_ports().get(..1).expect("one"));
    }

    #[test]
    fn a_session_has_limits_and_keeps_what_the_url_says() {
        let settings = parse("postgres://db/x?options=-c%20search_path%3Didp").expect("a URL");
        let options = settings.config.get_options().expect("some");
        assert!(options.contains("statement_timeout=2000") && options.ends_with("search_path=idp"));
    }
}
