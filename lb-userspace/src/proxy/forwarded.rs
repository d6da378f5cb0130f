//! The head that goes to an endpoint: the client's fields without those that end here, and what we state of the client.
//!
//! Goes in: a request head and the facts of its connection. Comes out: bytes, or a head of HTTP/2. Forwarded fields of clients are not trusted:
//! they are replaced, and kept under `X-Original-*`. A field that has `_` where one of ours has `-` is dropped.

use super::body::Length;
use super::facts::{Facts, scheme};
use super::fields::FieldSink;
use super::head::name::{self, Name};
use super::head::request::Request;

/// Longest request id of a client that is passed on, bytes: four times ours.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What endpoints are told beside what the client sent.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The client's connection.
    pub facts: &'a Facts,
    /// The client's certificate, as field lines.
    pub identity: &'a [u8],
    /// Id of the request.
    pub request_id: &'a str,
}

/// The client's request id, if it can be passed on: visible ASCII of at most 128 bytes.
pub fn request_id<'b>(request: &Request<'_, 'b>) -> Option<&'b str> {
    let id = request.request_id?;
    let sane = !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(id).ok().filter(|_| sane)
}

/// Writes the whole head for HTTP/1.1. `target` is what the endpoint sees.
pub fn write_head(out: &mut Vec<u8>, request: &Request<'_, '_>, target: &str, told: Told<'_>) {
    for part in [request.method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    out.field("Host", request.authority.as_bytes());
    write_fields(out, request, told);
    if let Some(upgrade) = &request.upgrade {
        out.field("Connection", b"upgrade");
        out.field("Upgrade", upgrade.protocol.as_bytes());
    }
    if matches!(request.length, Length::Chunked | Length::UntilClose) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The whole head for HTTP/2; `secure`: the endpoint is spoken to through TLS. `None` when no URI can be made of it: HTTP/1.1
/// lets a query have characters that RFC 3986 does not.
pub fn h2_head(request: &Request<'_, '_>, target: &str, told: Told<'_>, secure: bool) -> Option<http::Request<()>> {
    let uri = http::Uri::builder().scheme(scheme(secure)).authority(request.authority).path_and_query(target);
    let method = http::Method::from_bytes(request.method.as_bytes()).ok()?;
    let mut head = http::Request::builder().method(method).uri(uri.build().ok()?).body(()).ok()?;
    write_fields(head.headers_mut(), request, told);
    if request.te_trailers {
        head.headers_mut().field("te", b"trailers");
    }
    Some(head)
}

fn write_fields(out: &mut impl FieldSink, request: &Request<'_, '_>, told: Told<'_>) {
    out.field("X-Request-ID", told.request_id.as_bytes());
    out.lines(&told.facts.lines);
    out.lines(told.identity);
    if !request.authority.is_empty() {
        out.field("X-Forwarded-Host", request.authority.as_bytes());
    }
    for field in request.fields {
        match name::classify(field.name) {
            Name::ForwardedFor => out.field("X-Original-Forwarded-For", field.value),
            Name::ForwardedHost => out.field("X-Original-Forwarded-Host", field.value),
            Name::Other | Name::Date | Name::Server | Name::Hsts if !request.nominated.contains(field.name) => {
                out.field(field.name, field.value);
            }
            _ => {}
        }
    }
    if let Length::Sized(size) = request.length {
        out.length(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::proxy::facts::{Arrival, Session};
    use crate::proxy::head::{self, request};

    fn forward(head: &str) -> String {
        let (mut fields, mut out) = (head::no_fields(), Vec::new());
        let request = request::parse(head.as_bytes(), &mut fields, &Limits::default()).expect("well formed");
        let arrival = Arrival::new(([192, 0, 2, 7], 1_234).into(), ([192, 0, 2, 8], 443).into(), None);
        let facts = Facts::new(arrival, Some(Session::default()));
        let id = request_id(&request).unwrap_or("ours");
        let told = Told { facts: &facts, identity: b"ssl-client-verify: NONE\r\n", request_id: id };
        write_head(&mut out, &request, "/t", told);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_we_state_is_whole_and_in_order() {
        let want = "GET /t HTTP/1.1\r\nHost: a.b:80\r\nX-Request-ID: ours\r\nX-Real-IP: 192.0.2.7\r\n\
                    X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Scheme: https\r\nX-Scheme: https\r\nssl-client-verify: NONE\r\nX-Forwarded-Host: a.b:80\r\nAccept: */*\r\n\r\n";
        assert_eq!(forward("GET / HTTP/1.1\r\nHost: a.b:80\r\nAccept: */*\r\n\r\n"), want);
    }

    #[test]
    fn fields_that_must_not_pass() {
        let gone = |field: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\nX-Kept: 1\r\n\r\n");
            let out = forward(&head);
            assert!(out.contains("X-Kept: 1"), "{field}");
            assert!(!out.contains("evil"), "{field} passed: {out}");
        };
        for field in [
            "Proxy: evil",
            "X-Real-IP: evil",
            "X_Real_IP: evil",
            "X-Forwarded_For: evil",
            "X-Forwarded-Proto: evil",
            "X-Forwarded-Port: evil",
            "X-Scheme: evil",
            "ssl-client-verify: evil",
            "SSL_Client_Verify: evil",
            "ssl-client-subject-dn: evil",
            "ssl-client-issuer-dn: evil",
            "ssl-client-cert: evil",
            "X-Original-Forwarded-For: evil",
            "Upgrade: evil",
            "TE: evil",
            "Trailer: evil",
            "Keep-Alive: evil",
            "Proxy-Connection: evil",
            "Connection: evil",
            "Connection: close, X-Hop\r\nX-Hop: evil",
            "X-Request-ID: evil evil",
        ] {
            gone(field);
        }
    }

    #[test]
    fn what_clients_claimed_is_kept_apart() {
        let out = forward("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: h\r\n\r\n");
        assert!(out.contains("X-Original-Forwarded-For: 1.2.3.4\r\n"), "{out}");
        assert!(out.contains("X-Original-Forwarded-Host: h\r\n"), "{out}");
        assert!(out.contains("\r\nX-Forwarded-For: 192.0.2.7\r\n"), "{out}");
        assert!(forward("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc\r\n\r\n").contains("X-Request-ID: abc\r\n"));
    }
}
