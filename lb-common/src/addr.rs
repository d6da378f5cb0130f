//! An address of either family as 16 bytes, so that both families share one path.
//!
//! Owns: the v4-mapped form (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2). Goes in: what the kernel's context or
//! userspace holds. Comes out: bytes in network order, fit for a map key.
//! Does not do: prefixes, scopes, parsing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address: 16 bytes in network order; IPv4 is v4-mapped.
pub type Addr = [u8; 16];

/// `0.0.0.0`: every IPv4 address of the machine.
pub const ANY_V4: Addr = from_v4([0; 4]);

/// `::`: every address of the machine, of both families.
pub const ANY: Addr = [0; 16];

/// Maps four bytes in network order.
#[inline(always)]
#[must_use]
pub const fn from_v4(octets: [u8; 4]) -> Addr {
    let [a, b, c, d] = octets;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Maps an address of either family. `::ffff:a.b.c.d` and `a.b.c.d` are one address.
#[must_use]
pub const fn from_ip(ip: IpAddr) -> Addr {
    match ip {
        IpAddr::V4(v4) => from_v4(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that the bytes stand for; v4-mapped ones are IPv4.
#[must_use]
pub fn to_ip(addr: Addr) -> IpAddr {
    match addr {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(addr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, bytes: Addr) {
        let ip: IpAddr = text.parse().expect("test data is an address");
        assert_eq!(from_ip(ip), bytes, "{text}");
        assert_eq!(to_ip(bytes), ip.to_canonical(), "{text}");
    }

    #[test]
    fn both_families_have_one_form() {
        check("0.0.0.0", ANY_V4);
        check("::", ANY);
        check("10.1.2.3", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        check("::ffff:10.1.2.3", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        check("fd00::1", [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
