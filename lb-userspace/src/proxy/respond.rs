//! Responses to clients: the head of a backend's response as it is passed on, and answers of our own.
//!
//! Goes in: a response head, or a status with its reason. Comes out: bytes for HTTP/1.1, a head for HTTP/2.

use super::body::Length;
use super::fields::FieldSink;
use super::flow::Framing;
use super::grpc;
use super::head::Version;
use super::head::name::{self, Name};
use super::head::response::Response;
use super::hsts;
use crate::config::Hsts;
use lb_core::filter::Answer;

/// The value of `Server` where a backend gives none.
const SERVER: &[u8] = b"sluice";

/// What the client's request means for its response.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Version of the client.
    pub version: Version,
    /// HEAD: there is no body, whatever the head says.
    pub head: bool,
    /// It is a gRPC call: our own answers must be such.
    pub grpc: bool,
    /// An extended CONNECT: any success would tell the client that its WebSocket is open.
    pub connect: bool,
    /// The client and we want another request on the connection.
    pub keep_alive: bool,
    /// `Strict-Transport-Security`, where it came over TLS to a host with a certificate.
    pub hsts: Option<Hsts>,
}

/// How a response is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// Framing of the body to the client.
    pub framing: Framing,
    /// The connection can take another request afterwards.
    pub keep_alive: bool,
}

/// An answer of our own.
#[derive(Debug, Clone)]
pub struct Own {
    /// Status.
    pub status: u16,
    /// One line that names the reason.
    pub reason: String,
    /// `Location`.
    pub location: Option<String>,
    /// One word for the log.
    pub error: Option<&'static str>,
}

impl Own {
    /// An answer because something is wrong. `word` is for the log.
    pub fn error(status: u16, word: &'static str, reason: &str) -> Self {
        Self { status, reason: reason.to_owned(), location: None, error: Some(word) }
    }

    /// The answer to a request body that is larger than its limit.
    pub fn too_large() -> Self {
        Self::error(413, "body-too-large", "the request body is larger than its limit")
    }

    /// The answer of a filter.
    pub fn filter(answer: Answer) -> Self {
        let reason = answer.location.clone().unwrap_or_else(|| "a filter of the route answers".to_owned());
        Self { status: answer.status, reason, location: answer.location, error: None }
    }

    /// What people read.
    pub fn body(&self) -> String {
        format!("{} {}: {}\n", self.status, reason_phrase(self.status), self.reason)
    }
}

/// Writes the head of a final response.
pub fn write_head(out: &mut Vec<u8>, response: &Response<'_, '_>, asked: Asked, date: &[u8; 29]) -> Passed {
    let passed = passed(response, asked);
    write_status(out, response.status, response.reason);
    write_fields(out, response, asked, date);
    if passed.framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    write_end(out, asked.version, passed.keep_alive);
    passed
}

/// The head of a final response for HTTP/2.
pub fn h2_head(response: &Response<'_, '_>, asked: Asked, date: &[u8; 29]) -> http::Response<()> {
    let mut head = h2_status(response.status);
    write_fields(head.headers_mut(), response, asked, date);
    head
}

