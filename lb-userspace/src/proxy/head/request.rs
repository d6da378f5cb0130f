//! The head of a request (RFC 9112 section 3).
//!
//! Goes in: the bytes of a whole head and the limits. Comes out: a [`Request`] that borrows them, or [`Bad`].

use super::lexical::{is_authority, is_target, is_token};
use super::upgrade::Upgrade;
use super::{Bad, FIELDS_MAX, Fields, Framing, Nominated, Version, cut, first_line};
use crate::config::Limits;
use crate::proxy::body::Length;
use crate::proxy::grpc;
use http::Method;
use http::request;
use http::uri::{Authority, PathAndQuery};
use httparse::Header;
use std::borrow::Cow;

/// A request head that may be passed on.
#[derive(Debug)]
pub struct Request<'f, 'b> {
    /// Method.
    pub method: &'b str,
    /// Path and query, in origin form.
    pub target: Cow<'b, str>,
    /// Version.
    pub version: Version,
    /// Host and perhaps port, as the client wrote it; empty when HTTP/1.0 names none.
    pub authority: &'b str,
    /// Delimitation of the body.
    pub length: Length,
    /// The client wants to send another request on the connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The client takes trailer fields (RFC 9110 section 10.1.4).
    pub te_trailers: bool,
    /// The protocol that the client wants to switch to, where that may be passed on.
    pub upgrade: Option<Upgrade<'b>>,
    /// It came as an extended CONNECT: a success that is not the upgrade must not reach the client as one.
    pub connect: bool,
    /// The client's `X-Request-ID`.
    pub request_id: Option<&'b [u8]>,
    /// All fields, in order.
    pub fields: &'f [Header<'b>],
    /// Fields that end here because `Connection` says so.
    pub nominated: Nominated<'b>,
}

impl Request<'_, '_> {
    /// Whether it is a gRPC call, whose answers have a form of their own.
    pub fn is_grpc(&self) -> bool {
        let is_call = |f: &Header<'_>| f.name.eq_ignore_ascii_case("content-type") && grpc::is_call(f.value);
        self.version == Version::Http2 && self.fields.iter().any(is_call)
    }
}

/// Reads a whole head, empty line included.
///
/// # Errors
/// [`Bad`] for anything that two readers could understand in two ways.
pub fn parse<'f, 'b>(head: &'b [u8], fields: &'f mut Fields<'b>, limits: &Limits) -> Result<Request<'f, 'b>, Bad> {
    let (line, rest) = first_line(head).ok_or(Bad::RequestLine)?;
    let (method, target, version) = request_line(line, limits.target_bytes_max)?;
    let fields = cut(rest, fields, limits.head_fields_max)?;
    let framing = Framing::read(fields)?;
    let length = framing.length(version)?.unwrap_or(Length::None);
    let host = host(&framing, version)?;
    let (target, authority) = resolve(target, host)?;
    if framing.expects_other {
        return Err(Bad::Expectation);
    }
    let expects_continue = framing.expects_continue && version == Version::Http11 && length != Length::None;
    let keep_alive = framing.persistent(version);
    let upgrade = Upgrade::read(&framing, fields, version);
    let (te_trailers, request_id, nominated) = (framing.te_trailers, framing.request_id, framing.nominated);
    Ok(Request {
        method,
        target,
        version,
        authority,
        length,
        keep_alive,
        expects_continue,
        te_trailers,
        upgrade,
        connect: false,
        request_id,
        fields,
        nominated,
    })
}

/// What follows the head of a stream of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Nothing.
    Nothing,
    /// Content.
    Content,
    /// Bytes of a WebSocket, once it is agreed on: the head was an extended CONNECT.
    WebSocket,
}

