//! Networks from which keys may be fetched although their addresses are not globally routable.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv4-mapped IPv6 address before the IPv4 address (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A network, or one port of it, from which keys may be fetched although its addresses are not globally routable.
///
/// Written as a CIDR block, or as a CIDR block and a port: `10.0.0.0/8`, `10.1.2.3/32:8443` or `::1/128:443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateNetwork {
    network: IpNet,
    /// `None` for every port.
    port: Option<u16>,
}

impl PrivateNetwork {
    /// Returns whether the network has this address, and this port.
    ///
    /// The address must be canonical: an IPv4-mapped address is in no network.
    pub(crate) fn contains(&self, address: IpAddr, port: u16) -> bool {
        self.network.contains(&address) && self.port.is_none_or(|only| only == port)
    }
}

impl FromStr for PrivateNetwork {
    type Err = PrivateNetworkError;

    /// Parses a CIDR block, with `:` and a port after the prefix length if only that port is allowed.
    ///
    /// The prefix length is required. A block of IPv4-mapped addresses is taken as one of IPv4.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, rest) = text.split_once('/').ok_or(PrivateNetworkError)?;
        let (length, port) = rest.split_once(':').map_or((rest, None), |(length, port)| (length, Some(port)));
        // Numbers may otherwise have a sign or leading zeros.
        let number = |text: &str| text.parse::<u16>().ok().filter(|number| number.to_string() == text);
        let length =
            number(length).and_then(|length| u8::try_from(length).ok()).ok_or(PrivateNetworkError)?;
        let address = address.parse().map_err(|_| PrivateNetworkError)?;
        let network = IpNet::new(address, length).map_err(|_| PrivateNetworkError)?;
        let port = match port {
            None => None,
            Some(port) => Some(number(port).filter(|port| *port != 0).ok_or(PrivateNetworkError)?),
        };
        Ok(Self { network: unmapped(network), port })
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let (IpAddr::V4(address), Some(length)) =
        (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX))
    else {
        return network;
    };
    Ipv4Net::new(address, length).map_or(network, IpNet::V4)
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A text is not a [`PrivateNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a network, such as 10.0.0.0/8, or one port of a network, such as 10.0.0.0/8:443 or ::1/128:443"
)]
pub struct PrivateNetworkError;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PrivateNetwork {
        text.parse().unwrap_or_else(|_| panic!("{text} is a network"))
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in
            ["10.0.0.0/8", "127.0.0.1/32:8443", "::1/128", "::1/128:443", "fd00::/8:65535", "0.0.0.0/0"]
        {
            assert_eq!(parsed(text).to_string(), text);
        }
        assert_eq!(parsed("::ffff:10.0.0.0/104:443").to_string(), "10.0.0.0/8:443");
    }

    #[test]
    fn any_other_text_is_refused_in_one_line() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "::1",
            "localhost",
            "localhost/8",
            "10.0.0.0/33",
            "::1/129",
            "10.0.0.0/8:",
            "10.0.0.0/8:0",
            "10.0.0.0/8:65536",
            "10.0.0.0/8:+80",
            "10.0.0.0/8:080",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0:80/8",
            "[::1]/128",
            "010.0.0.0/8",
            "10.0.0/8",
            " 10.0.0.0/8",
            "10.0.0.0/8:80:80",
            "10.0.0.0/",
        ] {
            let error = text.parse::<PrivateNetwork>().expect_err(text);
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_port_is_the_only_one_and_without_it_every_port_is_allowed() {
        let local: IpAddr = "127.0.0.1".parse().expect("an address");
        assert!(parsed("127.0.0.0/8:443").contains(local, 443));
        assert!(!parsed("127.0.0.0/8:443").contains(local, 80));
        assert!(parsed("127.0.0.0/8").contains(local, 80));
        assert!(!parsed("127.0.0.2/32").contains(local, 80));
        assert!(!parsed("::/0").contains(local, 80), "an IPv4 address is in no IPv6 network");
        assert!(!parsed("0.0.0.0/0").contains("::1".parse().expect("an address"), 80));
    }
}
