//! Malformed messages: refused, the connection closed, nothing of them forwarded.

use crate::rig::{Backend, Rig, field, ok};
use lb_userspace::config::Limits;

/// Sends `bytes`; the answer must have the status and close the connection.
fn check(rig: &Rig, bytes: &[u8], want: u16) {
    let mut client = rig.connect();
    client.send(bytes);
    let shown = String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).expect("a part")).into_owned();
    let response = client.response();
    assert_eq!(response.status, want, "{shown:?}: {}", response.text());
    assert_eq!(response.field("connection"), Some("close"), "{shown:?}");
    assert_eq!(response.field("server"), Some("sluice"), "{shown:?}");
    assert!(response.text().len() > 10, "no reason for {shown:?}");
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).expect("shut down");
    assert!(client.is_closed(), "{shown:?} left the connection open");
}

#[test]
fn nothing_of_a_malformed_request_is_forwarded() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    // A request that would be smuggled if the bytes before it were read in another way than ours.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let heads: &[(&str, u16)] = &[
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{8}b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u:p@a\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\0\x01\0\n", 400),
    ];
    for (head, status) in heads {
        check(&rig, format!("{head}{smuggled}").as_bytes(), *status);
    }
    assert!(backend.seen().is_empty(), "forwarded: {:?}", backend.seen());
    assert_eq!(backend.connections(), 0);
    assert_eq!(rig.counters.requests_malformed.get(), heads.len() as u64);
}

#[test]
fn a_malformed_chunk_never_becomes_a_whole_request() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    for chunks in [
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\naGET",
        "1\r\na0\r\n\r\n",
        "11111111111111111\r\na",
        "-1\r\n",
        "\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nX: y\nZ: w\r\n\r\n",
    ] {
        for first in ["", "3\r\nabc\r\n"] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            check(&rig, format!("{head}{first}{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 400);
        }
    }
    assert!(backend.seen().is_empty(), "whole requests: {:?}", backend.seen());
}

#[test]
fn heads_that_are_too_large() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let limits = Limits::default();
    check(&rig, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(limits.target_bytes_max)).as_bytes(), 414);
    check(&rig, &[b"GET /".as_slice(), &b"a".repeat(limits.head_bytes_max)].concat(), 414);
    let value = "v".repeat(limits.head_bytes_max);
    check(&rig, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n").as_bytes(), 431);
    let many = "X: y\r\n".repeat(limits.head_fields_max);
    check(&rig, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(), 431);
    assert_eq!(backend.connections(), 0);
    let most = "X: y\r\n".repeat(limits.head_fields_max - 1);
    assert_eq!(rig.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{most}\r\n").as_bytes()).status, 200);
    let value = "v".repeat(limits.head_bytes_max - 100);
    assert_eq!(rig.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n").as_bytes()).status, 200);
}

#[test]
fn malformed_responses_are_502() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "v".repeat(70_000));
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "hello\n",
        &large,
    ] {
        let bytes = response.as_bytes().to_vec();
        let backend = Backend::http(move |_| bytes.clone());
        let rig = Rig::start(&[backend.address]);
        let mut client = rig.connect();
        let answer = client.get("/");
        assert_eq!(answer.status, 502, "{response:.60}");
        assert!(!answer.text().contains("X:"), "{}", answer.text());
        assert_eq!(client.get("/").status, 502, "the client's connection goes on");
        assert_eq!(backend.connections(), 2, "a connection out of step was used again");
    }
}

#[test]
fn a_malformed_response_body_cuts_the_client() {
    for (response, body) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\nzz\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n"),
    ] {
        let backend = Backend::raw(move |mut stream, _| {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(response.as_bytes());
            std::thread::sleep(std::time::Duration::from_millis(50));
            let _ = stream.write_all(body.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        });
        let rig = Rig::start(&[backend.address]);
        let mut client = rig.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = crate::rig::read_head(&mut client.stream).expect("a head");
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(crate::rig::read_body(&mut client.stream, &head, true), None, "a cut body looked whole");
    }
}

#[test]
fn arbitrary_bytes_are_survived() {
    let backend = Backend::http(|_| ok(b"alive"));
    let rig = Rig::limited(&[backend.address], |l| l.head_ms_max = 300);
    let noise = crate::rig::noise(64 * 1_000);
    for piece in noise.chunks(1_000) {
        use std::io::Write;
        // The proxy may close before all is sent.
        let _ = rig.connect().stream.get_mut().write_all(piece);
    }
    assert_eq!(rig.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "alive");
}
