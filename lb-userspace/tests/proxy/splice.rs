//! Handing connections to the kernel, whose part a [`Double`] plays: what is offered, that a refusal at any step changes no
//! byte, and what is counted of what is carried.

use crate::double::{Double, Kernel};
use crate::rig::{Backend, Client, Edge, Rig, dial, eventually, ok, routes, snapshot};
use crate::upgrade::{AGREED, ASK};
use lb_core::Snapshot;
use lb_core::class::{Class, Reason};
use lb_core::handoff::Answer;
use lb_core::model::{Policy, ProxyProtocol, Steering, Upstream};
use lb_userspace::config::Limits;
use lb_userspace::telemetry::Counters;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A route whose owner allowed it, after `change`.
pub fn allowed(endpoints: &[SocketAddr], change: impl FnOnce(&mut lb_core::model::Route)) -> Snapshot {
    let routes = routes(|route| {
        route.steering = Steering { connection: true, ..Steering::default() };
        change(route);
    });
    Snapshot { routes, ..snapshot(endpoints) }
}

/// A proxy with a kernel.
pub struct Spliced {
    pub rig: Rig,
    pub double: Arc<Double>,
    /// Of what is over.
    pub over: Arc<Counters>,
}

impl Spliced {
    pub fn start(kernel: Kernel, snapshot: Snapshot) -> Self {
        Self::edged(kernel, snapshot, Edge::default(), true)
    }

    pub fn edged(kernel: Kernel, snapshot: Snapshot, edge: Edge, upgrades: bool) -> Self {
        let (double, over) = (Double::new(kernel), Arc::default());
        let mut splicing = double.splicing(&over);
        splicing.upgrades = upgrades;
        let rig = Rig::edged(Edge { splicing: Some(splicing), ..edge }, snapshot);
        Self { rig, double, over }
    }

    /// Connections of this class and reason.
    pub fn counted(&self, class: Class, reason: &str) -> u64 {
        counted(&self.rig, class, reason)
    }

    pub fn refused(&self, reason: &str) -> u64 {
        self.rig.counters.connections.refused().filter(|(name, _)| *name == reason).map(|(_, n)| n).sum()
    }

    pub fn carried(&self) -> usize {
        self.double.ask(|told| told.carried.len())
    }
}

fn counted(rig: &Rig, class: Class, reason: &str) -> u64 {
    let all = rig.counters.connections.by_reason();
    all.filter(|(of, name, _)| (*of, *name) == (class, reason)).map(|(.., n)| n).sum()
}

/// Sends pieces, each behind the answer to the one before, and gives all that is answered.
fn talk(to: SocketAddr, pieces: &[(&[u8], usize)]) -> Vec<u8> {
    let (mut stream, mut all) = (dial(to), Vec::new());
    for (piece, answer_bytes) in pieces {
        stream.write_all(piece).expect("sent");
        let mut answer = vec![0; *answer_bytes];
        stream.read_exact(&mut answer).expect("an answer");
        all.extend_from_slice(&answer);
    }
    drop(stream);
    all
}

const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: one\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
const POST: &[u8] = b"POST /b HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: two\r\nContent-Length: 5\r\n\r\nhello";
const HEAD: &[u8] = b"HEAD /c HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: three\r\n\r\n";