/// Reads the head of a request of HTTP/2, whose syntax `h2` has checked.
///
/// # Errors
/// [`Bad`], where HTTP/1.1 would not carry it, or two readers could understand it in two ways.
pub fn of_h2<'f, 'b>(
    parts: &'b request::Parts,
    follows: Follows,
    fields: &'f mut Fields<'b>,
    limits: &Limits,
) -> Result<Request<'f, 'b>, Bad> {
    let room = fields.get_mut(..limits.head_fields_max.min(FIELDS_MAX)).unwrap_or_default();
    let mut count = 0;
    for (name, value) in &parts.headers {
        // `http` takes a name with a quotation mark, which some backends refuse and others do not.
        if !name.as_str().bytes().all(is_token) {
            return Err(Bad::Field);
        }
        *room.get_mut(count).ok_or(Bad::Fields)? = Header { name: name.as_str(), value: value.as_bytes() };
        count += 1;
    }
    let fields = fields.get(..count).unwrap_or_default();
    let framing = Framing::read(fields)?;
    let length = match framing.length(Version::Http2)? {
        _ if follows != Follows::Content => Length::None,
        // A length of 0 is not passed on before the end was seen: content may follow, which makes the request malformed (RFC
        // 9113 section 8.1.1), and a backend would have taken it for whole by then.
        Some(Length::Sized(size)) if size > 0 => Length::Sized(size),
        _ => Length::UntilClose,
    };
    if parts.method == Method::CONNECT {
        return Err(Bad::Connect);
    }
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let authority = h2_authority(parts, &framing)?;
    if target == "*" {
        return Err(Bad::Asterisk);
    }
    if target.len() > limits.target_bytes_max {
        return Err(Bad::LongTarget);
    }
    if !target.starts_with('/') || !target.bytes().all(is_target) {
        return Err(Bad::Target);
    }
    if framing.expects_other {
        return Err(Bad::Expectation);
    }
    Ok(Request {
        method: parts.method.as_str(),
        target: Cow::Borrowed(target),
        version: Version::Http2,
        authority,
        length,
        keep_alive: true,
        expects_continue: framing.expects_continue && length != Length::None,
        te_trailers: framing.te_trailers,
        upgrade: if follows == Follows::WebSocket { Upgrade::of_stream(fields) } else { None },
        connect: follows == Follows::WebSocket,
        request_id: framing.request_id,
        fields,
        nominated: framing.nominated,
    })
}

/// `:authority`, or `Host` where there is none; both must say the same (RFC 9113 section 8.3.1).
fn h2_authority<'b>(parts: &'b request::Parts, framing: &Framing<'b>) -> Result<&'b str, Bad> {
    let host = match (framing.hosts, framing.host) {
        (0, _) => None,
        (1, Some(value)) => Some(std::str::from_utf8(value).map_err(|_| Bad::Host)?),
        _ => return Err(Bad::HostTwice),
    };
    let authority = match (parts.uri.authority().map(Authority::as_str), host) {
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority) => return Err(Bad::HostDiffers),
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err(Bad::HostMissing),
    };
    if !authority.is_empty() && is_authority(authority) { Ok(authority) } else { Err(Bad::Host) }
}

/// Whether a method may be sent twice with the effect of once (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].contains(&method)
}

fn request_line(line: &[u8], target_bytes_max: usize) -> Result<(&str, &str, Version), Bad> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Bad::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Bad::Method);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Bad::Version);
        }
        _ => return Err(Bad::RequestLine),
    };
    if method == b"CONNECT" {
        return Err(Bad::Connect);
    }
    if target.len() > target_bytes_max {
        return Err(Bad::LongTarget);
    }
    if target.is_empty() || !target.iter().all(|b| is_target(*b)) {
        return Err(Bad::Target);
    }
    let method = std::str::from_utf8(method).map_err(|_| Bad::Method)?;
    let target = std::str::from_utf8(target).map_err(|_| Bad::Target)?;
    Ok((method, target, version))
}

/// `None` only for HTTP/1.0.
fn host<'b>(framing: &Framing<'b>, version: Version) -> Result<Option<&'b str>, Bad> {
    match (framing.hosts, framing.host) {
        (1, Some(value)) => {
            let text = std::str::from_utf8(value).map_err(|_| Bad::Host)?;
            if is_authority(text) { Ok(Some(text)) } else { Err(Bad::Host) }
        }
        (0, _) if version == Version::Http10 => Ok(None),
        (0, _) => Err(Bad::HostMissing),
        _ => Err(Bad::HostTwice),
    }
}

/// Target in origin form and authority, of any of the forms of RFC 9112 section 3.2.
fn resolve<'b>(target: &'b str, host: Option<&'b str>) -> Result<(Cow<'b, str>, &'b str), Bad> {
    if target.starts_with('/') {
        return Ok((Cow::Borrowed(target), host.unwrap_or_default()));
    }
    if target == "*" {
        return Err(Bad::Asterisk);
    }
    let (scheme, rest) = target.split_once("://").ok_or(Bad::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Bad::Target);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || !is_authority(authority) {
        return Err(Bad::Target);
    }
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
        return Err(Bad::HostDiffers);
    }
    let path = if path.starts_with('/') { Cow::Borrowed(path) } else { Cow::Owned(format!("/{path}")) };
    Ok((path, authority))
}
