//! Connection settings for PostgreSQL, from a URL in libpq's format.

use std::str::FromStr as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::shortage::Shortage;
use super::tls::{Tls, TlsError};
use super::url::{Parameters, TlsParameters};

/// Settings of every session. Those of the URL come after them.
///
/// They are set once the session has begun, because a pooler such as `PgBouncer` refuses or ignores startup options.
const SESSION: [(&str, &str); 5] = [
    ("statement_timeout", "2000"),
    ("lock_timeout", "1000"),
    ("idle_in_transaction_session_timeout", "1000"),
    ("jit", "off"),
    ("timezone", "UTC"),
];
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
    /// Names and values of the settings that every session begins with, in their order.
    session: Vec<(String, String)>,
    pub(crate) tls: Tls,
    tls_parameters: TlsParameters,
    /// The password of new connections, the same for all copies of these settings.
    password: Arc<RwLock<Option<SecretSlice<u8>>>>,
    /// Whether the server lacks room for connections, the same for all copies of these settings.
    pub(crate) shortage: Arc<Shortage>,
    /// `sslmode=allow`: connect without TLS, and with TLS if the server demands it.
    pub(crate) falls_back_to_tls: bool,
}

impl PgSettings {
    /// Parses a URL of the form `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// The parameters are those of libpq. Errors do not contain the password.
    ///
    /// If the URL names several hosts, the first writable one is used, regardless of `target_session_attrs`, because
    /// a lagging standby would treat a revoked token as active.
    pub fn parse(url: &SecretString) -> Result<Self, SettingsError> {
        let url = url.expose_secret();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(SettingsError::NoUrl);
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let parameters = Parameters::parse(query)?;
        let url = format!("{address}?{}", parameters.query);
        let mut config = Config::from_str(&url).map_err(|_| SettingsError::Malformed)?;
        let own = SESSION.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let session = own.chain(parameters.session).collect();
        parameters.startup_options.map(|options| config.options(options));
        config
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(parameters.ssl)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("agentidp");
        }
        let Parameters { tls, tls_parameters, falls_back_to_tls, .. } = parameters;
        let password = config.get_password().map(|password| SecretSlice::from(password.to_vec()));
        let password = Arc::new(RwLock::new(password));
        let shortage = Arc::default();
        Ok(Self {
            hosts: hosts_of(&config),
            config,
            session,
            tls,
            tls_parameters,
            password,
            shortage,
            falls_back_to_tls,
        })
    }

    /// Returns the role to connect as; `None` if the URL names none.
    pub fn role(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// Returns the configuration of a host with the password of new connections.
    pub(crate) fn with_password(&self, host: &Config) -> Config {
        let mut config = host.clone();
        let password = self.password.read().unwrap_or_else(PoisonError::into_inner);
        password.as_ref().map(|password| config.password(password.expose_secret()));
        config
    }

    /// Takes over the password of other settings. Returns whether it is another one.
    ///
    /// Returns [`SettingsError::MoreThanPassword`] if the settings differ in anything else that the URL says, or if one
    /// of them has no password.
    pub(crate) fn replace_password(&self, new: &Self) -> Result<bool, SettingsError> {
        let rest = |settings: &Self| {
            let mut config = settings.config.clone();
            config.password("");
            (config, settings.session.clone(), settings.tls_parameters.clone())
        };
        if rest(self) != rest(new) {
            return Err(SettingsError::MoreThanPassword);
        }
        if self.config.get_password().is_some() != new.config.get_password().is_some() {
            return Err(SettingsError::MoreThanPassword);
        }
        let new = new.password.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut password = self.password.write().unwrap_or_else(PoisonError::into_inner);
        let exposed = |password: &Option<SecretSlice<u8>>| {
            password.as_ref().map(|password| password.expose_secret().to_vec())
        };
        let is_another = exposed(&password) != exposed(&new);
        *password = new;
        Ok(is_another)
    }

    /// Returns these settings without statement and lock timeouts, for long-running work.
    #[must_use]
    pub(crate) fn without_timeouts(&self) -> Self {
        let mut settings = self.clone();
        let unlimited = ["statement_timeout", "lock_timeout"].map(|name| (name.to_owned(), "0".to_owned()));
        settings.session.extend(unlimited);
        settings
    }

    /// Returns the statement that a session begins with.
    pub(crate) fn begin_session(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let set = |(name, value): &(String, String)| {
            format!("set_config({}, {}, false)", quoted(name), quoted(value))
        };
        format!("SELECT {}", self.session.iter().map(set).collect::<Vec<_>>().join(", "))
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
    /// The system's certificates are trusted in a mode that does not check the server's name.
    #[error("sslrootcert=system needs sslmode=verify-full, because any server can have a public certificate")]
    WeakMode,
    /// Only one of certificate and key is named.
    #[error("sslcert and sslkey go together")]
    HalfACertificate,
    /// The parameter is unknown.
    #[error("has the unknown parameter {0}; the parameters are those of libpq")]
    Unknown(String),
    /// The parameter promises what the service does not do; the text says what to do instead.
    #[error("has the parameter {0}, which is not supported: {1}")]
    NotOffered(String, &'static str),
    /// Only the password may change while the service runs.
    #[error("differs in more than its password; restart the service to use it")]
    MoreThanPassword,
    /// TLS cannot be configured.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

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
            let settings = parse(&format!("postgres://a:b@db.example.com/x?sslmode={mode}"));
            assert_eq!(settings.expect("understood").config.get_ssl_mode(), ssl, "{mode}");
        }
        assert!(matches!(parse("postgres://db/x?sslmode=maybe"), Err(SettingsError::SslMode)));
        let system = |mode: &str| parse(&format!("postgres://db/x?sslrootcert=system{mode}"));
        assert_eq!(system("").expect("verified in full").config.get_ssl_mode(), SslMode::Require);
        assert!(system("&sslmode=verify-full").is_ok());
        for weaker in ["disable", "allow", "prefer", "require", "verify-ca"] {
            assert!(
                matches!(system(&format!("&sslmode={weaker}")), Err(SettingsError::WeakMode)),
                "{weaker}"
            );
        }
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
    fn all_copies_take_over_a_new_password_and_nothing_but_a_password() {
        let settings = parse("postgres://a:old@one,two/x").expect("a URL");
        let copy = settings.without_timeouts();
        let passwords = || {
            let hosts = copy.hosts.iter().map(|host| copy.with_password(host));
            hosts.map(|host| host.get_password().map(<[u8]>::to_vec)).collect::<Vec<_>>()
        };
        let replaced = |url: &str| settings.replace_password(&parse(url).expect("a URL"));
        assert!(!replaced("postgres://a:old@one,two/x").expect("the same"));
        assert!(replaced("postgres://a:new@one,two/x").expect("a password"));
        assert_eq!(passwords(), [Some(b"new".to_vec()), Some(b"new".to_vec())]);
        for url in [
            "postgres://b:newer@one,two/x",
            "postgres://a:newer@one/x",
            "postgres://a:newer@one,two/y",
            "postgres://a:newer@one,two/x?options=-ca=b",
            "postgres://a:newer@one,two/x?sslmode=verify-full",
            "postgres://a:newer@one,two/x?sslrootcert=system",
            "postgres://a@one,two/x",
        ] {
            assert!(matches!(replaced(url), Err(SettingsError::MoreThanPassword)), "{url}");
        }
        assert_eq!(passwords(), [Some(b"new".to_vec()), Some(b"new".to_vec())]);
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
            assert_eq!(one.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
        let one_port = parse("postgres://one,two:7/base").expect("a URL");
        assert_eq!(one_port.hosts[1].get_ports(), [7]);
        assert_eq!(one_port.hosts[0].get_ports(), one_port.config.get_ports().get(..1).expect("one"));
    }

    #[test]
    fn a_session_has_limits_and_keeps_what_the_url_says() {
        for options in ["-c%20search_path%3Da%5C%20b", "-csearch_path=a%5C%20b", "--search-path=a%5C%20b"] {
            let settings = parse(&format!("postgres://db/x?options={options}")).expect("a URL");
            let begin = settings.begin_session();
            assert!(begin.starts_with("SELECT set_config('statement_timeout', '2000', false), "), "{begin}");
            assert!(begin.ends_with(", set_config('search_path', 'a b', false)"), "{begin}");
            let unlimited = settings.without_timeouts().begin_session();
            assert!(unlimited.ends_with("set_config('lock_timeout', '0', false)"), "{unlimited}");
        }
        let quoted = parse("postgres://db/x?options=--a=it's").expect("a URL").begin_session();
        assert!(quoted.ends_with("set_config('a', 'it''s', false)"), "{quoted}");
        // Neon finds the server by it.
        let settings = parse("postgres://db/x?options=endpoint%3Dab%20-c%20a%3Db").expect("a URL");
        assert_eq!(settings.hosts[0].get_options(), Some("endpoint=ab"));
    }

    #[test]
    fn the_urls_of_providers_and_other_clients_are_taken_as_they_are() {
        for query in [
            "sslmode=require&channel_binding=require",
            "sslmode=require&supa=base-pooler.x&pgbouncer=true",
            "workaround=supabase-pooler.vercel&connect_timeout=15&connection_limit=1&pool_timeout=0",
            "uselibpqcompat=true&sslmode=verify-full&sslrootcert=system",
            "target_session_attrs=prefer-standby&load_balance_hosts=random&keepalives_count=3&client_encoding=UTF-8",
            "gssencmode=disable&sslsni=1&krbsrvname=postgres&ssl_min_protocol_version=TLSv1.2&fallback_application_name=x",
            "statement_cache_size=0&prepared_statements=false&requiressl=1&sslaccept=accept_invalid_certs",
            "",
            "&",
        ] {
            let settings = parse(&format!("postgres://a:b@db.example.com/x?{query}"));
            settings.map(drop).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }

    #[test]
    fn a_parameter_that_would_be_ignored_is_named_and_what_could_be_a_password_is_not() {
        for (query, named) in [
            ("sslmod=require", "unknown parameter sslmod"),
            ("searchpath=x", "unknown parameter searchpath"),
            ("sslcrl=/x.pem", "sslcrl"),
            ("schema=idp", "options=-csearch_path"),
            ("passfile=/x", "DATABASE_URL_FILE"),
            ("client_encoding=LATIN1", "UTF8"),
            ("gssencmode=require", "sslmode"),
            ("ssl_min_protocol_version=TLSv1.3", "TLS 1.2 and 1.3"),
            ("sslmode=require&sslaccept=strict", "sslmode=verify-full"),
            ("sslcert=/x.pem", "go together"),
            ("sslkey=/x.pem", "go together"),
        ] {
            let error = parse(&format!("postgres://a:b@db/x?{query}")).err().expect("a fault").to_string();
            assert!(error.contains(named), "{query}: {error}");
        }
        for rest in ["hun?ter2@db/x", "hun?ter=2@db/x", "hun?sslmode=require&ter2@db/x", "b@db/x?hunter2"] {
            let error = parse(&format!("postgres://a:{rest}")).err().expect("a fault").to_string();
            assert!(!error.contains("ter2") && error.contains("percent-encode"), "{rest}: {error}");
        }
    }
}