fn backend() -> Backend {
    Backend::http(|seen| {
        let body = if seen.head.starts_with("HEAD") { Vec::new() } else { [b"got ", &seen.body[..]].concat() };
        let length = if seen.head.starts_with("HEAD") { 9 } else { body.len() };
        [format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {length}\r\n\r\n").as_bytes(), &body].concat()
    })
}

fn answer_bytes(body: usize) -> usize {
    format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 9\r\n\r\n").len() + body
}

#[test]
fn a_refusal_at_any_step_changes_no_byte() {
    let requests: [(&[u8], usize); 3] = [(GET, answer_bytes(4)), (POST, answer_bytes(9)), (HEAD, answer_bytes(0))];
    let turns = [[0, 1, 2], [1, 2, 0], [2, 0, 1]].map(|turn| turn.map(|place| requests[place]));
    // Each proxy has a port of its own, and the endpoint is told.
    let told = |head: &str| head.lines().filter(|line| !line.starts_with("X-Forwarded-Port")).collect::<String>();
    let heads =
        |backend: &Backend| backend.seen().iter().map(|seen| (told(&seen.head), seen.body.clone())).collect::<Vec<_>>();
    for turn in turns {
        let plain = backend();
        let want = talk(Rig::with(Limits::default(), allowed(&[plain.address], |_| {})).http, &turn);
        for (kernel, reason, withdrawn) in [
            (Kernel::NoSocket, "interface", 0),
            (Kernel::PortTaken, "ports", 0),
            (Kernel::NoBegin, "timestamps", 0),
            (Kernel::Declines, "dirty", 0),
            (Kernel::Silent, "dirty", 1),
        ] {
            let backend = backend();
            let spliced = Spliced::start(kernel, allowed(&[backend.address], |_| {}));
            assert_eq!(talk(spliced.rig.http, &turn), want, "{kernel:?}");
            assert_eq!(heads(&backend), heads(&plain), "{kernel:?}");
            assert_eq!((spliced.refused(reason), spliced.counted(Class::PerRequest, reason)), (1, 1), "{kernel:?}");
            assert_eq!(spliced.counted(Class::Spliced, "opted-in"), 0);
            spliced.double.ask(|told| {
                assert_eq!((told.sockets, told.withdrawn, told.dropped), (1, withdrawn, 0), "once: {told:?}");
                let first = &backend.seen()[0];
                let bytes = u32::try_from(first.head.len() + first.body.len()).expect("small");
                let begun = matches!(kernel, Kernel::Declines | Kernel::Silent);
                assert_eq!(told.begun, vec![(bytes, Answer::Any); usize::from(begun)], "{kernel:?}");
            });
        }
    }
}

#[test]
fn what_is_carried_is_neither_looked_at_nor_touched() {
    for first in [GET, POST, HEAD] {
        let backend = backend();
        let spliced = Spliced::start(Kernel::Carries, allowed(&[backend.address], |_| {}));
        let mut client = spliced.rig.connect();
        client.send(first);
        assert_eq!(client.response_to(first == HEAD).status, 200);
        assert_eq!(spliced.carried(), 1);
        assert_eq!(spliced.double.ask(|told| told.carried[0].clone()), "n/s:80");
        assert_eq!(spliced.counted(Class::Spliced, "opted-in"), 1);
        let published = spliced.rig.publisher.current();
        let in_work = || published.services().map(|(_, state)| state.in_work()).sum::<u32>();
        eventually("nothing of it is the worker's", || spliced.rig.counters.connections_active.get() == 0);
        assert_eq!((spliced.rig.counters.requests_active.get(), in_work()), (0, 1), "its place is held");
        for path in ["/one", "/two"] {
            assert_eq!(client.get(path).status, 200);
        }
        let seen = backend.seen();
        assert!(seen[0].field("x-real-ip").is_some() && seen[0].field("x-hop").is_none(), "{}", seen[0].head);
        assert_eq!(seen[1].head, "GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n", "as the client sent it");
        assert_eq!((backend.connections(), spliced.rig.counters.requests.get()), (1, 1));
        drop(client);
        eventually("the end", || spliced.double.ask(|told| told.closed) == 1);
        let over = &spliced.over;
        assert_eq!(
            (in_work(), over.responses[1].get(), over.durations.iter().map(|n| n.get()).sum::<u64>()),
            (0, 1, 1)
        );
        let later = "GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n".len() * 2;
        assert_eq!(over.bytes_received.get(), (first.len() + later) as u64);
        let answers = answer_bytes(if first == HEAD { 0 } else { 4 + seen[0].body.len() }) + 2 * answer_bytes(4);
        assert_eq!(over.bytes_sent.get(), answers as u64);
        assert_eq!((spliced.rig.counters.responses[1].get(), spliced.rig.counters.bytes_sent.get()), (0, 0));
    }
}

#[test]
fn what_does_not_fit_stays_with_its_reason() {
    let big = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (request, reason) in [
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n".into(), "request-version"),
        (format!("{get}Connection: close\r\n\r\n").into_bytes(), "request-close"),
        (format!("{get}\r\n{get}\r\n").into_bytes(), "request-pipelined"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_vec(),
            "request-body",
        ),
        (big, "request-body"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na".to_vec(),
            "request-expect",
        ),
    ] {
        let backend = backend();
        let spliced = Spliced::start(Kernel::Carries, allowed(&[backend.address], |_| {}));
        let response = spliced.rig.ask(&request);
        assert_eq!(response.status, 200, "{reason}");
        assert_eq!(spliced.counted(Class::PerRequest, reason), 1, "{reason}: {:?}", spliced.rig.counters.connections);
        assert_eq!(spliced.double.ask(|told| told.sockets), 0, "{reason}");
    }
    let backend = backend();
    let without = Rig::with(Limits::default(), allowed(&[backend.address], |_| {}));
    assert_eq!(without.ask(GET).status, 200);
    assert_eq!(counted(&without, Class::PerRequest, "unavailable"), 1);
    let spliced = Spliced::start(Kernel::Carries, snapshot(&[backend.address]));
    let mut client = spliced.rig.connect();
    assert_eq!((client.get("/").status, client.get("/").status), (200, 200));
    assert_eq!(spliced.counted(Class::PerRequest, Reason::NotOptedIn.name()), 1, "once for each connection");
    assert_eq!(spliced.double.ask(|told| told.sockets), 0);
    let mut preface = dial(spliced.rig.http);
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
    eventually("it is counted", || spliced.counted(Class::PerRequest, "request-version") == 1);
}

#[test]
fn only_the_first_request_of_a_connection_is_offered() {
    let backend = backend();
    let spliced = Spliced::start(Kernel::NoSocket, allowed(&[backend.address], |_| {}));
    let mut client = spliced.rig.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((spliced.double.ask(|told| told.sockets), backend.connections()), (1, 1));
}

#[test]
fn the_announcement_of_the_client_goes_first_and_is_part_of_what_is_answered() {
    for kernel in [Kernel::Carries, Kernel::NoBegin] {
        let backend = Backend::raw(|mut stream, _| {
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("a socket"));
            let mut line = String::new();
            std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
            assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line}");
            let head = crate::rig::read_head(&mut reader).expect("a head");
            stream.write_all(&ok((line.len() + head.len()).to_string().as_bytes())).expect("sent");
        });
        let upstream = Upstream { proxy_protocol: Some(ProxyProtocol::V1), ..Upstream::default() };
        let snapshot = allowed(&[backend.address], |route| route.upstream = upstream.into());
        let spliced = Spliced::start(kernel, snapshot);
        let answer = spliced.rig.ask(GET);
        if kernel == Kernel::Carries {
            let begun = spliced.double.ask(|told| told.begun[0].0.to_string());
            assert_eq!((answer.text(), spliced.carried()), (&*begun, 1));
        }
    }
}

