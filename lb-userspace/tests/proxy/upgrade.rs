//! HTTP/1.1 Upgrade: what is passed on, which answers make a tunnel and which do not, and what a tunnel does.

mod declined;

use crate::rig::{
    Backend, Client, Rig, eventually, measures_memory, noise, ok, read_body, read_head, resident, routes, snapshot,
};
use lb_core::Snapshot;
use lb_core::model::Policy;
use lb_userspace::config::Limits;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A request for a protocol whose answer needs no proof.
pub const ASK: &[u8] = b"GET /t HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
/// The endpoint's agreement.
pub const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nX-Kept: 1\r\n\r\n";
/// A request for a WebSocket (RFC 6455 section 1.3), and its proof.
const WEBSOCKET: &str = "GET /t HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An endpoint that agrees to everything, then gives the connection away.
fn switching() -> (Backend, mpsc::Receiver<BufReader<TcpStream>>) {
    let (give, given) = mpsc::sync_channel(16);
    let backend = Backend::raw(move |stream, _| {
        stream.set_read_timeout(Some(crate::rig::PATIENCE)).expect("timeout");
        let mut stream = BufReader::new(stream);
        if read_head(&mut stream).is_some() && stream.get_mut().write_all(AGREED).is_ok() {
            // Nobody takes it when the test is over.
            let _ = give.send(stream);
        }
    });
    (backend, given)
}

/// Both ends of a tunnel.
fn tunnel(rig: &Rig, given: &mpsc::Receiver<BufReader<TcpStream>>) -> (Client<TcpStream>, BufReader<TcpStream>) {
    let mut client = rig.connect();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    (client, given.recv_timeout(crate::rig::PATIENCE).expect("a tunnel"))
}

fn rig_with(backend: &Backend, policy: Policy) -> Rig {
    let routes = routes(|route| route.policy = policy.into());
    Rig::with(Limits::default(), Snapshot { routes, ..snapshot(&[backend.address]) })
}

fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("bytes");
    bytes
}

#[test]
fn both_directions_pass_whole_at_once() {
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(ASK);
    let head = client.response();
    assert_eq!((head.status, head.field("connection"), head.field("upgrade")), (101, Some("upgrade"), Some("tcp")));
    assert_eq!(head.field("x-kept"), Some("1"));
    let endpoint = given.recv_timeout(crate::rig::PATIENCE).expect("a tunnel");
    eventually("the count", || rig.counters.tunnels_active.get() == 1);
    let (up, down) = (noise(5_000_000), noise(3_000_000));
    let mut ends = [(client.stream, &up, &down), (endpoint, &down, &up)];
    std::thread::scope(|scope| {
        for (stream, sends, reads) in &mut ends {
            let mut writer = stream.get_ref().try_clone().expect("a socket");
            scope.spawn(move || {
                writer.write_all(sends).expect("sent");
                writer.shutdown(Shutdown::Write).expect("shut down");
            });
            scope.spawn(move || {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).expect("read");
                assert!(got == **reads, "{} of {} bytes", got.len(), reads.len());
            });
        }
    });
    eventually("the end", || rig.counters.requests_active.get() == 0);
    assert_eq!((rig.counters.tunnels.get(), rig.counters.tunnels_active.get()), (1, 0));
    assert_eq!(rig.counters.bytes_received.get(), (ASK.len() + up.len()) as u64);
    assert!(rig.counters.bytes_sent.get() > down.len() as u64);
    assert_eq!(rig.counters.responses[0].get(), 1);
}

