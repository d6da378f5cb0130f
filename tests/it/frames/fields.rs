//! Requests: their order, pseudo-fields, fields, lengths: RFC 9113 section 8.

use super::row::{Row, Want, data, more_data, post, row, text_block};
use lb_tests::frames::{block, flag, frame, kind};
use lb_tests::site::HOST;

/// The four pseudo-fields of a good request.
const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];

pub fn rows() -> Vec<Row> {
    [order(), names(), pseudo(), lengths()].concat()
}

fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, 1, &text_block(fields))
}

/// A good request with more fields.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    head(&[&GOOD[..], fields].concat())
}

fn bad(name: &'static str, cite: &'static str, frames: &[Vec<u8>]) -> Row {
    row(name, cite, frames, Want::Malformed(1))
}

fn good(name: &'static str, cite: &'static str, frames: &[Vec<u8>]) -> Row {
    row(name, cite, frames, Want::Status(1, 200))
}

fn order() -> Vec<Row> {
    let trailers = |flags| frame(kind::HEADERS, flags, 1, &text_block(&[("x-a", "b")]));
    vec![
        good("trailers", "8.1", &[post(1), more_data(1, b"a"), trailers(flag::WHOLE)]),
        good("trailers-without-content", "8.1", &[post(1), trailers(flag::WHOLE)]),
        bad("trailers-without-end", "8.1", &[post(1), more_data(1, b"a"), trailers(flag::END_HEADERS)]),
        bad("trailers-without-end-then-data", "8.1", &[post(1), trailers(flag::END_HEADERS), data(1, b"a")]),
        good("cookies", "8.2.3", &[with(&[("cookie", "a=b"), ("cookie", "c=d")])]),
        good("empty-value", "8.2.1", &[with(&[("x-a", "")])]),
        good("head", "8.1", &[head(&[&[(":method", "HEAD")], &GOOD[1..]].concat())]),
        good("options", "8.3.1", &[head(&[&[(":method", "OPTIONS")], &GOOD[1..]].concat())]),
        row(
            "status-of-backend",
            "8.3.2",
            &[head(&[GOOD[0], GOOD[1], (":path", "/status/503"), GOOD[3]])],
            Want::Status(1, 503),
        ),
        row(
            "no-route",
            "8.3.1",
            &[head(&[GOOD[0], GOOD[1], GOOD[2], (":authority", "nobody.test")])],
            Want::Status(1, 404),
        ),
    ]
}

fn names() -> Vec<Row> {
    let one = |name: &'static str, cite, field: &str, value: &str| bad(name, cite, &[with(&[(field, value)])]);
    let raw = |name: &'static str, field: &[u8], value: &[u8]| {
        let more = block(&[(field, value)]);
        bad(name, "8.2.1", &[frame(kind::HEADERS, flag::WHOLE, 1, &[text_block(&GOOD), more].concat())])
    };
    vec![
        one("name-upper", "8.2.1", "X-TEST", "ok"),
        one("name-upper-inside", "8.2.1", "x-Test", "ok"),
        one("name-empty", "8.2.1", "", "ok"),
        one("name-space", "8.2.1", "x a", "ok"),
        one("name-colon", "8.2.1", "x:a", "ok"),
        one("name-colon-last", "8.2.1", "x:", "ok"),
        one("name-quote", "8.2.1", "x\"a", "ok"),
        raw("name-nul", b"x\0", b"ok"),
        raw("name-high", b"x\x80", b"ok"),
        raw("value-nul", b"x-a", b"o\0k"),
        raw("value-cr", b"x-a", b"o\rk"),
        raw("value-lf", b"x-a", b"o\nk"),
        raw("value-delete", b"x-a", b"o\x7fk"),
        one("connection", "8.2.2", "connection", "keep-alive"),
        one("keep-alive", "8.2.2", "keep-alive", "timeout=5"),
        one("proxy-connection", "8.2.2", "proxy-connection", "keep-alive"),
        one("transfer-encoding", "8.2.2", "transfer-encoding", "chunked"),
        one("upgrade", "8.2.2", "upgrade", "h2c"),
        one("te-other", "8.2.2", "te", "trailers, deflate;q=0.5"),
        good("te-trailers", "8.2.2", &[with(&[("te", "trailers")])]),
    ]
}

