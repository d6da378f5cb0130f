//! Responses to clients: the head of a backend's response as it is passed on, and answers of our own.
//!
//! Goes in: a response head, or a status with its reason. Comes out: bytes.

use super::body::Length;
use super::flow::Framing;
use super::forwarded::{write_field, write_length};
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

    /// The answer of a filter.
    pub fn filter(answer: Answer) -> Self {
        let reason = answer.location.clone().unwrap_or_else(|| "a filter of the route answers".to_owned());
        Self { status: answer.status, reason, location: answer.location, error: None }
    }
}

/// Writes the head of a final response.
pub fn write_head(out: &mut Vec<u8>, response: &Response<'_, '_>, asked: Asked, date: &[u8; 29]) -> Passed {
    let passed = passed(response, asked);
    write_status(out, response.status, response.reason);
    let (mut dated, mut served, mut strict) = (false, false, false);
    for field in response.fields {
        let kind = name::classify(field.name);
        dated |= kind == Name::Date;
        served |= kind == Name::Server;
        strict |= kind == Name::Hsts;
        if passes(kind) && !response.nominated.contains(field.name) {
            write_field(out, field.name, field.value);
        }
    }
    if !dated {
        write_field(out, "Date", date);
    }
    if !served {
        write_field(out, "Server", SERVER);
    }
    if let Some(hsts) = asked.hsts.filter(|_| !strict) {
        write_field(out, hsts::NAME, &hsts::value(hsts));
    }
    match (response.length, response.stated_length, passed.framing) {
        (Length::Sized(size), ..) | (Length::None, Some(size), _) => write_length(out, size),
        (Length::Chunked | Length::UntilClose, _, Framing::Chunked) => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
    write_end(out, asked.version, passed.keep_alive);
    passed
}

/// Writes an interim response (1xx).
pub fn write_interim(out: &mut Vec<u8>, response: &Response<'_, '_>) {
    write_status(out, response.status, response.reason);
    for field in response.fields {
        if passes(name::classify(field.name)) && !response.nominated.contains(field.name) {
            write_field(out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an answer of our own, head and body.
pub fn write_own(out: &mut Vec<u8>, own: &Own, asked: Asked, date: &[u8; 29]) {
    write_status(out, own.status, reason_phrase(own.status).as_bytes());
    write_field(out, "Server", SERVER);
    write_field(out, "Date", date);
    write_field(out, "Content-Type", b"text/plain; charset=utf-8");
    if let Some(hsts) = asked.hsts {
        write_field(out, hsts::NAME, &hsts::value(hsts));
    }
    if let Some(location) = &own.location {
        write_field(out, "Location", location.as_bytes());
    }
    let body = format!("{} {}: {}\n", own.status, reason_phrase(own.status), own.reason);
    write_length(out, body.len() as u64);
    write_end(out, asked.version, asked.keep_alive);
    if !asked.head {
        out.extend_from_slice(body.as_bytes());
    }
}

fn passed(response: &Response<'_, '_>, asked: Asked) -> Passed {
    match response.length {
        Length::None | Length::Sized(_) => Passed { framing: Framing::Raw, keep_alive: asked.keep_alive },
        Length::Chunked | Length::UntilClose => match asked.version {
            Version::Http11 => Passed { framing: Framing::Chunked, keep_alive: asked.keep_alive },
            Version::Http10 => Passed { framing: Framing::Raw, keep_alive: false },
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
        (Version::Http11, true) => {}
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown")
}
