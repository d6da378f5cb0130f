//! The PROXY protocol header of a balancer in front: whom it is believed, what it changes, and what it must not lose.

use crate::rig::{Backend, Client, Edge, Response, Rig, dial, eventually, ok, snapshot};
use crate::tls::{config, secure};
use lb_userspace::config::Limits;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// The same as [`V1`], but for port 8443, with a type-length-value field behind.
fn v2() -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12";
    [&fixed[..], &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x20, 0xfb], &[4, 0, 3, 1, 2, 3]].concat()
}

/// Behind balancers of this network, in front of a backend that shows what it was told.
fn rig(from: &[&str]) -> (Backend, Rig) {
    let backend = Backend::http(|seen| {
        let field = |name| seen.field(name).unwrap_or("-").to_owned();
        let told = ["x-real-ip", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"].map(field);
        ok(told.join(" ").as_bytes())
    });
    let proxy_protocol_from = from.iter().map(|network| network.parse().expect("a network")).collect();
    let limits = Limits { handshake_ms_max: 400, ..Limits::default() };
    let rig = Rig::edged(Edge { limits, proxy_protocol_from, ..Edge::default() }, snapshot(&[backend.address]));
    (backend, rig)
}

fn ask(to: SocketAddr, pieces: &[&[u8]]) -> Response {
    let mut client = Client::new(dial(to));
    for piece in pieces {
        client.send(piece);
        // Each piece is to arrive alone.
        std::thread::sleep(Duration::from_millis(if pieces.len() > 1 { 5 } else { 0 }));
    }
    client.response()
}

#[test]
fn addresses_of_the_header_replace_those_of_the_connection() {
    let (_backend, rig) = rig(&["127.0.0.0/8"]);
    let local = format!("127.0.0.1 127.0.0.1 {} http", rig.http.port());
    for (header, want) in [
        (V1.to_vec(), "192.0.2.7 192.0.2.7 443 https"),
        (v2(), "192.0.2.7 192.0.2.7 8443 http"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 80\r\n".to_vec(), "2001:db8::7 2001:db8::7 80 http"),
        (b"PROXY UNKNOWN\r\n".to_vec(), &local),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), &local),
    ] {
        let whole = ask(rig.http, &[&[&header, GET].concat()]);
        assert_eq!((whole.status, whole.text()), (200, want));
        let bytes: Vec<&[u8]> = header.chunks(1).chain([GET]).collect();
        assert_eq!(ask(rig.http, &bytes).text(), want, "byte for byte");
        let apart = [&header[..], GET];
        assert_eq!(ask(rig.http, &apart).text(), want, "in two pieces");
    }
}

#[test]
fn requests_behind_the_header_keep_their_order() {
    let (_backend, rig) = rig(&["127.0.0.1/32"]);
    let mut client = rig.connect();
    client.send(&[&v2(), GET, GET, GET].concat());
    for _ in 0..3 {
        assert_eq!(client.response().text(), "192.0.2.7 192.0.2.7 8443 http");
    }
    // Only the first bytes are a header: later ones are a request, and a bad one.
    client.send(&[V1, b"\r\n"].concat());
    assert_eq!(client.response().status, 400);
}

#[test]
fn the_header_comes_before_tls() {
    let (_backend, rig) = rig(&["127.0.0.0/8"]);
    for header in [V1.to_vec(), v2()] {
        let mut tcp = dial(rig.https);
        tcp.write_all(&header).expect("sent");
        let mut client = secure(tcp, "a.test", config(rustls::ALL_VERSIONS));
        assert!(client.get("/").text().starts_with("192.0.2.7 192.0.2.7 "));
    }
    assert_eq!(rig.counters.handshakes_failed.get(), 0);
}

#[test]
fn who_must_send_a_header_and_does_not_is_closed_and_counted() {
    let (backend, rig) = rig(&["127.0.0.0/8"]);
    let closed = |to: SocketAddr, bytes: &[u8]| {
        let mut client = Client::new(dial(to));
        client.send(bytes);
        assert!(client.is_closed(), "{}", String::from_utf8_lossy(bytes));
    };
    let refused: [(SocketAddr, &[u8]); 6] = [
        (rig.http, GET),
        (rig.https, b"\x16\x03\x01\x00\x05hello"),
        (rig.http, b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n"),
        (rig.http, b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c"),
        // These two are cut when the handshake's time is up.
        (rig.http, b"PROXY TCP4 192.0.2.7"),
        (rig.https, b""),
    ];
    for (to, bytes) in refused {
        closed(to, bytes);
    }
    assert_eq!(rig.counters.proxy_protocol_refused.get(), refused.len() as u64);
    assert_eq!(rig.counters.requests.get(), 0);
    assert!(backend.seen().is_empty());
}

#[test]
fn others_are_not_believed() {
    let (_backend, rig) = rig(&["192.0.2.0/24", "2001:db8::/32"]);
    let local = format!("127.0.0.1 127.0.0.1 {} http", rig.http.port());
    assert_eq!(ask(rig.http, &[GET]).text(), local);
    for header in [V1.to_vec(), v2()] {
        let mut client = rig.connect();
        client.send(&[&header, GET].concat());
        assert_eq!(client.response().status, 400);
    }
    assert_eq!(rig.counters.proxy_protocol_refused.get(), 0);
}

#[test]
fn a_client_that_leaves_within_the_header_frees_its_place() {
    let (_backend, rig) = rig(&["127.0.0.0/8"]);
    let mut tcp = dial(rig.http);
    tcp.write_all(b"PROXY TCP4").expect("sent");
    drop::<TcpStream>(tcp);
    eventually("it is counted", || rig.counters.proxy_protocol_refused.get() == 1);
    eventually("it is gone", || rig.counters.connections_active.get() == 0);
}
