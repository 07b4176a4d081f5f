//! URLs from which keys may be fetched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fluent_uri::Uri;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::ServerName;

use super::address::AllowedAddresses;

const NO_URL: &str = "must be an absolute https URL";
const NO_HOST: &str = "must have as host a name of letters, digits, \".\", \"-\" and \"_\", or an address such as \
                       192.0.2.1 or [2001:db8::1]";
const PRIVATE: &str = "must have a globally routable address, or one that ISSUER_PRIVATE_NETWORKS allows";
const HTTP: &str = "must begin with https://; http:// needs a loopback address that ISSUER_PRIVATE_NETWORKS allows, or localhost";

/// A URL from which keys may be fetched, in parts.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Value of the `Host` header (RFC 9110 section 7.2).
    pub(crate) authority: String,
    pub(crate) path: PathAndQuery,
    /// Name for which the certificate must be valid; `None` for `http`.
    pub(crate) server_name: Option<ServerName<'static>>,
}

/// Host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Target {
    /// Parses a URL and checks it as far as can be said without looking up its host.
    ///
    /// Returns what forbids fetching keys from it.
    pub(crate) fn parse(url: &str, allowed: &AllowedAddresses) -> Result<Self, &'static str> {
        let uri = Uri::parse(url).map_err(|_| NO_URL)?;
        let is_https = match uri.scheme().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(NO_URL),
        };
        let authority = uri.authority().ok_or(NO_URL)?;
        if authority.has_userinfo() {
            return Err("must not have a user");
        }
        if uri.has_fragment() {
            return Err("must not have a fragment");
        }
        let port = match authority.port() {
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => {
                let port = port.as_str().parse().ok().filter(|port| *port != 0);
                port.ok_or("must have a port of 1 to 65535, or none")?
            }
        };
        let (host, server_name) = Host::parse(authority.host()).ok_or(NO_HOST)?;
        let known = host.known_addresses();
        if !is_https {
            let is_allowed = |address: &IpAddr| address.is_loopback() && allowed.has_private(*address, port);
            if !known.iter().any(is_allowed) {
                return Err(HTTP);
            }
        } else if !known.is_empty() && !known.iter().any(|address| allowed.contains(*address, port)) {
            return Err(PRIVATE);
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = if uri.path().as_str().is_empty() { "/" } else { uri.path().as_str() };
        Ok(Self {
            host,
            port,
            authority: authority.as_str().to_owned(),
            path: format!("{path}{query}").parse().map_err(|_| NO_URL)?,
            server_name: is_https.then_some(server_name),
        })
    }

    /// Returns whether keys may be fetched from this address of the host.
    pub(crate) fn allows(&self, address: IpAddr, allowed: &AllowedAddresses) -> bool {
        let is_encrypted = self.server_name.is_some();
        allowed.contains(address, self.port) && (is_encrypted || address.is_loopback())
    }
}

