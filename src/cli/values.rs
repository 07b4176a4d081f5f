//! Values of settings: how each is written, and the error if it is written otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;

use crate::adapters::issuers::{PrivateNetwork, PrivateNetworkError};
use crate::config::ConfigError;

/// Comma-separated values. An empty text is an empty list, because compose files pass unset variables that
/// way.
#[derive(Clone, Debug, Default)]
pub struct List<T>(pub Vec<T>);

impl<T> List<T> {
    pub(super) fn parse(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let values = text.split(',').map(str::trim).filter(|value| !value.is_empty());
        Ok(Self(values.map(parse).collect::<Result<_, _>>()?))
    }
}

/// Address of the Prometheus endpoint, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    /// Metrics are not served.
    Off,
    /// Metrics are served on this address.
    At(SocketAddr),
}

/// Takes a secret as it is.
pub(super) fn secret_text(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

/// Returns the secret from its value or from its file.
///
/// Returns [`ConfigError`] if both are set, or if the file is unreadable or empty.
pub(super) fn secret(
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

/// Parses the address to listen on.
pub(super) fn host(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    bare.parse().map_err(|_| "must be an IP address, such as 0.0.0.0, or localhost".to_owned())
}

/// Parses the address of the Prometheus endpoint.
pub(super) fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if text == "off" {
        return Ok(MetricsAddress::Off);
    }
    text.parse().map(MetricsAddress::At).map_err(|_| "must be an address with a port, or `off`".to_owned())
}

/// No braces: they would move the hash tag that keeps the two windows of a rate limit in one slot of a cluster.
pub(super) fn key_prefix(text: &str) -> Result<String, String> {
    let is_valid = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'_' | b'-'));
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must be at most 64 letters, digits and : . _ -".to_owned())
    }
}

/// Parses a network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "must be a network, such as 10.0.0.0/8".to_owned())
}

/// Parses a private network, with a port or without.
pub(super) fn private_network(text: &str) -> Result<PrivateNetwork, String> {
    text.parse().map_err(|error: PrivateNetworkError| error.to_string())
}

/// Parses the URL of a collector.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let uri = fluent_uri::Uri::parse(text).map_err(|_| "must be a URL".to_owned())?;
    match uri.scheme().as_str() {
        "http" | "https" if uri.authority().is_some_and(|authority| !authority.host().is_empty()) => {
            Ok(text.to_owned())
        }
        _ => Err("must begin with http:// or https:// and a host, such as http://127.0.0.1:4318".to_owned()),
    }
}

/// Parses an issuer URL (RFC 8414 section 2).
///
/// The URL is absolute, `http` or `https`, without user, query or fragment.
pub(super) fn issuer(text: &str) -> Result<String, String> {
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
    Ok(text.to_owned())
}

/// Parses an origin as browsers send it (RFC 6454).
///
/// An origin is a scheme, a host, and a port unless that is the scheme's default.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const WRONG: &str = "must be an origin, such as https://app.example.com";
    let uri = fluent_uri::Uri::parse(text).map_err(|_| WRONG.to_owned())?;
    let is_bare =
        uri.authority().is_some() && uri.path().is_empty() && !uri.has_query() && !uri.has_fragment();
    let names_default_port = (text.starts_with("https://") && text.ends_with(":443"))
        || (text.starts_with("http://") && text.ends_with(":80"));
    let is_as_sent = !names_default_port && !text.contains('@') && *text == text.to_ascii_lowercase();
    if is_bare && is_as_sent { Ok(text.to_owned()) } else { Err(WRONG.to_owned()) }
}