fn pseudo() -> Vec<Row> {
    let without = |index: usize| {
        let left: Vec<_> = GOOD.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, field)| *field).collect();
        head(&left)
    };
    let one = |name: &'static str, cite, index: usize, value: &str| {
        let mut fields = GOOD;
        fields[index].1 = value;
        bad(name, cite, &[head(&fields)])
    };
    vec![
        bad("method-missing", "8.3.1", &[without(0)]),
        bad("scheme-missing", "8.3.1", &[without(1)]),
        bad("path-missing", "8.3.1", &[without(2)]),
        bad("authority-missing", "8.3.1", &[without(3)]),
        one("path-empty", "8.3.1", 2, ""),
        one("path-relative", "8.3.1", 2, "x"),
        one("path-space", "8.3.1", 2, "/ x"),
        one("path-asterisk", "8.3.1", 2, "*"),
        one("method-empty", "8.3.1", 0, ""),
        one("method-space", "8.3.1", 0, "GE T"),
        one("authority-userinfo", "8.3.1", 3, "me@site.test"),
        one("authority-space", "8.3.1", 3, "site.test x"),
        bad("method-twice", "8.3.1", &[with(&[GOOD[0]])]),
        bad("scheme-twice", "8.3.1", &[with(&[GOOD[1]])]),
        bad("path-twice", "8.3.1", &[with(&[GOOD[2]])]),
        bad("authority-twice", "8.3.1", &[with(&[GOOD[3]])]),
        bad("pseudo-unknown", "8.3", &[with(&[(":test", "ok")])]),
        bad("pseudo-of-response", "8.3", &[with(&[(":status", "200")])]),
        bad("pseudo-after-field", "8.3", &[head(&[GOOD[0], GOOD[1], ("x-a", "b"), GOOD[2], GOOD[3]])]),
        bad("pseudo-upper", "8.2.1", &[head(&[(":Method", "GET"), GOOD[1], GOOD[2], GOOD[3]])]),
        bad("host-differs", "8.3.1", &[with(&[("host", "other.test")])]),
        good("host-equal", "8.3.1", &[with(&[("host", HOST)])]),
        good("host-alone", "8.3.1", &[head(&[GOOD[0], GOOD[1], GOOD[2], ("host", HOST)])]),
        bad("connect-with-scheme", "8.5", &[head(&[&[(":method", "CONNECT")], &GOOD[1..]].concat())]),
        bad("connect", "8.5: this is no proxy for it", &[head(&[(":method", "CONNECT"), GOOD[3]])]),
        bad("connect-without-authority", "8.5", &[head(&[(":method", "CONNECT")])]),
        bad("protocol-without-connect", "RFC 8441 4", &[with(&[(":protocol", "websocket")])]),
    ]
}

fn lengths() -> Vec<Row> {
    let open = |length: &str| {
        let fields = [&[(":method", "POST")], &GOOD[1..], &[("content-length", length)]].concat();
        frame(kind::HEADERS, flag::END_HEADERS, 1, &text_block(&fields))
    };
    vec![
        good("length", "8.1.1", &[open("4"), data(1, b"abcd")]),
        good("length-in-pieces", "8.1.1", &[open("4"), more_data(1, b"ab"), data(1, b"cd")]),
        bad("length-too-small", "8.1.1", &[open("1"), data(1, b"abcd")]),
        bad("length-too-large", "8.1.1", &[open("5"), data(1, b"abcd")]),
        bad("length-too-large-in-pieces", "8.1.1", &[open("5"), more_data(1, b"ab"), data(1, b"cd")]),
        bad("length-too-small-in-pieces", "8.1.1", &[open("3"), more_data(1, b"ab"), data(1, b"cd")]),
        bad("length-without-content", "8.1.1", &[with(&[("content-length", "1")])]),
        good("length-0", "8.1.1", &[with(&[("content-length", "0")])]),
        bad("length-no-number", "8.1.1", &[open("x"), data(1, b"abcd")]),
        bad("length-twice", "8.1.1", &[with(&[("content-length", "0"), ("content-length", "1")])]),
    ]
}
