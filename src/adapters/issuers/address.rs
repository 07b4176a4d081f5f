//! Addresses from which keys may be fetched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::private_network::PrivateNetwork;

/// Addresses from which keys may be fetched: those that are globally routable, and those of private networks.
#[derive(Clone, Debug)]
pub(crate) struct AllowedAddresses(Vec<PrivateNetwork>);

impl AllowedAddresses {
    pub(crate) fn new(private_networks: &[PrivateNetwork]) -> Self {
        Self(private_networks.to_vec())
    }

    /// Returns whether keys may be fetched from this port of the address. The address must be canonical.
    pub(crate) fn contains(&self, address: IpAddr, port: u16) -> bool {
        is_globally_routable(address) || self.has_private(address, port)
    }

    /// Returns whether a private network has this port of the address. The address must be canonical.
    pub(crate) fn has_private(&self, address: IpAddr, port: u16) -> bool {
        self.0.iter().any(|network| network.contains(address, port))
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// Blocks of the IANA IPv4 special-purpose address registry that are not globally reachable, and multicast.
///
/// The relays of the retired 6to4 and the whole of 192.0.0.0/24 are refused too, because no server of keys is there.
const NOT_GLOBAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this network (RFC 791)
    v4(10, 0, 0, 0, 8),       // private use (RFC 1918)
    v4(100, 64, 0, 0, 10),    // shared address space (RFC 6598)
    v4(127, 0, 0, 0, 8),      // loopback (RFC 1122)
    v4(169, 254, 0, 0, 16),   // link-local, the metadata services of clouds among them (RFC 3927)
    v4(172, 16, 0, 0, 12),    // private use (RFC 1918)
    v4(192, 0, 0, 0, 24),     // IETF protocol assignments (RFC 6890)
    v4(192, 0, 2, 0, 24),     // documentation (RFC 5737)
    v4(192, 88, 99, 0, 24),   // relays from 6to4, retired (RFC 7526)
    v4(192, 168, 0, 0, 16),   // private use (RFC 1918)
    v4(198, 18, 0, 0, 15),    // benchmarking (RFC 2544)
    v4(198, 51, 100, 0, 24),  // documentation (RFC 5737)
    v4(203, 0, 113, 0, 24),   // documentation (RFC 5737)
    v4(224, 0, 0, 0, 4),      // multicast (RFC 5771)
    v4(240, 0, 0, 0, 4),      // reserved, and limited broadcast (RFC 1112, RFC 8190)
    v4(168, 63, 129, 16, 32), // not in the registry: Azure's services for the virtual machine itself
];

/// The only block of IPv6 from which global unicast addresses are assigned (RFC 4291 section 2.4).
///
/// All other blocks of the registry are outside it: loopback, IPv4-compatible and discard-only addresses, NAT64 of a local
/// network, segment routing, unique local, link-local, site-local and multicast.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Blocks of the IANA IPv6 special-purpose address registry within [`GLOBAL_V6`] that are refused.
const NOT_GLOBAL_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 0, 23), // IETF protocol assignments: Teredo, benchmarking, ORCHID and others (RFC 2928)
    v6(0x2001, 0xdb8, 0, 32), // documentation (RFC 3849)
    v6(0x2002, 0, 0, 16), // 6to4, which embeds an IPv4 address, retired (RFC 7526)
    v6(0x3fff, 0, 0, 20), // documentation (RFC 9637)
];

/// IPv4 addresses as a NAT64 translates them (RFC 6052). Networks with IPv6 alone reach every IPv4 server by it.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

/// Returns whether an address is globally routable unicast. An address that embeds another is judged by that.
pub(crate) fn is_globally_routable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_GLOBAL_V4.iter().any(|block| block.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_globally_routable(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !NOT_GLOBAL_V6.iter().any(|block| block.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
    }

    #[test]
    fn an_address_of_a_special_purpose_is_not_globally_routable() {
        // The first and the last address of each block.
        for text in [
            "0.0.0.0 0.255.255.255",
            "10.0.0.0 10.255.255.255",
            "100.64.0.0 100.127.255.255",
            "127.0.0.1 127.255.255.255",
            "169.254.0.0 169.254.169.254",
            "169.254.170.2 169.254.255.255",
            "172.16.0.0 172.31.255.255",
            "192.0.0.0 192.0.0.8",
            "192.0.0.170 192.0.0.255",
            "192.0.2.0 192.0.2.255",
            "192.88.99.0 192.88.99.2",
            "192.168.0.0 192.168.255.255",
            "198.18.0.0 198.19.255.255",
            "198.51.100.0 198.51.100.255",
            "203.0.113.0 203.0.113.255",
            "224.0.0.0 239.255.255.255",
            "240.0.0.0 255.255.255.255",
            "100.100.100.200 168.63.129.16",
            "192.0.0.192 192.0.0.9",
            ":: ::1",
            "::7f00:1 ::8.8.8.8",
            "::ffff:127.0.0.1 ::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1 ::fffe:8.8.8.8",
            "64:ff9b::127.0.0.1 64:ff9b::169.254.169.254",
            "64:ff9b::a00:1 64:ff9b:0:0:1::808:808",
            "64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:808:808",
            "100:: 100::ffff:ffff:ffff:ffff",
            "100:0:0:1:: 100:0:0:1:ffff:ffff:ffff:ffff",
            "2001:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:1::1 2001:1::3",
            "2001:2:: 2001:2:0:ffff:ffff:ffff:ffff:ffff",
            "2001:3:: 2001:4:112::1",
            "2001:10:: 2001:2f:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:30:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2002:: 2002:7f00:1::",
            "2002:808:808:: 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "4000:: 5f00::1",
            "8000:: f000::1",
            "fc00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fd00:ec2::254 fd20:ce::254",
            "fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fec0:: feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ff00:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ff02::1 ff0e::1",
        ] {
            for text in text.split(' ') {
                assert!(!is_globally_routable(address(text)), "{text}");
            }
        }
    }

    #[test]
    fn an_address_next_to_a_special_block_is_globally_routable() {
        for text in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "168.63.129.15",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1111",
            "3fff:1000::1",
            "2a00:1450:4001:82a::200e",
        ] {
            assert!(is_globally_routable(address(text)), "{text}");
        }
    }

    #[test]
    fn a_private_network_allows_its_own_addresses_only() {
        let networks = ["10.1.0.0/16:443", "::1/128", "64:ff9b::a00:1/128"];
        let allowed = AllowedAddresses::new(&networks.map(|text| text.parse().expect("a network")));
        for (text, port, is_allowed) in [
            ("10.1.2.3", 443, true),
            ("10.1.2.3", 8443, false),
            ("10.2.0.1", 443, false),
            ("::1", 1, true),
            ("127.0.0.1", 443, false),
            ("64:ff9b::a00:1", 443, true),
            ("64:ff9b::a00:2", 443, false),
            ("8.8.8.8", 1, true),
        ] {
            assert_eq!(allowed.contains(address(text), port), is_allowed, "{text} {port}");
        }
    }
}
