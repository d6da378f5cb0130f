//! Trailer fields (RFC 9110 section 6.5): which of them pass, and their form at the end of a chunked body.
//!
//! Goes in: the raw trailer section of HTTP/1.1, or the map of HTTP/2. Comes out: the same without what must not come late:
//! framing, routing, authentication, and whatever a proxy states (RFC 9110 section 6.5.1).

use super::fields::FieldSink;
use super::head::lexical::is_token;
use super::head::name::{self, Name};
use http::HeaderMap;

/// Fields that would change what a head has already said.
const NEVER: [&str; 12] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "if-match",
    "max-forwards",
    "proxy-authorization",
    "range",
    "set-cookie",
    "www-authenticate",
];

/// The trailer section of a chunked body, empty line excluded; `None` when nothing of it passes.
pub fn read(lines: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    map.lines(lines);
    filter(map)
}

/// What passes of trailers; `None` when nothing does.
pub fn filter(map: HeaderMap) -> Option<HeaderMap> {
    let mut passed = HeaderMap::with_capacity(map.len());
    for (name, value) in &map {
        // `http` takes a name with a quotation mark, which HTTP/1.1 has not.
        let is_name = name.as_str().bytes().all(is_token);
        if is_name && name::classify(name.as_str()) == Name::Other && !NEVER.contains(&name.as_str()) {
            passed.append(name.clone(), value.clone());
        }
    }
    (!passed.is_empty()).then_some(passed)
}

/// Writes them as field lines.
pub fn write(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        out.field(name.as_str(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_come_late() {
        let read = read(
            b"grpc-status: 0\r\nContent-Length: 5\r\nHost: evil\r\nCookie: a\r\nX-Real-IP: 1\r\nX_Real_IP: 1\r\n\
              Transfer-Encoding: chunked\r\nServer-Timing: db\r\n",
        );
        let mut out = Vec::new();
        write(&mut out, &read.expect("some pass"));
        assert_eq!(out, b"grpc-status: 0\r\nserver-timing: db\r\n");
        assert_eq!(super::read(b"Host: evil\r\n"), None);
        assert_eq!(super::read(b""), None);
    }
}