/// Writes an interim response (1xx).
pub fn write_interim(out: &mut Vec<u8>, response: &Response<'_, '_>) {
    write_status(out, response.status, response.reason);
    write_passing(out, response);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a response that switches to a protocol.
pub fn write_switch(out: &mut Vec<u8>, response: &Response<'_, '_>) {
    write_status(out, response.status, response.reason);
    write_passing(out, response);
    out.field("Connection", b"upgrade");
    out.field("Upgrade", response.upgrade.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// An interim response (1xx) for HTTP/2.
pub fn h2_interim(response: &Response<'_, '_>) -> http::Response<()> {
    let mut head = h2_status(response.status);
    write_passing(head.headers_mut(), response);
    head
}

/// The answer to an extended CONNECT whose WebSocket the endpoint agreed to (RFC 8441 section 5).
pub fn h2_switch(response: &Response<'_, '_>) -> http::Response<()> {
    let mut head = h2_status(200);
    write_passing(head.headers_mut(), response);
    // It proves the key, which the client did not make.
    head.headers_mut().remove(http::header::SEC_WEBSOCKET_ACCEPT);
    head
}

/// `100 Continue` for HTTP/2.
pub fn h2_continue() -> http::Response<()> {
    h2_status(100)
}

fn write_fields(out: &mut impl FieldSink, response: &Response<'_, '_>, asked: Asked, date: &[u8; 29]) {
    let (dated, served, strict) = write_passing(out, response);
    if !dated {
        out.field("Date", date);
    }
    if !served {
        out.field("Server", SERVER);
    }
    if let Some(hsts) = asked.hsts.filter(|_| !strict) {
        out.field(hsts::NAME, &hsts::value(hsts));
    }
    match (response.length, response.stated_length) {
        (Length::Sized(size), _) | (_, Some(size)) => out.length(size),
        _ => {}
    }
}

/// Writes the backend's fields that pass; answers whether `Date`, `Server` and
/// `Strict-Transport-Security` are among them.
fn write_passing(out: &mut impl FieldSink, response: &Response<'_, '_>) -> (bool, bool, bool) {
    let (mut dated, mut served, mut strict) = (false, false, false);
    for field in response.fields {
        let kind = name::classify(field.name);
        dated |= kind == Name::Date;
        served |= kind == Name::Server;
        strict |= kind == Name::Hsts;
        if passes(kind) && !response.nominated.contains(field.name) {
            out.field(field.name, field.value);
        }
    }
    (dated, served, strict)
}

fn h2_status(status: u16) -> http::Response<()> {
    let mut head = http::Response::new(());
    // Statuses are 100 to 599.
    *head.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    head
}

/// Writes an answer of our own, head and body.
pub fn write_own(out: &mut Vec<u8>, own: &Own, asked: Asked, date: &[u8; 29]) {
    write_status(out, own.status, reason_phrase(own.status).as_bytes());
    let body = own.body();
    write_own_fields(out, own, asked, body.len(), date);
    write_end(out, asked.version, asked.keep_alive);
    if !asked.head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// An answer of our own for HTTP/2: its head; the body is [`Own::body`].
pub fn h2_own(own: &Own, asked: Asked, date: &[u8; 29]) -> http::Response<()> {
    let mut head = h2_status(own.status);
    write_own_fields(head.headers_mut(), own, asked, own.body().len(), date);
    head
}

/// An answer of our own to a gRPC call: status and message are fields, and there is no body (gRPC over HTTP/2,
/// "Trailers-Only").
pub fn grpc_own(own: &Own, date: &[u8; 29]) -> http::Response<()> {
    let mut head = h2_status(200);
    let fields = head.headers_mut();
    grpc::write_status(fields, own.status, own.body().trim_end());
    fields.field("Server", SERVER);
    fields.field("Date", date);
    head
}

fn write_own_fields(out: &mut impl FieldSink, own: &Own, asked: Asked, body_bytes: usize, date: &[u8; 29]) {
    out.field("Server", SERVER);
    out.field("Date", date);
    out.field("Content-Type", b"text/plain; charset=utf-8");
    if let Some(hsts) = asked.hsts {
        out.field(hsts::NAME, &hsts::value(hsts));
    }
    if let Some(location) = &own.location {
        out.field("Location", location.as_bytes());
    }
    out.length(body_bytes as u64);
}

fn passed(response: &Response<'_, '_>, asked: Asked) -> Passed {
    match response.length {
        Length::None | Length::Sized(_) => Passed { framing: Framing::Raw, keep_alive: asked.keep_alive },
        Length::Chunked | Length::UntilClose => match asked.version {
            Version::Http11 => Passed { framing: Framing::Chunked, keep_alive: asked.keep_alive },
            Version::Http10 => Passed { framing: Framing::Raw, keep_alive: false },
            Version::Http2 => Passed { framing: Framing::Raw, keep_alive: true },
        },
    }
}

/// Responses may carry any field of ours back, such as the request id.
fn passes(kind: Name) -> bool {
    matches!(
        kind,
        Name::Other
            | Name::Date
            | Name::Server
            | Name::Hsts
            | Name::RequestId
            | Name::ForwardedFor
            | Name::ForwardedHost
    )
}

fn write_status(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

fn write_end(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (version, keep_alive) {
        (Version::Http11 | Version::Http2, true) => {}
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}
