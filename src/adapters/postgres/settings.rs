//! Where PostgreSQL is and how to speak to it, from a URL as libpq has it.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::tls::{Tls, TlsError};

/// What every session begins with, after what the URL says.
const OPTIONS: &str = "-c statement_timeout=2000 -c lock_timeout=1000 \
    -c idle_in_transaction_session_timeout=1000 -c jit=off -c timezone=UTC";
/// How long a connection may take, and unanswered bytes may stay so.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);

/// Where PostgreSQL is, and how to speak to it.
#[derive(Clone)]
pub struct PgSettings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// `sslmode=allow`: without TLS, and with it where the server demands it.
    pub(super) falls_back_to_tls: bool,
}

impl PgSettings {
    /// Reads a URL: `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// Beside what `tokio-postgres` reads, `sslmode` may be any of libpq's six, and `sslrootcert` may name a file
    /// of certificates, or `system`. What is wrong is told without the password.
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
            .ssl_mode(ssl)
            .options(options)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("agentidp");
        }
        Ok(Self { config, tls, falls_back_to_tls: mode == "allow" })
    }

    /// The role that it connects as.
    pub fn role(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// The same, for work that takes its time: without limits on statements and locks.
    #[must_use]
    pub(super) fn patient(&self) -> Self {
        let mut patient = self.clone();
        let options = self.config.get_options().unwrap_or_default();
        patient.config.options(format!("{options} -c statement_timeout=0 -c lock_timeout=0"));
        patient
    }
}

fn path(value: &str) -> Result<PathBuf, SettingsError> {
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    decoded.map(|path| PathBuf::from(path.into_owned())).map_err(|_| SettingsError::Malformed)
}

/// What is wrong with a URL. It never shows the URL.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("must be a URL that begins with postgres:// or postgresql://")]
    NoUrl,
    #[error("is not a URL that can be read; encode special characters of the password as %XX")]
    Malformed,
    #[error("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
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
    fn a_session_has_limits_and_keeps_what_the_url_says() {
        let settings = parse("postgres://db/x?options=-c%20search_path%3Didp").expect("a URL");
        let options = settings.config.get_options().expect("some");
        assert!(options.contains("statement_timeout=2000") && options.ends_with("search_path=idp"));
    }
}
