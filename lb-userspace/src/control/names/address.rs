//! Addresses that a name of somebody else must not lead to: those of this machine, of its links, and of the services that hand
//! out credentials on clouds; and the networks that the operator closes.
//!
//! Goes in: an address. Comes out: why it is refused. Addresses inside addresses count, as a translator may unwrap them.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that are not link-local: AWS, Alibaba Cloud, Oracle Cloud.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Why an address is not used; `None`: it is.
#[must_use]
pub fn refusal(address: IpAddr, deny: &[IpNet]) -> Option<&'static str> {
    let address = address.to_canonical();
    let within = match address {
        IpAddr::V6(v6) => embedded(v6).and_then(|v4| refusal(IpAddr::V4(v4), deny)),
        IpAddr::V4(_) => None,
    };
    let own = match address {
        _ if METADATA.contains(&address) => Some("a metadata service"),
        _ if address.is_loopback() => Some("loopback"),
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_multicast() => Some("multicast"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("unspecified"),
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => Some("reserved"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        _ => None,
    };
    let denied =
        || deny.iter().any(|network| network.contains(&address)).then_some("in a network of --external-name-deny");
    own.or(within).or_else(denied)
}

/// The IPv4 address that a translator makes of an IPv6 address: NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), and IPv4-compatible
/// (RFC 4291 section 2.5.5.1).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        (0x2002, _) => Some(v4(b, c)),
        (0x64, 0xff9b) => Some(v4(high, low)),
        (0, 0) if [c, d, e, f] == [0; 4] && (high, low) != (0, 0) && (high, low) != (0, 1) => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let deny: Vec<IpNet> = ["10.96.0.0/12", "fd12::/16"].iter().map(|n| n.parse().expect("a network")).collect();
        for (text, want) in [
            ("192.0.2.1", None),
            ("10.0.0.1", None),
            ("2001:db8::1", None),
            ("fd00::1", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.9", Some("loopback")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::127.0.0.1", Some("loopback")),
            ("64:ff9b:1::169.254.169.254", Some("link-local")),
            ("2002:7f00:1::", Some("loopback")),
            ("64:ff9b::192.0.2.1", None),
            ("169.254.169.254", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("100.100.100.200", Some("a metadata service")),
            ("fd00:ec2::254", Some("a metadata service")),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("::", Some("unspecified")),
            ("224.0.0.1", Some("multicast")),
            ("ff02::1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("240.0.0.1", Some("reserved")),
            ("10.100.0.1", Some("in a network of --external-name-deny")),
            ("::ffff:10.96.0.1", Some("in a network of --external-name-deny")),
            ("64:ff9b::10.96.0.1", Some("in a network of --external-name-deny")),
            ("fd12::1", Some("in a network of --external-name-deny")),
        ] {
            assert_eq!(refusal(text.parse().expect("an address"), &deny), want, "{text}");
        }
    }
}