impl Host {
    /// Parses a host, and the name for which its certificate must be valid.
    ///
    /// Resolvers take `127.1`, `0177.0.0.1`, `0x7f000001` and `2130706433` for addresses. Such names are refused:
    /// no top-level domain is a number.
    fn parse(text: &str) -> Option<(Self, ServerName<'static>)> {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = match bracketed {
            Some(text) => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            None => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        };
        if let Some(address) = address.map(|address| address.to_canonical()) {
            return Some((Self::Address(address), ServerName::IpAddress(address.into())));
        }
        // A final dot marks the name as absolute for the resolver. Certificates have none.
        let name = text.strip_suffix('.').unwrap_or(text);
        let last = name.rsplit('.').next()?;
        let is_number =
            last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
        let server_name = ServerName::try_from(name.to_owned()).ok()?;
        (!is_number && matches!(server_name, ServerName::DnsName(_)))
            .then(|| (Self::Name(text.to_owned()), server_name))
    }

    /// Returns the addresses that are known without looking up the host; none for most names.
    ///
    /// `localhost` is looked up all the same, but has no others (RFC 6761 section 6.3).
    fn known_addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Address(address) => vec![*address],
            Self::Name(name) if name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Self::Name(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(networks: &[&str]) -> AllowedAddresses {
        let networks: Vec<_> = networks.iter().map(|text| text.parse().expect("a network")).collect();
        AllowedAddresses::new(&networks)
    }

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, port, path) in [
            ("https://ci.example.com", Host::Name("ci.example.com".to_owned()), 443, "/"),
            ("https://ci.example.com./", Host::Name("ci.example.com.".to_owned()), 443, "/"),
            (
                "https://a_b.example:8443/k%20s?v=1&w=%2F",
                Host::Name("a_b.example".to_owned()),
                8443,
                "/k%20s?v=1&w=%2F",
            ),
            ("https://a.example?v=1", Host::Name("a.example".to_owned()), 443, "/?v=1"),
            ("https://a.example//b/../c", Host::Name("a.example".to_owned()), 443, "//b/../c"),
            ("https://8.8.8.8/", Host::Address("8.8.8.8".parse().expect("an address")), 443, "/"),
            (
                "https://[2606:4700::1111]:1/",
                Host::Address("2606:4700::1111".parse().expect("an address")),
                1,
                "/",
            ),
            ("https://[::ffff:8.8.8.8]/", Host::Address("8.8.8.8".parse().expect("an address")), 443, "/"),
        ] {
            let target = Target::parse(url, &allowing(&[])).expect(url);
            assert_eq!((target.host, target.port, target.path.as_str()), (host, port, path), "{url}");
            assert!(target.server_name.is_some());
        }
    }

    #[test]
    fn a_url_that_is_not_https_or_has_another_host_is_refused() {
        for url in [
            "",
            "/",
            "ci.example.com",
            "//ci.example.com/",
            "https:",
            "https:/a",
            "https://",
            "https:///a",
            "https://:443/",
            "spiffe://example.org",
            "ftp://example.com/",
            "file:///etc/passwd",
            "HTTPS://a.example/",
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://@example.com/",
            "https://a.example/#f",
            "https://a.example:0/",
            "https://a.example:65536/",
            "https://a.example:/",
            "https://a.example:-1/",
            "https://a%2eexample/",
            "https://%31%32%37.0.0.1/",
            "https://a b/",
            "https://exämple/",
            "https://a,b/",
            "https://a..b/",
            "https://a.example../",
            "https://.a.example/",
            "https://./",
            "https://-/",
            "https://[v1.a]/",
            "https://[fe80::1%25eth0]/",
            "https://[127.0.0.1]/",
            "https://a.example\\@b.example/",
            "https://a.example/\n",
            "https://a.example/ x",
            "https://a.example/\u{0}",
            "http://ci.example.com/",
            "http://8.8.8.8/",
        ] {
            let allowed = allowing(&["0.0.0.0/0", "::/0"]);
            assert!(Target::parse(url, &allowed).is_err(), "{url:?}");
        }
    }

    #[test]
    fn no_form_of_a_private_address_passes() {
        let forms = [
            "127.0.0.1",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "0X7F000001",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "127.0.0.01",
            "127.0.0.0x1",
            "1.2.3.0x",
            "0",
            "0x",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "localhost",
            "LocalHost",
            "localhost.",
            "0.0.0.0",
            "10.0.0.1",
            "169.254.169.254",
            "2852039166",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[ff02::1]",
            "255.255.255.255",
            "100.100.100.200",
        ];
        for host in forms {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}/");
                assert!(Target::parse(&url, &allowing(&[])).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn http_needs_a_loopback_host_that_is_allowed() {
        let allowed = allowing(&["127.0.0.1/32:8080", "10.0.0.0/8", "::1/128"]);
        for (url, is_allowed) in [
            ("http://127.0.0.1:8080/", true),
            ("http://[::ffff:127.0.0.1]:8080/", true),
            ("http://127.0.0.1/", false),
            ("http://127.0.0.2:8080/", false),
            ("http://localhost:8080/", true),
            ("http://localhost:9/", true),
            ("http://[::1]/", true),
            ("http://10.0.0.1/", false),
            ("http://0.0.0.0:8080/", false),
            ("http://sub.localhost:8080/", false),
            ("https://10.0.0.1/", true),
            ("https://[::1]/", true),
            ("https://11.0.0.1/", true),
            ("https://192.168.0.1/", false),
        ] {
            assert_eq!(Target::parse(url, &allowed).is_ok(), is_allowed, "{url}");
        }
        assert!(Target::parse("http://localhost:9/", &allowing(&["127.0.0.1/32:8080"])).is_err());
        let target =
            Target::parse("http://localhost:9/", &allowing(&["0.0.0.0/0", "::1/128"])).expect("allowed");
        for (address, is_allowed) in
            [("127.0.0.9", true), ("10.0.0.1", false), ("8.8.8.8", false), ("::1", true)]
        {
            let address = address.parse().expect("an address");
            assert_eq!(target.allows(address, &allowing(&["0.0.0.0/0", "::1/128"])), is_allowed, "{address}");
        }
    }
}
