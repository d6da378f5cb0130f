//! TLS that passes through: which connections do, that the endpoint gets every byte and no other, and who carries them.

use crate::double::Kernel;
use crate::rig::{Backend, Client, Edge, PATIENCE, Rig, dial, eventually, routes, snapshot};
use crate::splice::Spliced;
use crate::tls::{Tls, config, connect, leaf};
use lb_core::Snapshot;
use lb_core::class::Class;
use lb_core::filter::Filter;
use lb_core::filter::source_range::SourceRange;
use lb_core::model::{HostPattern, PassthroughTable, Policy, ProxyProtocol, Route, RouteId, Upstream};
use lb_userspace::config::Limits;
use rustls::ClientConnection;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// `pass.test` and `*.wild.test` pass to these endpoints; their route is `/` of every host, after `change`.
fn passing(endpoints: &[SocketAddr], change: impl FnOnce(&mut Route)) -> Snapshot {
    let mut passthrough = PassthroughTable::default();
    for host in ["pass.test", "*.wild.test"] {
        passthrough.insert(&HostPattern::parse(host).expect("a host"), RouteId { host: 0, route: 0 });
    }
    Snapshot { routes: routes(change), passthrough: passthrough.into(), ..snapshot(endpoints) }
}

/// The ClientHello of a real client.
fn hello(name: &str) -> Vec<u8> {
    let name = name.to_owned().try_into().expect("a name");
    let mut bytes = Vec::new();
    ClientConnection::new(config(rustls::ALL_VERSIONS), name).expect("it").write_tls(&mut bytes).expect("written");
    bytes
}

/// The same message in records of so many bytes.
fn split(hello: &[u8], size: usize) -> Vec<u8> {
    let piece =
        |piece: &[u8]| [&[22, 3, 1][..], &u16::try_from(piece.len()).expect("short").to_be_bytes(), piece].concat();
    hello[5..].chunks(size).flat_map(piece).collect()
}

/// An endpoint that gives its connections away.
fn giving() -> (Backend, mpsc::Receiver<TcpStream>) {
    let (give, given) = mpsc::sync_channel(16);
    let backend = Backend::raw(move |stream, _| {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let _ = give.send(stream);
    });
    (backend, given)
}

fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("bytes");
    bytes
}

/// Sends a hello in pieces, and checks that it and all that follows comes through both ways.
fn passes(rig: &Rig, given: &mpsc::Receiver<TcpStream>, pieces: &[&[u8]]) {
    let mut client = dial(rig.https);
    for piece in pieces {
        client.write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_millis(if pieces.len() > 1 { 1 } else { 0 }));
    }
    let mut endpoint = given.recv_timeout(PATIENCE).expect("a connection");
    let hello = pieces.concat();
    assert_eq!(read_exactly(&mut endpoint, hello.len()), hello);
    endpoint.write_all(b"server hello").expect("sent");
    assert_eq!(read_exactly(&mut client, 12), b"server hello");
    client.write_all(b"finished").expect("sent");
    assert_eq!(read_exactly(&mut endpoint, 8), b"finished");
    drop(endpoint);
    assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0);
}

#[test]
fn a_hello_in_any_pieces_passes_whole() {
    for kernel in [None, Some(Kernel::NoSocket), Some(Kernel::NoBegin), Some(Kernel::Silent), Some(Kernel::Carries)] {
        let (backend, given) = giving();
        let snapshot = passing(&[backend.address], |_| {});
        let spliced = Spliced::start(kernel.unwrap_or(Kernel::NoSocket), snapshot);
        let plain = Rig::with(Limits::default(), passing(&[backend.address], |_| {}));
        let rig = if kernel.is_some() { &spliced.rig } else { &plain };
        for name in ["pass.test", "a.wild.test"] {
            let hello = hello(name);
            passes(rig, &given, &[&hello]);
            let (first, rest) = hello.split_at(700);
            passes(rig, &given, &[first, rest]);
            passes(rig, &given, &[&split(&hello, 100)]);
            let bytes = split(&hello, 400);
            passes(rig, &given, &bytes.chunks(37).collect::<Vec<_>>());
        }
        assert_eq!(rig.counters.handshakes_failed.get(), 0);
        if kernel == Some(Kernel::Carries) {
            assert_eq!((spliced.carried(), spliced.counted(Class::Spliced, "passthrough")), (8, 8));
            eventually("the ends", || spliced.double.ask(|told| told.closed) == 8);
            assert!(spliced.over.bytes_received.get() > 8 * 1_000 && spliced.over.bytes_sent.get() == 8 * 12);
        } else {
            eventually("the ends", || rig.counters.connections_active.get() == 0);
            assert_eq!(rig.counters.bytes_sent.get(), 8 * 12, "{kernel:?}");
        }
        assert_eq!(rig.counters.requests.get(), 0);
    }
}

