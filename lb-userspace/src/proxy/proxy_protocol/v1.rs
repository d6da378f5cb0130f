//! Version 1 of the PROXY protocol: one line of text.
//!
//! Goes in: bytes that begin with `PROXY `, or with the beginning of that. Comes out: [`Parsed`].

use super::{Addresses, Malformed, Parsed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// How the line begins.
pub const BEGINNING: &[u8] = b"PROXY ";

/// Longest line with its CRLF, bytes: what the specification computes for two IPv6 addresses.
const LINE_BYTES_MAX: usize = 107;

/// Reads the line.
///
/// # Errors
/// [`Malformed`], as soon as no further bytes can make it one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let start = bytes.get(..bytes.len().min(LINE_BYTES_MAX)).unwrap_or_default();
    let Some(end) = memchr::memchr(b'\n', start) else {
        return if start.len() < LINE_BYTES_MAX { Ok(Parsed::Partial) } else { Err(Malformed::TooLong) };
    };
    let line = start.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Malformed::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    Ok(Parsed::Whole { bytes: end + 1, addresses: addresses(line).ok_or(Malformed::Line)? })
}

/// The outer `None`: malformed.
fn addresses(line: &str) -> Option<Option<Addresses>> {
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next();
    let family = next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(None);
    }
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    let (source_port, destination_port) = (port(source_port)?, port(destination_port)?);
    let address = |text: &str, port| match family {
        "TCP4" => Some(SocketAddr::from((text.parse::<Ipv4Addr>().ok()?, port))),
        "TCP6" => Some(SocketAddr::from((text.parse::<Ipv6Addr>().ok()?, port))),
        _ => None,
    };
    let found =
        Addresses { source: address(source, source_port)?, destination: address(destination, destination_port)? };
    if next().is_some() { None } else { Some(Some(found)) }
}

/// A decimal number without sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
