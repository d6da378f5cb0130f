//! The head that goes to an endpoint: the client's fields without those that end here, and what we state of the client.
//!
//! Goes in: a request head and the facts of its connection. Comes out: bytes. Forwarded fields of clients are not trusted:
//! they are replaced, and kept under `X-Original-*`. A field that has `_` where one of ours has `-` is dropped.

use super::body::Length;
use super::facts::Facts;
use super::head::name::{self, Name};
use super::head::request::Request;

/// Longest request id of a client that is passed on, bytes: four times ours.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The client's request id, if it can be passed on: visible ASCII of at most 128 bytes.
pub fn request_id<'b>(request: &Request<'_, 'b>) -> Option<&'b str> {
    let id = request.request_id?;
    let sane = !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(id).ok().filter(|_| sane)
}

/// Writes the whole head. `target` is what the endpoint sees, `identity` what it is told of the client's certificate.
pub fn write_head(
    out: &mut Vec<u8>,
    request: &Request<'_, '_>,
    target: &str,
    facts: &Facts,
    identity: &[u8],
    request_id: &str,
) {
    for part in [request.method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_field(out, "Host", request.authority.as_bytes());
    write_field(out, "X-Request-ID", request_id.as_bytes());
    out.extend_from_slice(&facts.lines);
    out.extend_from_slice(identity);
    if !request.authority.is_empty() {
        write_field(out, "X-Forwarded-Host", request.authority.as_bytes());
    }
    for field in request.fields {
        match name::classify(field.name) {
            Name::ForwardedFor => write_field(out, "X-Original-Forwarded-For", field.value),
            Name::ForwardedHost => write_field(out, "X-Original-Forwarded-Host", field.value),
            Name::Other | Name::Date | Name::Server | Name::Hsts if !request.nominated.contains(field.name) => {
                write_field(out, field.name, field.value);
            }
            _ => {}
        }
    }
    match request.length {
        Length::Sized(size) => write_length(out, size),
        Length::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Length::None | Length::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one field line.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `Content-Length`.
pub fn write_length(out: &mut Vec<u8>, size: u64) {
    write_field(out, "Content-Length", itoa::Buffer::new().format(size).as_bytes());
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
        let arrival = Arrival::new(([192, 0, 2, 7], 1_234).into(), 443, None);
        let facts = Facts::new(arrival, Some(Session::default()));
        let id = request_id(&request).unwrap_or("ours");
        write_head(&mut out, &request, "/t", &facts, b"ssl-client-verify: NONE\r\n", id);
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
