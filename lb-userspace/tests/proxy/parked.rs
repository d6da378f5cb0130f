//! Connections that have been idle for a second are parked, and nobody notices but the machine's memory.

use crate::rig::{Backend, Client, Edge, Rig, dial, eventually, snapshot};
use lb_userspace::config::Limits;
use std::io::Write;
use std::time::{Duration, Instant};

fn is_parked(rig: &Rig, count: u64) {
    eventually("parking", || rig.counters.connections_parked.get() == count);
}

#[test]
fn a_parked_connection_serves_on_with_what_was_known_of_it() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |limits| limits.requests_per_connection_max = 3);
    let mut client = rig.connect();
    assert_eq!(client.get("/first").status, 200);
    is_parked(&rig, 1);
    assert_eq!(rig.counters.connections_active.get(), 1, "it is still open, and counted");
    // The head comes in two pieces: the first one brings the connection back.
    client.send(b"GET /second HT");
    is_parked(&rig, 0);
    client.send(b"TP/1.1\r\nHost: a\r\n\r\n");
    let second = client.response();
    assert_eq!((second.status, second.field("connection")), (200, None));
    is_parked(&rig, 1);
    let third = client.get("/third");
    assert_eq!((third.status, third.field("connection")), (200, Some("close")), "its requests were counted on");
    let seen = backend.seen();
    let of = |at: usize, name: &str| seen[at].field(name).map(str::to_owned);
    for name in ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"] {
        assert_eq!(of(0, name), of(2, name), "{name}");
    }
    assert_eq!(rig.counters.connections_accepted.get(), 1);
}

#[test]
fn one_that_never_asked_is_parked_too() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    is_parked(&rig, 1);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn what_a_balancer_in_front_said_still_holds() {
    let backend = Backend::echo();
    let in_front = vec!["127.0.0.0/8".parse().expect("a network")];
    let edge = Edge { proxy_protocol_from: in_front, ..Edge::default() };
    let rig = Rig::edged(edge, snapshot(&[backend.address]));
    let mut client = rig.connect();
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");
    is_parked(&rig, 1);
    assert_eq!(client.get("/").status, 200);
    let seen = backend.seen();
    let of = |name: &str| seen[0].field(name).map(str::to_owned);
    assert_eq!(of("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    assert_eq!(of("x-forwarded-port").as_deref(), Some("443"));
    assert_eq!(of("x-forwarded-proto").as_deref(), Some("https"), "443 says that TLS ended in front");
}

#[test]
fn the_idle_limit_holds_while_parked() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |limits| limits.idle_ms_max = 2_000);
    let mut client = rig.connect();
    assert_eq!(client.get("/").status, 200);
    let start = Instant::now();
    is_parked(&rig, 1);
    assert!(client.is_closed());
    assert!(start.elapsed() >= Duration::from_millis(1_900), "{:?}", start.elapsed());
    eventually("the end", || rig.counters.connections_active.get() == 0 && rig.counters.connections_parked.get() == 0);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let backend = Backend::echo();
    let rig = Rig::with(Limits::default(), snapshot(&[backend.address]));
    let clients: Vec<_> = (0..100).map(|_| dial(rig.http)).collect();
    is_parked(&rig, 100);
    drop(clients);
    eventually("the end", || rig.counters.connections_active.get() == 0 && rig.counters.connections_parked.get() == 0);
}

#[test]
fn all_come_back_at_once() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut clients: Vec<_> = (0..300).map(|_| Client::new(dial(rig.http))).collect();
    is_parked(&rig, 300);
    for client in &mut clients {
        client.stream.get_mut().write_all(b"GET /at-once HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    }
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn draining_closes_what_is_parked() {
    let backend = Backend::echo();
    let mut rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    assert_eq!(client.get("/").status, 200);
    is_parked(&rig, 1);
    let proxy = rig.proxy.take().expect("running");
    proxy.stop_accepting();
    assert!(client.is_closed());
    assert_eq!(proxy.drain(Duration::from_secs(5)), 0, "nothing was cut");
}