#[test]
fn bytes_that_come_with_the_heads_are_not_lost() {
    let backend = Backend::raw(|mut stream, _| {
        let mut stream_read = BufReader::new(stream.try_clone().expect("a socket"));
        read_head(&mut stream_read).expect("a head");
        stream.write_all(&[AGREED, b"early answer"].concat()).expect("sent");
        let got = read_exactly(&mut stream_read, 5);
        stream.write_all(&got).expect("sent");
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(&[ASK, b"early"].concat());
    assert_eq!(client.response().status, 101);
    assert_eq!(read_exactly(&mut client.stream, 17), b"early answerearly");
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let (mut client, mut endpoint) = tunnel(&rig, &given);
    client.stream.get_mut().shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(endpoint.read(&mut [0; 1]).expect("the end"), 0);
    endpoint.get_mut().write_all(b"late").expect("sent");
    assert_eq!(read_exactly(&mut client.stream, 4), b"late");
    drop(endpoint);
    assert!(client.is_closed());

    let (mut client, mut endpoint) = tunnel(&rig, &given);
    endpoint.get_mut().shutdown(Shutdown::Write).expect("shut down");
    assert!(client.is_closed());
    client.send(b"late");
    assert_eq!(read_exactly(&mut endpoint, 4), b"late");
    drop(client);
    assert_eq!(endpoint.read(&mut [0; 1]).expect("the end"), 0);
    eventually("the end", || rig.counters.connections_active.get() == 0);
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let is_reset = |result: std::io::Result<usize>| {
        assert_eq!(result.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    };
    let reset = |stream: &TcpStream| socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("linger");
    let (client, mut endpoint) = tunnel(&rig, &given);
    reset(client.stream.get_ref());
    drop(client);
    is_reset(endpoint.read(&mut [0; 1]));
    let (mut client, endpoint) = tunnel(&rig, &given);
    reset(endpoint.get_ref());
    drop(endpoint);
    is_reset(client.stream.read(&mut [0; 1]));
    eventually("the end", || rig.counters.connections_active.get() == 0);
}

#[test]
fn what_is_idle_for_too_long_is_closed_and_traffic_of_one_side_is_enough() {
    let (backend, given) = switching();
    let rig = rig_with(&backend, Policy { read_idle_ms_max: 2_000, total_ms_max: 1_000, ..Policy::default() });
    let (mut client, mut endpoint) = tunnel(&rig, &given);
    let start = Instant::now();
    // Longer than either limit; that of a whole request is not for tunnels.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        client.send(b"x");
        assert_eq!(read_exactly(&mut endpoint, 1), b"x");
    }
    let busy = start.elapsed();
    assert!(client.is_closed());
    assert_eq!(endpoint.read(&mut [0; 1]).expect("the end"), 0);
    let idle = start.elapsed() - busy;
    assert!(busy > Duration::from_millis(2_500) && idle > Duration::from_millis(1_500), "{busy:?} {idle:?}");
}

#[test]
fn a_side_that_does_not_read_stops_the_other() {
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let (mut client, mut endpoint) = tunnel(&rig, &given);
    client.stream.get_ref().set_write_timeout(Some(Duration::from_millis(500))).expect("timeout");
    let (piece, mut sent) = (noise(100_000), 0);
    let stopped = loop {
        match client.stream.get_mut().write(&piece) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < 64_000_000, "{sent} bytes are held");
    };
    assert!(matches!(stopped, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stopped:?}");
    // The other direction is not stopped, and nothing was lost.
    endpoint.get_mut().write_all(b"still here").expect("sent");
    assert_eq!(read_exactly(&mut client.stream, 10), b"still here");
    client.stream.get_mut().shutdown(Shutdown::Write).expect("shut down");
    let mut got = 0;
    while let Ok(count @ 1..) = endpoint.read(&mut vec![0; 100_000]) {
        got += count;
    }
    assert_eq!(got, sent);
}

#[test]
fn a_websocket_whose_answer_is_proven_is_a_tunnel() {
    let backend = Backend::raw(|mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        let head = read_head(&mut reader).expect("a head");
        assert_eq!(crate::rig::field(&head, "connection"), Some("upgrade"), "{head}");
        assert_eq!(crate::rig::field(&head, "upgrade"), Some("websocket"));
        assert_eq!(crate::rig::field(&head, "sec-websocket-version"), Some("13"));
        let answer = format!("HTTP/1.1 101 Web\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n{ACCEPT}\r\n\r\n\x01");
        stream.write_all(answer.as_bytes()).expect("sent");
        let _ = reader.read(&mut [0; 1]);
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(WEBSOCKET.as_bytes());
    let response = client.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("sec-websocket-accept"), ACCEPT.split_once(": ").map(|(_, value)| value));
    assert_eq!(read_exactly(&mut client.stream, 1), b"\x01");
}

#[test]
fn what_is_http_again_is_never_asked_for() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "h2c, websocket"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        assert_eq!(rig.ask(request.as_bytes()).status, 200, "{protocol}");
    }
    let unnamed = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    assert_eq!(rig.ask(unnamed).status, 200);
    for seen in backend.seen() {
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.field(name), None, "{}", seen.head);
        }
    }
}

