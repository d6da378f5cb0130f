//! Doors for `tests/fuzz` into readers of foreign bytes that nobody else may call. No part of the interface of this crate.
//!
//! Goes in: bytes. Comes out: what was understood, in plain types, and what would be sent on. Decides nothing.

use super::body::{Decoder, Length, Next};
use super::facts::{Arrival, Facts};
use super::forwarded::{self, Told};
use super::head::{self, Version, lexical, request, response};
use super::proxy_protocol::{self, Parsed};
use super::respond::{self, Asked};
use super::tls::hello;
use crate::config::Limits;
use rustls::server::Acceptor;
use std::net::SocketAddr;

/// It is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as those of `Length`")]
pub enum Body {
    None,
    Sized(u64),
    Chunked,
    UntilClose,
}

/// A request head.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target, in origin form.
    pub target: String,
    /// Host and perhaps port.
    pub authority: String,
    /// Its body.
    pub body: Body,
    /// The head that an endpoint gets.
    pub forwarded: Vec<u8>,
}

/// A response head.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Its body.
    pub body: Body,
    /// The head that a client of HTTP/1.1 gets.
    pub forwarded: Vec<u8>,
}

/// A chunked body.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked {
    /// Its content.
    pub content: Vec<u8>,
    /// Its trailer section.
    pub trailers: Vec<u8>,
    /// Bytes that it took, when it ended.
    pub bytes: Option<usize>,
}

/// Where a head ends that arrives in pieces.
///
/// # Errors
/// A line without CR.
pub fn head_end(bytes: &[u8], piece_bytes: usize) -> Result<Option<usize>, Malformed> {
    let (mut scanned, mut there) = (0, 0);
    loop {
        there = (there + piece_bytes.max(1)).min(bytes.len());
        match lexical::head_end(bytes.get(..there).unwrap_or_default(), &mut scanned) {
            Ok(None) if there < bytes.len() => {}
            outcome => return outcome.map_err(|_| Malformed),
        }
    }
}

/// Reads a request head; `None`: it is refused.
pub fn request(head: &[u8]) -> Option<Request> {
    let mut fields = head::no_fields();
    let request = request::parse(head, &mut fields, &Limits::default()).ok()?;
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let facts = Facts::new(Arrival::new(peer, peer, None), None);
    let mut forwarded = Vec::new();
    let request_id = forwarded::request_id(&request).unwrap_or("id");
    let told = Told { facts: &facts, identity: &[], request_id };
    forwarded::write_head(&mut forwarded, &request, &request.target, told);
    Some(Request {
        method: request.method.to_owned(),
        target: request.target.clone().into_owned(),
        authority: request.authority.to_owned(),
        body: body(request.length),
        forwarded,
    })
}

/// Reads a response head; `None`: it is refused.
pub fn response(head: &[u8], to_head: bool) -> Option<Response> {
    let mut fields = head::no_fields();
    let response = response::parse(head, &mut fields, to_head).ok()?;
    let asked =
        Asked { version: Version::Http11, head: to_head, grpc: false, connect: false, keep_alive: true, hsts: None };
    let mut forwarded = Vec::new();
    respond::write_head(&mut forwarded, &response, asked, b"Thu, 01 Jan 1970 00:00:00 GMT");
    Some(Response { status: response.status, body: body(response.length), forwarded })
}

/// Reads a chunked body that arrives in pieces.
///
/// # Errors
/// It is not well formed.
pub fn chunked(bytes: &[u8], piece_bytes: usize) -> Result<Chunked, Malformed> {
    let mut decoder = Decoder::new(Length::Chunked);
    let (mut content, mut used) = (Vec::new(), 0);
    let mut there = piece_bytes.max(1).min(bytes.len());
    loop {
        let input = bytes.get(used..there).unwrap_or_default();
        let (skip, next) = decoder.step(input).map_err(|_| Malformed)?;
        used += skip;
        match next {
            Next::Data(count) => {
                content.extend_from_slice(input.get(skip..skip + count).unwrap_or_default());
                decoder.took(count);
                used += count;
            }
            Next::End => {
                let trailers = decoder.trailers().to_vec();
                return Ok(Chunked { content, trailers, bytes: Some(used) });
            }
            Next::More if there == bytes.len() => return Ok(Chunked { content, trailers: Vec::new(), bytes: None }),
            Next::More => there = (there + piece_bytes.max(1)).min(bytes.len()),
        }
    }
}

/// Reads a header of the PROXY protocol: its size and its addresses; `None`: more bytes are needed.
///
/// # Errors
/// It is none.
#[allow(clippy::type_complexity, reason = "plain types are what this file is for")]
pub fn proxy_protocol(bytes: &[u8]) -> Result<Option<(usize, Option<(SocketAddr, SocketAddr)>)>, Malformed> {
    match proxy_protocol::parse(bytes) {
        Ok(Parsed::Partial) => Ok(None),
        Ok(Parsed::Whole { bytes, addresses }) => Ok(Some((bytes, addresses.map(|a| (a.source, a.destination))))),
        Err(_) => Err(Malformed),
    }
}

/// Reads a ClientHello: the size of its records and its server name; `None`: more bytes are needed.
///
/// # Errors
/// It is none.
#[allow(clippy::type_complexity, reason = "plain types are what this file is for")]
pub fn client_hello(bytes: &[u8]) -> Result<Option<(usize, Option<String>)>, Malformed> {
    match hello::parse(bytes) {
        Ok(hello::Parsed::Partial) => Ok(None),
        Ok(hello::Parsed::Whole { bytes, name }) => Ok(Some((bytes, name))),
        Err(_) => Err(Malformed),
    }
}

/// The server name that the library which ends TLS reads of these bytes; `None`: it takes no ClientHello from them.
pub fn accepted_name(bytes: &[u8]) -> Option<Option<String>> {
    let (mut acceptor, mut rest) = (Acceptor::default(), bytes);
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}

fn body(length: Length) -> Body {
    match length {
        Length::None => Body::None,
        Length::Sized(size) => Body::Sized(size),
        Length::Chunked => Body::Chunked,
        Length::UntilClose => Body::UntilClose,
    }
}
