//! The ClientHello as it comes in: which server name it asks for (RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3).
//!
//! Goes in: the first bytes of a connection, in records of any size. Comes out: the name, and how many bytes the records
//! have that hold the message. Pure. What is no ClientHello is refused here, and rustls says so to the client.
//! Does not look at anything else: with encrypted ClientHello (ECH) the outer name is what counts.

use lb_core::model::host::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// Longest message that is read, records included, bytes. With a post-quantum key share and several tickets it is some
/// 3 KB; the protocol would allow 16 MB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Content type, version and length of a record.
const RECORD_HEADER_BYTES: usize = 5;
/// Longest fragment of a record in the clear, bytes (RFC 8446 section 5.1).
const FRAGMENT_BYTES_MAX: usize = 1 << 14;
/// Content type of handshake messages.
const HANDSHAKE: u8 = 22;
/// The major version that every record has had since SSL 3.
const MAJOR: u8 = 3;
/// Type and length of a handshake message.
const MESSAGE_HEADER_BYTES: usize = 4;
/// Type of the message.
const CLIENT_HELLO: u8 = 1;
/// Type of the extension.
const SERVER_NAME: u16 = 0;
/// Type of the only kind of name there is.
const HOST_NAME: u8 = 0;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a ClientHello: all of the bytes belong to it.
    Partial,
    /// A whole one.
    Whole {
        /// Size of its records, bytes. What follows is something else.
        bytes: usize,
        /// The server name as the client wrote it.
        name: Option<String>,
    },
}

/// What is no ClientHello, or none that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header of a record.
    #[error("it is no TLS record of a handshake")]
    Record,
    /// Another message, or something after it in its record.
    #[error("it is no ClientHello")]
    Message,
    /// Longer than [`HELLO_BYTES_MAX`].
    #[error("the ClientHello is too long")]
    TooLong,
    /// A length in it that does not fit.
    #[error("the ClientHello is malformed")]
    Body,
    /// The extension, or the name in it.
    #[error("the server name is malformed")]
    Name,
}

/// Reads a ClientHello from the first bytes of a connection.
///
/// # Errors
/// [`Malformed`], as soon as no further bytes can make it one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some(found) = walk(bytes)? else { return Ok(Parsed::Partial) };
    let mut message = Vec::with_capacity(found.message_bytes);
    let mut rest = bytes.get(..found.record_bytes).unwrap_or_default();
    while let Some((fragment, after)) = fragment(rest) {
        message.extend_from_slice(fragment);
        rest = after;
    }
    let body = message.get(MESSAGE_HEADER_BYTES..).unwrap_or_default();
    Ok(Parsed::Whole { bytes: found.record_bytes, name: server_name(body)? })
}

/// A whole message.
struct Found {
    record_bytes: usize,
    message_bytes: usize,
}

/// Walks over records until the message is whole; `None` when more bytes are needed. Copies nothing, so that bytes that
/// come one by one cost little.
fn walk(bytes: &[u8]) -> Result<Option<Found>, Malformed> {
    let (mut at, mut have) = (0, 0);
    let mut header = [0; MESSAGE_HEADER_BYTES];
    loop {
        let record = bytes.get(at..).unwrap_or_default();
        let Some(length) = fragment_length(record)? else { return Ok(None) };
        let fragment = record.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        let fragment = fragment.get(..length).unwrap_or(fragment);
        for (place, byte) in header.iter_mut().skip(have).zip(fragment) {
            *place = *byte;
        }
        let known = have + fragment.len();
        if known > 0 && header[0] != CLIENT_HELLO {
            return Err(Malformed::Message);
        }
        if known >= MESSAGE_HEADER_BYTES {
            let wanted = MESSAGE_HEADER_BYTES + length24(&header);
            if at + RECORD_HEADER_BYTES + wanted.saturating_sub(have) > HELLO_BYTES_MAX {
                return Err(Malformed::TooLong);
            }
            if have + length > wanted {
                return Err(Malformed::Message);
            }
            if known == wanted {
                return Ok(Some(Found { record_bytes: at + RECORD_HEADER_BYTES + length, message_bytes: wanted }));
            }
        }
        at += RECORD_HEADER_BYTES + length;
        if at >= HELLO_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        if fragment.len() < length {
            return Ok(None);
        }
        have = known;
    }
}

/// The length of the fragment of a record; `None` when its header is not whole.
fn fragment_length(record: &[u8]) -> Result<Option<usize>, Malformed> {
    let plausible = |place: usize, want: u8| record.get(place).is_none_or(|byte| *byte == want);
    if !plausible(0, HANDSHAKE) || !plausible(1, MAJOR) {
        return Err(Malformed::Record);
    }
    let Some([high, low]) = record.get(3..RECORD_HEADER_BYTES) else { return Ok(None) };
    // No fragment of a handshake may be empty.
    match usize::from(u16::from_be_bytes([*high, *low])) {
        length @ 1..=FRAGMENT_BYTES_MAX => Ok(Some(length)),
        _ => Err(Malformed::Record),
    }
}

/// The fragment of the first record, and what follows it.
fn fragment(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = fragment_length(records).ok().flatten()?;
    records.get(RECORD_HEADER_BYTES..)?.split_at_checked(length)
}

fn length24(header: &[u8; MESSAGE_HEADER_BYTES]) -> usize {
    let [_, high, middle, low] = *header;
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// The server name in the body of a ClientHello.
fn server_name(body: &[u8]) -> Result<Option<String>, Malformed> {
    let mut body = Reader(body);
    // Version and random.
    body.take(2 + 32).ok_or(Malformed::Body)?;
    let session = body.sized(1).ok_or(Malformed::Body)?;
    let suites = body.sized(2).ok_or(Malformed::Body)?;
    let compressions = body.sized(1).ok_or(Malformed::Body)?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return Err(Malformed::Body);
    }
    if body.0.is_empty() {
        // Before TLS 1.3 there need be no extensions.
        return Ok(None);
    }
    let mut extensions = Reader(body.sized(2).ok_or(Malformed::Body)?);
    if !body.0.is_empty() {
        return Err(Malformed::Body);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2).ok_or(Malformed::Body)?;
        let data = extensions.sized(2).ok_or(Malformed::Body)?;
        if kind == usize::from(SERVER_NAME) && name.replace(host_name(data)?).is_some() {
            return Err(Malformed::Name);
        }
    }
    Ok(name)
}

/// The one name of the extension.
fn host_name(data: &[u8]) -> Result<String, Malformed> {
    let mut data = Reader(data);
    let mut list = Reader(data.sized(2).ok_or(Malformed::Name)?);
    let kind = list.take(1).ok_or(Malformed::Name)?;
    let name = list.sized(2).ok_or(Malformed::Name)?;
    if kind != [HOST_NAME] || !list.0.is_empty() || !data.0.is_empty() || !is_name(name) {
        return Err(Malformed::Name);
    }
    String::from_utf8(name.to_vec()).map_err(|_| Malformed::Name)
}

/// A DNS name in text form. An underscore is no letter of a host name, and in use all the same; addresses are no names,
/// and lead nowhere.
fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &[u8]| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(plain);
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.len() <= NAME_BYTES_MAX && name.split(|byte| *byte == b'.').all(label)
}

/// What is left of a structure.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What stands behind its length, a number of so many bytes.
    fn sized(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests;