#[test]
fn an_endpoint_that_refuses_the_connection_leaves_the_offer_for_the_next() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let backend = backend();
    let spliced = Spliced::start(Kernel::Carries, allowed(&[dead, backend.address], |_| {}));
    let mut clients: Vec<Client<TcpStream>> = (0..2).map(|_| spliced.rig.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((spliced.carried(), spliced.rig.counters.retries.get()), (2, 2));
}

#[test]
fn an_upgrade_is_carried_when_the_endpoint_switches() {
    let backend = Backend::raw(|mut stream, _| {
        let mut reader = std::io::BufReader::new(stream.try_clone().expect("a socket"));
        crate::rig::read_head(&mut reader).expect("a head");
        stream.write_all(AGREED).expect("sent");
        let mut got = [0; 5];
        reader.read_exact(&mut got).expect("bytes");
        stream.write_all(&got).expect("sent");
    });
    let spliced = Spliced::start(Kernel::Carries, snapshot(&[backend.address]));
    let mut client = spliced.rig.connect();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    client.send(b"hello");
    let mut got = [0; 5];
    client.stream.read_exact(&mut got).expect("bytes");
    assert_eq!(&got, b"hello");
    drop(client);
    eventually("the end", || spliced.double.ask(|told| told.closed) == 1);
    assert_eq!((spliced.over.responses[0].get(), spliced.counted(Class::Spliced, "upgrade")), (1, 1));
    assert_eq!(spliced.over.bytes_received.get(), ASK.len() as u64 + 5);
    assert_eq!((spliced.rig.counters.tunnels.get(), spliced.double.ask(|told| told.begun[0].1)), (0, Answer::Switch));
}

