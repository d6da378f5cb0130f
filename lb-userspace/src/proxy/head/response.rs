//! The head of a backend's response (RFC 9112 section 4).
//!
//! Goes in: the bytes of a whole head, and whether it answers HEAD. Comes out: a [`Response`], or [`Bad`]: then the
//! client gets 502.

use super::{Bad, Fields, Framing, Nominated, Version, cut, first_line};
use crate::proxy::body::Length;
use httparse::Header;

/// A response head that may be passed on.
#[derive(Debug)]
pub struct Response<'f, 'b> {
    /// Status code, 100 to 599.
    pub status: u16,
    /// Reason phrase; may be empty.
    pub reason: &'b [u8],
    /// Delimitation of the body.
    pub length: Length,
    /// `Content-Length` of a message without body, which still says how large the content would be.
    pub stated_length: Option<u64>,
    /// The endpoint lets the connection live on.
    pub keep_alive: bool,
    /// `Upgrade`, where it counts.
    pub upgrade: Option<&'b [u8]>,
    /// All fields, in order.
    pub fields: &'f [Header<'b>],
    /// Fields that end here because `Connection` says so.
    pub nominated: Nominated<'b>,
}

/// Reads a whole head, empty line included. `to_head`: it answers a HEAD request.
///
/// # Errors
/// [`Bad`] for anything that two readers could understand in two ways.
pub fn parse<'f, 'b>(head: &'b [u8], fields: &'f mut Fields<'b>, to_head: bool) -> Result<Response<'f, 'b>, Bad> {
    let (line, rest) = first_line(head).ok_or(Bad::StatusLine)?;
    let (version, status, reason) = status_line(line)?;
    let fields = cut(rest, fields, usize::MAX)?;
    let framing = Framing::read(fields)?;
    let stated = framing.length(version)?;
    let empty = to_head || status < 200 || status == 204 || status == 304;
    let length = if empty { Length::None } else { stated.unwrap_or(Length::UntilClose) };
    let stated_length = match stated {
        Some(Length::Sized(size)) if status >= 200 && status != 204 => Some(size),
        _ => None,
    };
    let keep_alive = framing.persistent(version) && length != Length::UntilClose;
    let upgrade = framing.upgrade(version);
    Ok(Response { status, reason, length, stated_length, keep_alive, upgrade, fields, nominated: framing.nominated })
}

/// Reads the head of a response of HTTP/2, whose syntax `h2` has checked; `follows`: content comes after it;
/// `to_head`: it answers a HEAD request.
///
/// # Errors
/// [`Bad`], where HTTP/1.1 would not carry it.
pub fn of_h2<'f, 'b>(
    parts: &'b http::response::Parts,
    follows: bool,
    to_head: bool,
    fields: &'f mut Fields<'b>,
) -> Result<Response<'f, 'b>, Bad> {
    let mut count = 0;
    for (name, value) in &parts.headers {
        *fields.get_mut(count).ok_or(Bad::Fields)? = Header { name: name.as_str(), value: value.as_bytes() };
        count += 1;
    }
    let fields = fields.get(..count).unwrap_or_default();
    let framing = Framing::read(fields)?;
    let status = parts.status.as_u16();
    let stated_length = match framing.length(Version::Http2)? {
        Some(Length::Sized(size)) if status >= 200 && status != 204 => Some(size),
        // The end of the stream says it; HTTP/1.1 must be told.
        _ if !follows && !to_head && status >= 200 && status != 204 && status != 304 => Some(0),
        _ => None,
    };
    let length = match stated_length {
        _ if !follows => Length::None,
        Some(size) => Length::Sized(size),
        None => Length::UntilClose,
    };
    let reason = parts.status.canonical_reason().unwrap_or_default().as_bytes();
    let (keep_alive, upgrade, nominated) = (true, None, framing.nominated);
    Ok(Response { status, reason, length, stated_length, keep_alive, upgrade, fields, nominated })
}

fn status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Bad> {
    let (version, rest) = line.split_at_checked(8).ok_or(Bad::StatusLine)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Bad::StatusLine),
    };
    let (code, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], [].as_slice()),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(Bad::StatusLine),
    };
    if !code.iter().all(u8::is_ascii_digit) || reason.iter().any(|b| super::lexical::is_control(*b)) {
        return Err(Bad::StatusLine);
    }
    let status = code.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    if (100..600).contains(&status) { Ok((version, status, reason)) } else { Err(Bad::StatusLine) }
}
