//! The parameters of a PostgreSQL URL.
//!
//! What libpq and well-known providers put there is understood, is known to make no difference here, or is refused by
//! name. A typing error is never ignored.

use std::path::{Path, PathBuf};

use tokio_postgres::config::SslMode;

use super::settings::SettingsError;
use super::tls::{ClientCertificate, Tls};

/// Parameters that `tokio-postgres` reads.
const PASSED_ON: [&str; 11] = [
    "application_name",
    "channel_binding",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "password",
    "port",
    "sslnegotiation",
    "user",
];
/// Parameters that make no difference here, because the service decides what they are about, or does without it.
const IGNORED: [&str; 20] = [
    // libpq
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gsslib",
    "keepalives_count",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    // Other clients and providers, whose URLs are pasted as they are.
    "connection_limit",
    "pgbouncer",
    "pool_timeout",
    "prepared_statements",
    "statement_cache_size",
    "supa",
    "uselibpqcompat",
    "workaround",
];
/// Parameters that promise something that the service would not do.
const REFUSED: [(&str, &str); 13] = [
    ("passfile", "put the password into the URL, or the URL into the file that DATABASE_URL_FILE names"),
    ("service", "put the host and the rest into the URL"),
    ("schema", "use options=-csearch_path%3DNAME"),
    ("currentSchema", "use options=-csearch_path%3DNAME"),
    ("sslpassword", "the key of a client certificate must not be encrypted"),
    ("sslcrl", "revocation lists are not read"),
    ("sslcrldir", "revocation lists are not read"),
    ("sslcertmode", "a client certificate is sent if sslcert and sslkey are set"),
    ("ssl_max_protocol_version", "TLS 1.2 and 1.3 are used"),
    ("require_auth", "use channel_binding=require"),
    ("requirepeer", "use a socket whose folder only PostgreSQL can write"),
    ("replication", "the service does not replicate"),
    ("oauth_issuer", "the service authenticates by password or client certificate"),
];

/// The parameters of a URL, sorted by their use.
pub struct Parameters {
    /// Those that `tokio-postgres` reads, as a query.
    pub query: String,
    /// Settings of each session, from `options`, in their order.
    pub session: Vec<(String, String)>,
    /// The rest of `options`, which the server must understand at the start of a session.
    pub startup_options: Option<String>,
    pub ssl: SslMode,
    pub tls: Tls,
    /// Parameters of TLS, to be compared with those of another URL.
    pub tls_parameters: TlsParameters,
    /// `sslmode=allow`: connect without TLS, and with TLS if the server demands it.
    pub falls_back_to_tls: bool,
}

/// Parameters of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsParameters {
    mode: Option<String>,
    roots: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Parameters {
    /// Parses the query of a URL.
    pub fn parse(query: &str) -> Result<Self, SettingsError> {
        // A password that has a question mark, and is not percent-encoded, looks like this.
        if query.contains('@') {
            return Err(SettingsError::Malformed);
        }
        let mut read = Read::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(SettingsError::Malformed)?;
            read.take(name, value)?;
        }
        read.finish()
    }
}

#[derive(Default)]
struct Read {
    passed_on: Vec<String>,
    options: Option<String>,
    tls: TlsParameters,
}

impl Read {
    fn take(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        let not_offered = |instead| Err(SettingsError::NotOffered(name.to_owned(), instead));
        match name {
            "sslmode" => self.tls.mode = Some(value.to_owned()),
            "requiressl" if value == "1" => {
                self.tls.mode.get_or_insert_with(|| "require".to_owned());
            }
            "sslrootcert" => self.tls.roots = Some(decoded(value)?.into()),
            "sslcert" => self.tls.certificate = Some(decoded(value)?.into()),
            "sslkey" => self.tls.key = Some(decoded(value)?.into()),
            "options" => self.options = Some(decoded(value)?),
            "client_encoding" if !matches!(&*value.to_lowercase(), "utf8" | "utf-8" | "auto") => {
                return not_offered("the encoding is UTF8");
            }
            "gssencmode" if value == "require" => return not_offered("use TLS: sslmode=verify-full"),
            "ssl_min_protocol_version" | "min_protocol_version" if value == "TLSv1.3" => {
                return not_offered("TLS 1.2 and 1.3 are used");
            }
            "sslaccept" if value == "strict" => return not_offered("use sslmode=verify-full"),
            "client_encoding"
            | "gssencmode"
            | "ssl_min_protocol_version"
            | "min_protocol_version"
            | "requiressl"
            | "sslaccept" => {}
            _ if PASSED_ON.contains(&name) => self.passed_on.push(format!("{name}={value}")),
            _ if IGNORED.contains(&name) => {}
            _ => match REFUSED.iter().find(|(refused, _)| *refused == name) {
                Some((_, instead)) => return not_offered(instead),
                // A name is shown only if it cannot be a part of the password.
                None if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
                    return Err(SettingsError::Unknown(name.to_owned()));
                }
                None => return Err(SettingsError::Malformed),
            },
        }
        Ok(())
    }

    fn finish(self) -> Result<Parameters, SettingsError> {
        let TlsParameters { mode, roots, certificate, key } = &self.tls;
        let certificate = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            _ => return Err(SettingsError::HalfACertificate),
        };
        let certificate = certificate.as_ref();
        // As in libpq: otherwise the public certificate of any other server would do.
        let is_public = roots.as_deref() == Some(Path::new("system"));
        let mode = mode.as_deref().unwrap_or(if is_public { "verify-full" } else { "prefer" });
        if is_public && mode != "verify-full" {
            return Err(SettingsError::WeakMode);
        }
        let (ssl, tls) = match (mode, roots) {
            ("disable" | "allow", _) => (SslMode::Disable, Tls::unverified(certificate)?),
            ("prefer", _) => (SslMode::Prefer, Tls::unverified(certificate)?),
            ("require", None) => (SslMode::Require, Tls::unverified(certificate)?),
            ("require" | "verify-ca", roots) => {
                (SslMode::Require, Tls::verified(roots.as_deref(), false, certificate)?)
            }
            ("verify-full", roots) => (SslMode::Require, Tls::verified(roots.as_deref(), true, certificate)?),
            _ => return Err(SettingsError::SslMode),
        };
        let (session, startup_options) = self.options.as_deref().map(split_options).unwrap_or_default();
        Ok(Parameters {
            query: self.passed_on.join("&"),
            session,
            startup_options,
            ssl,
            tls,
            falls_back_to_tls: mode == "allow",
            tls_parameters: self.tls,
        })
    }
}

/// Splits `options` into settings (`-c name=value`, `--name=value`) and the rest.
fn split_options(options: &str) -> (Vec<(String, String)>, Option<String>) {
    let mut words = words(options).into_iter();
    let (mut settings, mut rest) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(setting) => Some(setting.to_owned()),
            None => word.strip_prefix("--").map(str::to_owned),
        };
        match setting.as_deref().and_then(|setting| setting.split_once('=')) {
            // A dash stands for an underscore, as on the server's command line.
            Some((name, value)) => settings.push((name.replace('-', "_"), value.to_owned())),
            None => rest.push(word),
        }
    }
    let escaped = |word: &String| word.replace('\\', "\\\\").replace(' ', "\\ ");
    let rest = (!rest.is_empty()).then(|| rest.iter().map(escaped).collect::<Vec<_>>().join(" "));
    (settings, rest)
}

/// Splits a text at spaces; a backslash makes the next character an ordinary one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            ' ' if word.is_empty() => {}
            ' ' => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn decoded(value: &str) -> Result<String, SettingsError> {
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| SettingsError::Malformed)
}
