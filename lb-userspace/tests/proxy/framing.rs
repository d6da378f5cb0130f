//! Messages that are passed on: keep-alive, pipelining, every framing of bodies, interim and bodiless responses.

use crate::rig::{Backend, Client, Rig, chunked, dial, noise, ok};
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn requests_of_a_connection_share_a_connection_to_the_endpoint() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for i in 0..50 {
        let response = client.get(&format!("/{i}"));
        assert_eq!((response.status, response.text()), (200, format!("/{i}").as_str()));
        assert!(response.field("date").is_some());
        assert_eq!(response.field("server"), Some("sluice"));
        assert_eq!(response.field("connection"), None);
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(rig.counters.requests.get(), 50);
    assert_eq!(rig.counters.upstream_reuses.get(), 49);
    assert_eq!(rig.counters.connections_accepted.get(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    let all: String =
        (0..200).map(|i| format!("POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n")).collect();
    client.send(all.as_bytes());
    for i in 0..200 {
        assert_eq!(client.response().text(), format!("/{i}"));
    }
}

#[test]
fn a_request_in_single_bytes() {
    let backend = Backend::http(|seen| ok(&seen.body));
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for request in ["\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n";
        2]
    {
        for byte in request.as_bytes() {
            client.send(&[*byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(client.response().body, b"abcde");
    }
}

/// Sends `size` bytes there and back, framed in both ways at both sides.
fn check_bodies(size: usize) {
    let body = noise(size);
    let echo = Backend::http(|seen| {
        if seen.path() == "/chunked" {
            let mut response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n".to_vec();
            response.extend(chunked(&seen.body, 7_001));
            response
        } else {
            ok(&seen.body)
        }
    });
    let rig = Rig::start(&[echo.address]);
    let mut client = rig.connect();
    for path in ["/sized", "/chunked"] {
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        client.send(&body);
        let response = client.response();
        assert!(response.body == body, "{size} bytes sized to {path}");
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
        client.send(&chunked(&body, 3_333));
        assert!(client.response().body == body, "{size} bytes chunked to {path}");
    }
    assert_eq!(echo.connections(), 1);
}

#[test]
fn bodies_of_every_size_arrive_whole_both_ways() {
    for size in [0, 1, 36, 16_384, 16_385, 32_768, 100_000] {
        check_bodies(size);
    }
}

#[test]
fn ten_megabytes_arrive_whole_both_ways() {
    check_bodies(10 * 1024 * 1024);
}

#[test]
fn a_response_that_ends_with_the_connection_is_chunked_for_http_1_1_and_not_for_1_0() {
    let body = noise(50_000);
    let sent = body.clone();
    let backend = Backend::raw(move |mut stream, _| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n");
        let _ = stream.write_all(&sent);
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert!(response.body == body);
    }
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!((response.field("transfer-encoding"), response.field("connection")), (None, Some("close")));
    assert!(response.body == body);
}

#[test]
fn http_1_0_clients() {
    let backend = Backend::http(|seen| {
        if seen.path() == "/chunked" {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        } else {
            ok(b"abc")
        }
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for _ in 0..2 {
        client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let response = client.response();
        assert_eq!((response.text(), response.field("connection")), ("abc", Some("keep-alive")));
    }
    client.send(b"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text(), response.field("connection")), ("abc", Some("close")));
    assert!(client.is_closed());
    let response = rig.ask(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.text(), response.field("connection")), ("abc", Some("close")));
    assert_eq!(backend.seen()[0].field("host"), Some(""));
}

#[test]
fn a_client_that_wants_to_close_is_told_so() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().field("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(backend.seen()[0].field("connection"), None);
}

#[test]
fn responses_without_a_body() {
    let backend = Backend::http(|seen| match seen.path() {
        "/204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for _ in 0..3 {
        client.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response_to(true);
        assert_eq!((response.status, response.field("content-length")), (200, Some("1234")));
        let response = client.get("/204");
        assert_eq!((response.status, response.field("content-length")), (204, None));
        let response = client.get("/304");
        assert_eq!((response.status, response.field("content-length")), (304, Some("99")));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn interim_responses_reach_http_1_1_clients_only() {
    let backend = Backend::http(|_| {
        let mut response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".to_vec();
        response.extend(ok(b"done"));
        response
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    let early = client.get("/");
    assert_eq!((early.status, early.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.response().text(), "done");
    let response = rig.ask(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.text()), (200, "done"));
}

#[test]
fn a_client_that_expects_100_gets_it_from_us_once() {
    let backend = Backend::http(|seen| ok(&seen.body));
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    assert_eq!(client.response().status, 100);
    client.send(b"body");
    assert_eq!(client.response().text(), "body");
    assert_eq!(backend.seen()[0].field("expect"), None);
    client.send(&[head.as_slice(), b"here"].concat());
    let response = client.response();
    assert_eq!((response.status, response.text()), (200, "here"));
    let response = rig.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 200-maybe\r\n\r\nbody");
    assert_eq!(response.status, 417);
}

#[test]
fn a_response_may_come_before_the_request_is_whole() {
    let backend = Backend::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ =
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = Client::new(dial(rig.http));
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nsome");
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "big"));
    client.send(&noise(1_000_000));
    assert!(client.is_closed());
}

#[test]
fn both_directions_flow_at_once() {
    // Echoes as it reads: a proxy that sent the whole request first would fill all buffers and stop.
    let backend = Backend::raw(|mut stream, _| {
        let mut buffer = [0; 8_192];
        let mut head = 0;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let body = if head == 0 {
                head = buffer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
                &buffer[head..count]
            } else {
                &buffer[..count]
            };
            if stream.write_all(body).is_err() {
                return;
            }
        }
    });
    let rig = Rig::start(&[backend.address]);
    let body = noise(20_000_000);
    let mut client = rig.connect();
    let mut writing = client.stream.get_ref().try_clone().expect("clone");
    let sent = body.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n").expect("sent");
        writing.write_all(&sent).expect("sent");
    });
    assert!(client.response().body == body);
    writer.join().expect("written");
}

#[test]
fn a_response_longer_than_its_length_ends_the_connection_to_the_endpoint() {
    let backend = Backend::http(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n".to_vec());
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "abc");
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_response_head_longer_than_a_buffer() {
    let value = "v".repeat(50_000);
    let long = value.clone();
    let backend = Backend::http(move |_| format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 2\r\n\r\nok").into());
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.field("x"), response.text()), (Some(value.as_str()), "ok"));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_may_send_the_next_request_before_it_has_the_response() {
    let backend = Backend::http(|seen| {
        std::thread::sleep(Duration::from_millis(50));
        ok(seen.path().as_bytes())
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(20));
    client.send(b"GET /2 HTTP/1.1\r\nHost");
    assert_eq!(client.response().text(), "/1");
    client.send(b": a\r\n\r\n");
    assert_eq!(client.response().text(), "/2");
}

/// More of them than there are large buffers for, all at once, none of which is read at first; half is closed behind.
#[test]
fn many_long_bodies_to_clients_that_wait_arrive_whole() {
    let body = noise(3_000_000);
    let sent = body.clone();
    let backend = Backend::http(move |_| ok(&sent));
    let rig = Rig::start(&[backend.address]);
    let mut clients: Vec<_> = (0..40).map(|_| rig.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let close = if at % 2 == 0 { "Connection: close\r\n" } else { "" };
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n").as_bytes());
    }
    crate::rig::eventually("the requests", || rig.counters.requests_active.get() == 40);
    // A short answer finds its way meanwhile.
    assert_eq!(rig.ask(b"GET / HTTP/1.1\r\n\r\n").status, 400);
    for (at, client) in clients.iter_mut().enumerate() {
        assert!(client.response().body == body);
        if at % 2 == 0 {
            assert!(client.is_closed());
        } else {
            assert_eq!(client.get("/again").status, 200);
        }
    }
}
