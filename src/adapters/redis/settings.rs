//! Connection settings of Redis.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use fred::error::Error;
use fred::types::config::{Config, CredentialProvider, Server, TlsConnector};
use percent_encoding::percent_decode_str;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};

/// Maximum time that a command may take.
pub(super) const COMMAND: Duration = Duration::from_millis(250);
/// Maximum time that a connection attempt may take.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

/// Parameter that names a file of certificates.
const ROOTS: &str = "sslrootcert=";

/// Location of Redis, parsed from a URL.
#[derive(Clone)]
pub struct RedisSettings {
    pub(super) config: Config,
    /// File of the only certificates to trust; `None` for those of the system.
    roots: Option<PathBuf>,
    /// User and password of new connections.
    pub(super) credentials: Arc<Credentials>,
    /// Starts every key.
    pub(super) key_prefix: String,
}

impl RedisSettings {
    /// Parses the URL of a Redis server, cluster or sentinel.
    ///
    /// Accepts `redis://`, `rediss://` (TLS), `redis-cluster://`, `redis-sentinel://`, their `rediss-` forms, and
    /// `redis+unix://` with a path and `?db=`. With TLS, `?sslrootcert=` names a file of the only certificates to
    /// trust, as in the URL of PostgreSQL. The error never contains the password.
    pub fn parse(url: &SecretString) -> Result<Self, RedisSettingsError> {
        let url = url.expose_secret();
        if !url.starts_with("redis") || !url.contains("://") {
            return Err(RedisSettingsError::NoUrl);
        }
        let (url, roots) = without_roots(url)?;
        let mut config = Config::from_url(&url).map_err(|_| RedisSettingsError::Malformed)?;
        config.tls = match &roots {
            Some(path) => Some(TlsConnector::from(trusting(path)?).into()),
            None => config.tls,
        };
        if let Some((_, query)) = url.split_once('?').filter(|_| config.server.is_unix_socket()) {
            let database = query.split('&').find_map(|parameter| parameter.strip_prefix("db="));
            config.database = match database.map(str::parse) {
                None => None,
                Some(Ok(database)) => Some(database),
                Some(Err(_)) => return Err(RedisSettingsError::Malformed),
            };
        }
        let credentials = Credentials::of(&config);
        config.credential_provider = Some(credentials.clone());
        Ok(Self { config, roots, credentials, key_prefix: String::new() })
    }

    /// Takes over the password of other settings. Returns whether it is another one.
    ///
    /// Returns [`RedisSettingsError::MoreThanPassword`] if the settings differ in anything else that the URL says.
    pub(super) fn replace_password(&self, new: &Self) -> Result<bool, RedisSettingsError> {
        let (config, other) = (&self.config, &new.config);
        let is_same = config.server == other.server
            && config.database == other.database
            && (config.tls.is_some(), &self.roots) == (other.tls.is_some(), &new.roots)
            && config.username == other.username;
        if !is_same {
            return Err(RedisSettingsError::MoreThanPassword);
        }
        let is_another = self.credentials.exposed() != new.credentials.exposed();
        let credentials = new.credentials.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.credentials.0.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(is_another)
    }

    /// The same server, with keys that start with this prefix, so that several services can share it.
    #[must_use]
    pub fn with_key_prefix(self, key_prefix: &str) -> Self {
        Self { key_prefix: key_prefix.to_owned(), ..self }
    }
}

/// User and password of new connections, which may be replaced.
pub(super) struct Credentials(RwLock<UserAndPassword>);

type UserAndPassword = (Option<String>, Option<SecretString>);

impl Credentials {
    fn of(config: &Config) -> Arc<Self> {
        let password = config.password.clone().map(SecretString::from);
        Arc::new(Self(RwLock::new((config.username.clone(), password))))
    }

    fn exposed(&self) -> (Option<String>, Option<String>) {
        let (user, password) = &*self.0.read().unwrap_or_else(PoisonError::into_inner);
        (user.clone(), password.as_ref().map(|password| password.expose_secret().to_owned()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    async fn fetch(&self, _: Option<&Server>) -> Result<(Option<String>, Option<String>), Error> {
        Ok(self.exposed())
    }
}

/// Takes `sslrootcert` out of a URL.
///
/// If it is there, the URL that is returned is that without TLS, because the parser would load the system's roots,
/// which there may be none of.
fn without_roots(url: &str) -> Result<(Cow<'_, str>, Option<PathBuf>), RedisSettingsError> {
    let Some((address, query)) = url.split_once('?') else { return Ok((url.into(), None)) };
    let (roots, rest): (Vec<_>, Vec<_>) =
        query.split('&').partition(|parameter| parameter.starts_with(ROOTS));
    let Some(path) = roots.last() else { return Ok((url.into(), None)) };
    let path = percent_decode_str(&path[ROOTS.len()..]).decode_utf8();
    let path = path.map_err(|_| RedisSettingsError::Malformed)?.into_owned();
    let plain = address.strip_prefix("rediss").ok_or(RedisSettingsError::NoTls)?;
    Ok((format!("redis{plain}?{}", rest.join("&")).into(), Some(path.into())))
}

/// Returns a TLS configuration that trusts the certificates of this file.
fn trusting(path: &Path) -> Result<ClientConfig, RedisSettingsError> {
    let fault = |what: String| RedisSettingsError::Roots(path.to_owned(), what);
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.map_err(|error| fault(error.to_string()))?);
    if roots.is_empty() {
        return Err(fault("contains no certificate".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| fault(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Error of an invalid URL. Never contains the URL.
#[derive(Debug, thiserror::Error)]
pub enum RedisSettingsError {
    /// The text is not a URL of Redis.
    #[error(
        "must be a URL that begins with redis://, rediss://, redis-cluster://, redis-sentinel:// or redis+unix://"
    )]
    NoUrl,
    /// Only the password may change while the service runs.
    #[error("differs in more than its password; restart the service to use it")]
    MoreThanPassword,
    /// The URL names certificates, but its scheme is one without TLS.
    #[error("has sslrootcert, but no TLS; begin it with rediss://")]
    NoTls,
    /// The file of certificates cannot be used.
    #[error("sslrootcert {path}: {1}", path = .0.display())]
    Roots(PathBuf, String),
    /// The URL cannot be parsed.
    #[error("cannot be parsed as a URL; percent-encode special characters in the password")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_run_redis_has_a_url() {
        for url in [
            "redis://localhost",
            "redis://:word@db.example.com:6380/3",
            "rediss://user:word@db.example.com",
            "redis-cluster://a:7000?node=b:7001&node=c:7002",
            "rediss-cluster://a:7000",
            "redis-sentinel://a:26379?node=b:26379&sentinelServiceName=main",
            "redis+unix:///run/redis.sock?db=3",
        ] {
            assert!(RedisSettings::parse(&url.into()).is_ok(), "{url}");
        }
    }

    #[test]
    fn certificates_are_trusted_only_with_tls_and_a_file_that_has_some_is_named_otherwise() {
        for (url, named) in [
            ("redis://db?sslrootcert=/x.pem", "rediss://"),
            ("rediss://db?sslrootcert=%2Fnowhere%20x.pem", "/nowhere x.pem"),
            ("rediss-cluster://a:7000?node=b:7001&sslrootcert=/dev/null", "contains no certificate"),
        ] {
            let error = RedisSettings::parse(&url.into()).err().expect("a fault").to_string();
            assert!(error.contains(named), "{url}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for url in ["http://:hunter2@db", "redis://:hunter2@db:port", "redis+unix:///hunter2?db=x"] {
            let error = RedisSettings::parse(&url.into()).err().expect("a fault").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