#[test]
fn a_body_goes_before_the_tunnel() {
    let (size, body) = (200_000, noise(200_000));
    let sized = format!("Content-Length: {size}\r\n\r\n").into_bytes();
    let chunked = [b"Transfer-Encoding: chunked\r\n\r\n".to_vec(), crate::rig::chunked(&body, 1_000)].concat();
    // The endpoint agrees after the body, or before it has read any of it.
    for (framed, agrees_early) in [
        ([sized.clone(), body.clone()].concat(), false),
        ([sized, body.clone()].concat(), true),
        (chunked.clone(), false),
        (chunked, true),
    ] {
        let want = body.clone();
        let backend = Backend::raw(move |mut stream, _| {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let head = read_head(&mut reader).expect("a head");
            if agrees_early {
                stream.write_all(AGREED).expect("sent");
            }
            assert!(read_body(&mut reader, &head, false).expect("a body") == want);
            if !agrees_early {
                stream.write_all(AGREED).expect("sent");
            }
            let got = read_exactly(&mut reader, 6);
            stream.write_all(&got).expect("sent");
        });
        let rig = Rig::start(&[backend.address]);
        let mut client = rig.connect();
        client.send(b"POST /t HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: tcp\r\n");
        client.send(&[framed, b"tunnel".to_vec()].concat());
        assert_eq!(client.response().status, 101);
        assert_eq!(read_exactly(&mut client.stream, 6), b"tunnel");
    }
}

#[test]
fn a_request_in_the_body_of_an_upgrade_stays_its_body() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let request = format!(
        "GET /t HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let backend = Backend::http(|seen| ok(&seen.body));
    let rig = Rig::start(&[backend.address]);
    assert_eq!(rig.ask(request.as_bytes()).text(), hidden);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn tunnels_have_until_the_limit_of_draining() {
    let (backend, given) = switching();
    let mut rig = Rig::start(&[backend.address]);
    let (mut client, mut endpoint) = tunnel(&rig, &given);
    let (mut cut, held) = tunnel(&rig, &given);
    let proxy = rig.proxy.take().expect("running");
    proxy.stop_accepting();
    eventually("the listener's end", || TcpStream::connect(rig.http).is_err());
    client.send(b"still here");
    assert_eq!(read_exactly(&mut endpoint, 10), b"still here");
    drop((client, endpoint));
    eventually("the end of one", || rig.counters.tunnels_active.get() == 1);
    assert_eq!(proxy.drain(Duration::from_millis(200)), 1);
    assert!(cut.is_closed());
    assert_eq!(rig.counters.tunnels_active.get(), 0);
    drop(held);
}

#[test]
fn a_tunnel_does_not_hold_what_served_when_it_began() {
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let (_client, _endpoint) = tunnel(&rig, &given);
    let old = Arc::downgrade(&rig.publisher.current());
    rig.publisher.publish(snapshot(&[backend.address]));
    eventually("the old Snapshot goes", || old.upgrade().is_none());
    assert_eq!(rig.counters.tunnels_active.get(), 1);
}

#[test]
fn a_thousand_over_which_nothing_passes_hold_no_buffer() {
    if measures_memory("upgrade::a_thousand_over_which_nothing_passes_hold_no_buffer") {
        return;
    }
    let (backend, given) = switching();
    let rig = Rig::start(&[backend.address]);
    let first = tunnel(&rig, &given);
    let before = resident();
    let mut tunnels: Vec<_> = Vec::with_capacity(1_000);
    for _ in 0..1_000 {
        let (mut client, mut endpoint) = tunnel(&rig, &given);
        client.send(b"a");
        assert_eq!(read_exactly(&mut endpoint, 1), b"a");
        tunnels.push((client.stream.into_inner(), endpoint.into_inner()));
    }
    let each = resident().saturating_sub(before) / tunnels.len();
    println!("{each} bytes for each tunnel");
    // A task, two sockets of the runtime, the record and texts of the request: a quarter of one buffer.
    assert!(each < 8_192, "{each} bytes for each tunnel");
    drop(first);
}