#[test]
fn other_names_and_none_end_here() {
    let backend = Backend::echo();
    let rig = Rig::with(Limits::default(), passing(&[backend.address], |_| {}));
    for name in ["a.test", "wild.test", "a.b.wild.test", "127.0.0.1"] {
        let mut client = connect(rig.https, name, config(rustls::ALL_VERSIONS));
        assert_eq!(client.get("/here").text(), "/here", "{name}");
        assert!(!leaf(&client).is_empty());
        // In pieces, so that some of it is taken before the name is known.
        let mut client = slow(rig.https, name);
        assert_eq!(client.get("/slow").text(), "/slow", "{name}");
    }
    assert_eq!(rig.counters.handshakes_failed.get(), 0);
}

/// A client whose hello comes in several packets.
fn slow(to: SocketAddr, name: &str) -> Client<Tls> {
    let tcp = dial(to);
    let name = name.to_owned().try_into().expect("a name");
    let mut conn = ClientConnection::new(config(rustls::ALL_VERSIONS), name).expect("it");
    let mut hello = Vec::new();
    conn.write_tls(&mut hello).expect("written");
    for piece in hello.chunks(hello.len() / 7) {
        (&tcp).write_all(piece).expect("sent");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut stream = rustls::StreamOwned::new(conn, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    Client::new(stream)
}

#[test]
fn what_is_no_hello_gets_the_alert_that_it_always_got() {
    let backend = Backend::echo();
    let with = Rig::with(Limits::default(), passing(&[backend.address], |_| {}));
    let without = Rig::start(&[backend.address]);
    let good = hello("pass.test");
    let mut bad_length = good.clone();
    bad_length[43] = 200;
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), bad_length, good[..200].to_vec(), vec![22, 3, 1, 0, 0]] {
        let answer = |to: SocketAddr| {
            let mut client = dial(to);
            client.write_all(&bytes).expect("sent");
            client.shutdown(std::net::Shutdown::Write).expect("shut down");
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer);
            answer
        };
        assert_eq!(answer(with.https), answer(without.https), "{bytes:02x?}");
    }
    eventually("they are counted", || with.counters.handshakes_failed.get() == 4);
    let limits = Limits { handshake_ms_max: 200, ..Limits::default() };
    let rig = Rig::with(limits, passing(&[backend.address], |_| {}));
    let mut client = dial(rig.https);
    client.write_all(&good[..100]).expect("sent");
    assert!(Client::new(client).is_closed(), "too slow");
}

#[test]
fn a_real_handshake_passes_to_an_endpoint_that_ends_it() {
    let inner = Backend::echo();
    let ends = Rig::start(&[inner.address]);
    let rig = Rig::with(Limits::default(), passing(&[ends.https], |_| {}));
    let mut client = connect(rig.https, "pass.test", config(rustls::ALL_VERSIONS));
    assert_eq!(client.get("/through").text(), "/through");
    assert_eq!(leaf(&client), leaf(&connect(ends.https, "pass.test", config(rustls::ALL_VERSIONS))));
    assert_eq!((rig.counters.requests.get(), ends.counters.requests.get()), (0, 1));
}

