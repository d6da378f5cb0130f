//! The PROXY protocol header that tells an endpoint who the client is (versions 1 and 2 of haproxy.org's
//! `proxy-protocol.txt`).
//!
//! Goes in: both addresses of the client's connection. Comes out: bytes that go before everything else.

use lb_core::model::ProxyProtocol;
use std::net::{IpAddr, SocketAddr};

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// A stream over IPv4.
const TCP4: u8 = 0x11;
/// A stream over IPv6.
const TCP6: u8 = 0x21;

/// The header for a connection from `client` to `server`. Where only one of them is IPv4, both are written as IPv6.
pub fn header(version: ProxyProtocol, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.ip().to_canonical(), server.ip().to_canonical());
    let (from, to) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V6(to)) => (from.to_ipv6_mapped().into(), IpAddr::V6(to)),
        (IpAddr::V6(from), IpAddr::V4(to)) => (IpAddr::V6(from), to.to_ipv6_mapped().into()),
        same => same,
    };
    match version {
        ProxyProtocol::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), server.port()).into_bytes()
        }
        ProxyProtocol::V2 => binary(from, to, client.port(), server.port()),
    }
}

fn binary(from: IpAddr, to: IpAddr, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
        }
    }
    addresses.extend_from_slice(&from_port.to_be_bytes());
    addresses.extend_from_slice(&to_port.to_be_bytes());
    let family = if from.is_ipv4() { TCP4 } else { TCP6 };
    let length = u16::try_from(addresses.len()).unwrap_or(u16::MAX).to_be_bytes();
    [SIGNATURE.as_slice(), &[PROXY, family], &length, &addresses].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let check = |version, client: &str, server: &str, want: &[u8]| {
            let got = header(version, client.parse().expect("an address"), server.parse().expect("an address"));
            assert_eq!(got, want, "{version:?} {client} {server}");
        };
        let (v1, v2) = (ProxyProtocol::V1, ProxyProtocol::V2);
        check(v1, "192.0.2.1:1000", "192.0.2.2:80", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n");
        check(v1, "[::ffff:192.0.2.1]:1000", "192.0.2.2:80", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n");
        check(v1, "[2001:db8::1]:1", "[2001:db8::2]:2", b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
        check(v1, "192.0.2.1:1", "[2001:db8::2]:2", b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
        let mut want = SIGNATURE.to_vec();
        want.extend_from_slice(&[0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0x03, 0xe8, 0, 80]);
        check(v2, "192.0.2.1:1000", "192.0.2.2:80", &want);
        let header = header(v2, "[2001:db8::1]:1".parse().expect("it"), "[::2]:2".parse().expect("it"));
        assert_eq!((header.len(), header[13], header[15]), (16 + 36, 0x21, 36));
    }
}