#[test]
fn an_upgrade_that_is_declined_is_an_ordinary_request() {
    let backend = Backend::http(|seen| match seen.path() {
        "/t" => b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok(seen.field("x-real-ip").expect("told").as_bytes()),
    });
    for upgrades in [true, false] {
        let snapshot = snapshot(&[backend.address]);
        let spliced = Spliced::edged(Kernel::Carries, snapshot, Edge::default(), upgrades);
        let mut client = spliced.rig.connect();
        client.send(ASK);
        assert_eq!(client.response().status, 403);
        assert_eq!(client.get("/next").text(), "127.0.0.1");
        assert_eq!(spliced.double.ask(|told| told.sockets), usize::from(upgrades));
        let reason = if upgrades { "dirty" } else { "upgrades-off" };
        assert_eq!((spliced.counted(Class::PerRequest, reason), spliced.carried()), (1, 0));
    }
}

#[test]
fn an_upgrade_after_other_requests_is_carried_too() {
    let backend = Backend::http(|seen| if seen.path() == "/t" { AGREED.to_vec() } else { ok(b"first") });
    let spliced = Spliced::start(Kernel::Carries, snapshot(&[backend.address]));
    let mut client = spliced.rig.connect();
    assert_eq!(client.get("/").text(), "first");
    client.send(ASK);
    assert_eq!((client.response().status, spliced.carried()), (101, 1));
    // What follows the head already is for userspace.
    let mut early = spliced.rig.connect();
    early.send(&[ASK, b"early"].concat());
    assert_eq!((early.response().status, spliced.carried()), (101, 1));
    assert_eq!(spliced.counted(Class::PerRequest, "request-pipelined"), 1);
}

#[test]
fn a_fault_of_the_endpoint_is_answered_by_us_and_another_is_tried() {
    let closing = Backend::raw(|mut stream, _| {
        let _ = stream.read(&mut [0; 4_096]);
    });
    let spliced = Spliced::start(Kernel::Carries, allowed(&[closing.address], |_| {}));
    assert_eq!(spliced.rig.ask(GET).status, 502);
    assert_eq!((spliced.carried(), spliced.counted(Class::PerRequest, "dirty")), (0, 1));
    let retry = lb_core::model::Retry { idempotent: true, ..Default::default() };
    let backend = backend();
    let snapshot = allowed(&[closing.address, backend.address], |route| {
        route.policy = Policy { retry, ..Policy::default() }.into();
    });
    let spliced = Spliced::start(Kernel::Carries, snapshot);
    assert_eq!(spliced.rig.ask(GET).status, 200);
    // What was tried in vain once is not tried again.
    assert_eq!((spliced.rig.counters.retries.get(), spliced.carried()), (1, 0));
    assert_eq!((spliced.double.ask(|told| told.sockets), spliced.counted(Class::PerRequest, "dirty")), (1, 1));
}