#[test]
fn the_client_is_announced_and_early_data_stays_behind() {
    for kernel in [Kernel::NoSocket, Kernel::Silent, Kernel::Carries] {
        let (backend, given) = giving();
        let upstream = Upstream { proxy_protocol: Some(ProxyProtocol::V1), ..Upstream::default() };
        let snapshot = passing(&[backend.address], |route| route.upstream = upstream.into());
        let edge = Edge { proxy_protocol_from: vec!["127.0.0.0/8".parse().expect("it")], ..Edge::default() };
        let spliced = Spliced::edged(kernel, snapshot, edge, true);
        let (line, hello) = (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", hello("pass.test"));
        let mut client = dial(spliced.rig.https);
        client.write_all(&[&line[..], &hello, b"\x17\x03\x03\0\x05early"].concat()).expect("sent");
        let want = [&line[..], &hello, b"\x17\x03\x03\0\x05early"].concat();
        let mut endpoint = given.recv_timeout(PATIENCE).expect("a connection");
        assert_eq!(read_exactly(&mut endpoint, want.len()), want, "{kernel:?}");
        assert_eq!(spliced.carried(), 0, "the client is ahead");
    }
}

#[test]
fn a_dead_endpoint_is_passed_over_and_nobody_answers_for_the_last() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    for kernel in [Kernel::NoSocket, Kernel::Carries] {
        let (backend, given) = giving();
        let spliced = Spliced::start(kernel, passing(&[dead, backend.address], |_| {}));
        for _ in 0..2 {
            passes(&spliced.rig, &given, &[&hello("pass.test")]);
        }
        assert_eq!(spliced.rig.counters.retries.get(), 2);
        let spliced = Spliced::start(kernel, passing(&[dead], |_| {}));
        let mut client = dial(spliced.rig.https);
        client.write_all(&hello("pass.test")).expect("sent");
        assert!(Client::new(client).is_closed());
    }
}

#[test]
fn clients_that_are_not_admitted_and_endpoints_that_are_mute_are_closed() {
    let (backend, given) = giving();
    let range = SourceRange::new(&["192.0.2.0/24".parse().expect("a network")]);
    let snapshot = passing(&[backend.address], |route| route.filters = [Filter::SourceRange(range)].into());
    let rig = Rig::with(Limits::default(), snapshot);
    let mut client = dial(rig.https);
    client.write_all(&hello("pass.test")).expect("sent");
    assert!(Client::new(client).is_closed());
    assert_eq!(backend.connections(), 0);
    let policy = Arc::new(Policy { read_idle_ms_max: 300, ..Policy::default() });
    for kernel in [Kernel::NoSocket, Kernel::Silent] {
        let policy = policy.clone();
        let spliced = Spliced::start(kernel, passing(&[backend.address], |route| route.policy = policy));
        let mut client = dial(spliced.rig.https);
        client.write_all(&hello("pass.test")).expect("sent");
        let _endpoint = given.recv_timeout(PATIENCE).expect("a connection");
        assert!(Client::new(client).is_closed(), "{kernel:?}");
        eventually("the end", || spliced.rig.counters.connections_active.get() == 0);
    }
}

#[test]
fn one_that_lives_holds_no_snapshot_and_its_place() {
    let (backend, given) = giving();
    for kernel in [Kernel::NoSocket, Kernel::Carries] {
        let spliced = Spliced::start(kernel, passing(&[backend.address], |_| {}));
        let mut client = dial(spliced.rig.https);
        client.write_all(&hello("pass.test")).expect("sent");
        let mut endpoint = given.recv_timeout(PATIENCE).expect("a connection");
        endpoint.write_all(b"x").expect("sent");
        assert_eq!(read_exactly(&mut client, 1), b"x");
        let old = Arc::downgrade(&spliced.rig.publisher.current());
        spliced.rig.publisher.publish(passing(&[backend.address], |_| {}));
        eventually("the old Snapshot goes", || old.upgrade().is_none());
        let published = spliced.rig.publisher.current();
        let in_work = || published.services().map(|(_, state)| state.in_work()).sum::<u32>();
        assert_eq!(in_work(), 1, "{kernel:?}");
        drop((client, endpoint));
        eventually("its place is free", || in_work() == 0);
    }
}
