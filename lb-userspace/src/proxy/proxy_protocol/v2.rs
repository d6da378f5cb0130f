//! Version 2 of the PROXY protocol: 16 bytes, addresses, and type-length-value fields, which are skipped.
//!
//! Goes in: bytes that begin with the signature, or with the beginning of it. Comes out: [`Parsed`].

use super::{Addresses, HEADER_BYTES_MAX, Malformed, Parsed};
use std::net::{IpAddr, SocketAddr};

/// The first bytes.
pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// Reads the header.
///
/// # Errors
/// [`Malformed`], as soon as no further bytes can make it one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut rest = bytes.iter().copied().skip(SIGNATURE.len());
    let local = match rest.next() {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed::Unknown),
    };
    let (family, transport) = match rest.next() {
        None => return Ok(Parsed::Partial),
        Some(byte) => (byte >> 4, byte & 0xf),
    };
    if family > 3 || transport > 2 {
        return Err(Malformed::Unknown);
    }
    let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Ok(Parsed::Partial) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let whole = FIXED_BYTES + length;
    if whole > HEADER_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    // What is neither TCP over IPv4 nor over IPv6 says nothing that can be used; nor does LOCAL.
    let address_bytes = match (family, transport) {
        _ if local => 0,
        (1, 1) => 4,
        (2, 1) => 16,
        _ => 0,
    };
    if address_bytes > 0 && length < 2 * address_bytes + 4 {
        return Err(Malformed::Length);
    }
    let Some(payload) = bytes.get(FIXED_BYTES..whole) else { return Ok(Parsed::Partial) };
    Ok(Parsed::Whole { bytes: whole, addresses: addresses(payload, address_bytes) })
}

/// Source, destination, port of source, port of destination.
fn addresses(payload: &[u8], address_bytes: usize) -> Option<Addresses> {
    let (source, rest) = payload.split_at_checked(address_bytes)?;
    let (destination, rest) = rest.split_at_checked(address_bytes)?;
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    Some(Addresses {
        source: SocketAddr::new(ip(source)?, port(0)?),
        destination: SocketAddr::new(ip(destination)?, port(2)?),
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
