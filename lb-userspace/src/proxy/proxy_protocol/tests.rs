//! Headers of both versions: tables, every truncation of them, and whatever else bytes can be.

use super::*;
use proptest::prelude::*;

fn both(source: &str, destination: &str) -> Option<Addresses> {
    let address = |text: &str| text.parse().expect("an address");
    Some(Addresses { source: address(source), destination: address(destination) })
}

/// A header of version 2.
fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("it fits").to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, payload].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

fn ipv6() -> Vec<u8> {
    let mut payload = vec![0; 36];
    (payload[0], payload[1], payload[15]) = (0x20, 0x01, 1);
    (payload[16], payload[17], payload[31]) = (0x20, 0x01, 2);
    payload[32..].copy_from_slice(&[0x30, 0x39, 0x01, 0xbb]);
    payload
}

fn good() -> Vec<(Vec<u8>, Option<Addresses>)> {
    let v4 = both("192.0.2.1:12345", "198.51.100.2:443");
    let v6 = both("[2001::1]:12345", "[2001::2]:443");
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    let ffff = format!("[{}]:65535", ["ffff"; 8].join(":"));
    let with_fields = |payload: &[u8], size: usize| [payload, &[0x03], &vec![7; size - 1]].concat();
    vec![
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001::1 2001::2 12345 443\r\n".to_vec(), v6),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n".to_vec(), both("1.2.3.4:0", "5.6.7.8:65535")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN whatever 1 2 3 it says\r\n".to_vec(), None),
        (longest.into_bytes(), both(&ffff, &ffff)),
        (binary(0x21, 0x11, &IPV4), v4),
        (binary(0x21, 0x21, &ipv6()), v6),
        (binary(0x21, 0x11, &with_fields(&IPV4, 300)), v4),
        (binary(0x21, 0x21, &with_fields(&ipv6(), HEADER_BYTES_MAX - 52)), v6),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &IPV4), None),
        (binary(0x20, 0x11, &[]), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x00, &[1, 2, 3]), None),
        (binary(0x21, 0x12, &IPV4), None),
        (binary(0x21, 0x31, &[0; 216]), None),
    ]
}

#[test]
fn headers_are_read_and_what_follows_is_left() {
    for (header, addresses) in good() {
        for after in [&b""[..], b"G", b"\r\n", b"PROXY UNKNOWN\r\n"] {
            let all = [&header, after].concat();
            let want = Ok(Parsed::Whole { bytes: header.len(), addresses });
            assert_eq!(parse(&all), want, "{}", String::from_utf8_lossy(&all));
        }
    }
}

#[test]
fn every_truncation_waits_for_more() {
    for (header, _) in good() {
        for count in 0..header.len() {
            assert_eq!(parse(&header[..count]), Ok(Parsed::Partial), "{count} of {header:?}");
        }
    }
}

#[test]
fn what_is_malformed_is_refused_as_soon_as_it_shows() {
    let line = |text: &str| (text.as_bytes().to_vec(), Malformed::Line);
    for (bytes, want) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), Malformed::Beginning),
        (b"PROXZ".to_vec(), Malformed::Beginning),
        (b"\x16\x03\x01".to_vec(), Malformed::Beginning),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), Malformed::Beginning),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\n"),
        line("PROXY \r\n"),
        line("PROXY tcp4 192.0.2.1 198.51.100.2 12345 443\r\n"),
        line("PROXY TCP4  192.0.2.1 198.51.100.2 12345 443\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 \r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 1\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"),
        line("PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n"),
        line("PROXY TCP4 2001::1 2001::2 1 443\r\n"),
        line("PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n"),
        line("PROXY TCP4 192.0.2.1 198.51.100.2\r1 443\r\n"),
        (b"PROXY UNKNOWN \xff\r\n".to_vec(), Malformed::Line),
        ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(), Malformed::TooLong),
        (binary(0x11, 0x11, &IPV4), Malformed::Unknown),
        (binary(0x22, 0x11, &IPV4), Malformed::Unknown),
        (binary(0x21, 0x41, &IPV4), Malformed::Unknown),
        (binary(0x21, 0x13, &IPV4), Malformed::Unknown),
        (binary(0x21, 0x11, &IPV4[..11]), Malformed::Length),
        (binary(0x21, 0x21, &ipv6()[..35]), Malformed::Length),
        (binary(0x21, 0x11, &[0; HEADER_BYTES_MAX - 15]), Malformed::TooLong),
        (binary(0x20, 0x00, &[0; 65_535])[..16].to_vec(), Malformed::TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(want), "{}", String::from_utf8_lossy(&bytes));
    }
}

proptest! {
    #[test]
    fn any_addresses_come_back(source: SocketAddr, destination: SocketAddr) {
        let payload = match (source, destination) {
            (SocketAddr::V4(s), SocketAddr::V4(d)) => [&s.ip().octets()[..], &d.ip().octets()].concat(),
            (SocketAddr::V6(s), SocketAddr::V6(d)) => [&s.ip().octets()[..], &d.ip().octets()].concat(),
            _ => return Ok(()),
        };
        let source = SocketAddr::new(source.ip(), source.port());
        let destination = SocketAddr::new(destination.ip(), destination.port());
        let (name, family) = if source.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
        let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        let v2 = binary(0x21, family, &[payload, ports].concat());
        let (s, d) = (source.ip(), destination.ip());
        let v1 = format!("PROXY {name} {s} {d} {} {}\r\n", source.port(), destination.port());
        for bytes in [v2, v1.into_bytes()] {
            let addresses = Some(Addresses { source, destination });
            prop_assert_eq!(parse(&bytes), Ok(Parsed::Whole { bytes: bytes.len(), addresses }));
        }
    }

    #[test]
    fn no_bytes_are_misread(tail in prop::collection::vec(any::<u8>(), 0..64), start in 0..3_usize) {
        let beginning = [b"".as_slice(), v1::BEGINNING, v2::SIGNATURE][start];
        let bytes = [beginning, &tail].concat();
        match parse(&bytes) {
            Ok(Parsed::Whole { bytes: size, .. }) => prop_assert!(size <= bytes.len()),
            Ok(Parsed::Partial) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
            Err(first) => {
                // More bytes do not mend it.
                let more = [&bytes[..], b"\r\n"].concat();
                prop_assert_eq!(parse(&more), Err(first));
            }
        }
    }
}
