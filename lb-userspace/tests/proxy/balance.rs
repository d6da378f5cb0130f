//! Which endpoint takes a request, over real connections: turns, retries, ejection, limits, and endpoints that leave.

use crate::rig::{Backend, Edge, Rig, Seen, eventually, ok, read_head, routes, snapshot};
use lb_core::Snapshot;
use lb_core::model::{Balance, HashKey, Policy, Retry};
use lb_userspace::config::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn ruled(endpoints: &[SocketAddr], policy: &Policy) -> Snapshot {
    Snapshot { routes: routes(|route| route.policy = policy.clone().into()), ..snapshot(endpoints) }
}

fn with_policy(endpoints: &[SocketAddr], policy: &Policy) -> Rig {
    Rig::with(Limits::default(), ruled(endpoints, policy))
}

fn retrying(idempotent: bool, non_idempotent: bool) -> Policy {
    Policy { retry: Retry { idempotent, non_idempotent, ..Retry::default() }, ..Policy::default() }
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

/// An address where nothing listens.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address")
}

/// A listener whose accept queue is full: the kernel drops further SYNs.
struct Deaf {
    address: SocketAddr,
    _socket: socket2::Socket,
    _fill: Vec<std::io::Result<TcpStream>>,
}

impl Deaf {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
        socket.listen(0).expect("listening");
        let address = socket.local_addr().expect("address").as_socket().expect("IP");
        let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        Self { address, _fill: vec![fill(), fill()], _socket: socket }
    }
}

/// A backend that resets each connection once it has read the head of a request, and how many heads it read.
fn resetter() -> (Backend, Arc<Mutex<Vec<String>>>) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heads.clone();
    let backend = Backend::raw(move |stream, _| {
        let mut stream = BufReader::new(stream);
        if let Some(head) = read_head(&mut stream) {
            log.lock().expect("lock").push(head);
        }
        let socket = socket2::Socket::from(stream.into_inner());
        let _ = socket.set_linger(Some(Duration::ZERO));
    });
    (backend, heads)
}

/// A gate that backends wait at.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("lock") = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let limit = crate::rig::PATIENCE;
        let held = self.1.wait_timeout_while(self.0.lock().expect("lock"), limit, |open| !*open).expect("lock");
        assert!(!held.1.timed_out(), "the gate stayed closed");
    }
}

/// A backend that answers, with its own name, once the gate is open.
fn gated(name: &'static str) -> (Backend, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let waits = gate.clone();
    let backend = Backend::http(move |seen: &Seen| {
        if seen.path() != "/now" {
            waits.wait();
        }
        ok(name.as_bytes())
    });
    (backend, gate)
}

fn send(rig: &Rig, method: &str, fields: &str) -> u16 {
    rig.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 4\r\n\r\nbody").as_bytes()).status
}

/// Case 14 of the conformance suite asks for ten pods in a hundred requests; here on any number of cores and connections.
#[test]
fn all_ten_are_seen_from_any_number_of_workers_and_connections() {
    let backends: Vec<_> = (0..10).map(|_| Backend::echo()).collect();
    let endpoints = addresses(&backends);
    for (workers, connections, balance) in [
        (1, 1, Balance::RoundRobin),
        (2, 10, Balance::RoundRobin),
        (4, 100, Balance::RoundRobin),
        (4, 7, Balance::LeastRequests),
        (4, 7, Balance::PeakEwma),
        (4, 7, Balance::Hash(HashKey::Target)),
    ] {
        let before: Vec<usize> = backends.iter().map(|b| b.seen().len()).collect();
        let policy = Policy { balance: balance.clone(), ..Policy::default() };
        let rig = Rig::edged(Edge { workers, ..Edge::default() }, ruled(&endpoints, &policy));
        let each = if balance == Balance::RoundRobin { 100 / connections } else { 30 };
        std::thread::scope(|scope| {
            for connection in 0..connections {
                let rig = &rig;
                scope.spawn(move || {
                    let mut client = rig.connect();
                    (0..each).for_each(|i| assert_eq!(client.get(&format!("/{connection}/{i}")).status, 200));
                });
            }
        });
        let seen: Vec<usize> = backends.iter().zip(before).map(|(b, before)| b.seen().len() - before).collect();
        let what = format!("{workers} workers, {connections} connections, {balance:?}: {seen:?}");
        if connections == 100 {
            assert!(rig.workers.iter().all(|worker| worker.requests.get() > 0), "every worker had some");
        }
        match balance {
            Balance::RoundRobin => assert!(seen.iter().all(|n| *n == 10), "{what}"),
            _ => assert!(seen.iter().all(|n| *n > 0), "{what}"),
        }
    }
}

#[test]
fn a_key_stays_where_it_is_while_others_leave() {
    let backends: Vec<_> = (0..5).map(|i| Backend::http(move |_| ok(format!("{i}").as_bytes()))).collect();
    let policy = Policy { balance: Balance::Hash(HashKey::Cookie("user".into())), ..Policy::default() };
    let rig = Rig::edged(Edge { workers: 2, ..Edge::default() }, ruled(&addresses(&backends), &policy));
    let places = || -> BTreeMap<usize, String> {
        let place = |user: usize| {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; user={user}\r\n\r\n");
            (user, rig.ask(request.as_bytes()).text().to_owned())
        };
        (0..50).map(place).collect()
    };
    let before = places();
    assert_eq!(before, places());
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 5);
    rig.publisher.publish(ruled(&addresses(&backends[..4]), &policy));
    for (user, place) in places() {
        assert!(place == before[&user] || before[&user] == "4", "user {user} moved from {} to {place}", before[&user]);
    }
}

#[test]
fn ewma_leaves_the_slow_one_alone() {
    let (fast, slow) = (
        Backend::echo(),
        Backend::http(|_| {
            std::thread::sleep(Duration::from_millis(50));
            ok(b"late")
        }),
    );
    let policy = Policy { balance: Balance::PeakEwma, ..Policy::default() };
    let rig = with_policy(&[fast.address, slow.address], &policy);
    let mut client = rig.connect();
    (0..100).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert!((1..5).contains(&slow.seen().len()), "{}", slow.seen().len());
}

#[test]
fn refused_and_slow_connections_are_tried_elsewhere_whatever_the_method() {
    let (backend, deaf) = (Backend::echo(), Deaf::new());
    let policy = Policy { connect_ms_max: 200, ..Policy::default() };
    for bad in [dead(), deaf.address] {
        let rig = with_policy(&[bad, backend.address], &policy);
        for method in ["GET", "POST", "GET", "POST"] {
            assert_eq!(send(&rig, method, ""), 200, "{method}");
        }
        assert_eq!(rig.counters.upstream_connects_failed.get(), rig.counters.retries.get());
        assert!(rig.counters.retries.get() >= 2, "{}", rig.counters.retries.get());
    }
    assert_eq!(backend.seen().len(), 8, "each request came once");
    let once = Policy { retry: Retry { tries_max: 1, ..Retry::default() }, ..policy };
    let rig = with_policy(&[dead(), backend.address], &once);
    assert_eq!([send(&rig, "GET", ""), send(&rig, "GET", "")], [502, 200]);
}

#[test]
fn what_an_endpoint_took_is_sent_to_another_only_where_the_route_allows_it() {
    let check = |method: &str, policy: &Policy, want: u16, tries: usize| {
        let ((bad, heads), good) = (resetter(), Backend::echo());
        let rig = with_policy(&[bad.address, good.address], policy);
        assert_eq!(send(&rig, method, ""), want, "{method} with {:?}", policy.retry);
        assert_eq!(heads.lock().expect("lock").len(), 1, "it was taken once");
        assert_eq!(1 + good.seen().len(), tries, "{method} with {:?}", policy.retry);
        assert!(good.seen().iter().all(|seen| seen.body == b"body"), "it is sent whole");
        assert_eq!(rig.counters.retries.get() as usize, tries - 1);
    };
    check("GET", &Policy::default(), 200, 2);
    check("POST", &Policy::default(), 502, 1);
    check("GET", &retrying(false, false), 502, 1);
    check("GET", &retrying(true, false), 200, 2);
    check("PUT", &retrying(true, false), 200, 2);
    check("POST", &retrying(true, false), 502, 1);
    check("POST", &retrying(false, true), 200, 2);
    check("GET", &retrying(false, true), 200, 2);
}

#[test]
fn a_body_that_is_not_here_any_more_is_not_sent_again() {
    let bad = Backend::raw(|mut stream, _| {
        let mut got = 0;
        while got < 400_000 {
            match stream.read(&mut [0; 65_536]) {
                Ok(count @ 1..) => got += count,
                _ => break,
            }
        }
    });
    let good = Backend::echo();
    let rig = with_policy(&[bad.address, good.address], &retrying(true, true));
    let mut request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n".to_vec();
    request.resize(request.len() + 500_000, b'x');
    assert_eq!(rig.ask(&request).status, 502);
    assert_eq!((good.seen().len(), rig.counters.retries.get()), (0, 0));
}

#[test]
fn the_budget_bounds_retries() {
    let backend = Backend::echo();
    // Two of the dead may be ejected; the third fails every second request, and a fifth may be tried again.
    let rig = Rig::start(&[dead(), dead(), dead(), backend.address]);
    let mut client = rig.connect();
    let failed = (0..1_500).filter(|_| client.get("/").status == 502).count() as u64;
    let counters = &rig.counters;
    assert_eq!(counters.ejections.get(), 2);
    assert!(failed > 0, "{} retries", counters.retries.get());
    // A request may also fail at three dead ones, before two are ejected.
    let refused = counters.retries_refused.get();
    assert!(failed >= refused && failed - refused < 10, "{failed} failed, {refused} refused");
}

#[test]
fn an_endpoint_that_fails_is_left_alone_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let (good, bad) = (
        Backend::echo(),
        Backend::http(move |_| {
            if is_broken.load(Ordering::Relaxed) {
                return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            ok(b"well again")
        }),
    );
    let rig = Rig::start(&[good.address, bad.address]);
    let mut client = rig.connect();
    let failed = (0..100).filter(|_| client.get("/").status == 503).count();
    assert_eq!((failed, bad.seen().len(), rig.counters.ejections.get()), (5, 5, 1), "five in a row, then none");
    let published = rig.publisher.current();
    let (_, state) = published.services().next().expect("one");
    let view = state.endpoints()[1].view(published.now_ms());
    assert!((1..=5_100).contains(&view.ejected_ms), "{view:?}");
    assert_eq!(state.endpoints()[0].view(published.now_ms()).ejected_ms, 0);
    broken.store(false, Ordering::Relaxed);
    let start = Instant::now();
    eventually("its return", || client.get("/").text() == "well again");
    assert!(start.elapsed() > Duration::from_secs(3), "it came back after {:?}", start.elapsed());
    let before = bad.seen().len();
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(bad.seen().len() - before, 5, "it has its turns again");
}

#[test]
fn errors_of_the_application_eject_nobody() {
    let bad = Backend::http(|_| b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec());
    let rig = Rig::start(&[Backend::echo().address, bad.address]);
    let mut client = rig.connect();
    let failed = (0..40).filter(|_| client.get("/").status == 500).count();
    assert_eq!((failed, rig.counters.ejections.get()), (20, 0));
}

#[test]
fn a_removed_endpoint_finishes_what_it_has_and_gets_no_more() {
    let ((old, gate), new) = (gated("old"), Backend::http(|_| ok(b"new")));
    let rig = Rig::start(&[old.address]);
    let (mut waiting, mut other) = (rig.connect(), rig.connect());
    assert_eq!(other.get("/now").text(), "old");
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let in_work = |rig: &Rig| rig.publisher.current().services().next().expect("one").1.in_work();
    eventually("the request", || in_work(&rig) == 1 && rig.counters.upstream_reuses.get() == 1);
    rig.publisher.publish(snapshot(&[new.address]));
    for _ in 0..20 {
        assert_eq!(other.get("/").text(), "new");
        assert_eq!(rig.connect().get("/").text(), "new");
    }
    // The others have answered, and are about to be over.
    eventually("the end of the others", || in_work(&rig) == 1);
    gate.open();
    assert_eq!(waiting.response().text(), "old");
    assert_eq!(waiting.get("/").text(), "new", "the client's connection goes on");
    eventually("the end of its connections", || rig.counters.upstream_idle.get() <= 2 && in_work(&rig) == 0);
    assert_eq!((old.seen().len(), old.connections()), (2, 1));
}

#[test]
fn beyond_the_circuit_limit_the_answer_is_503() {
    let (backend, gate) = gated("late");
    let rig = Rig::limited(&[backend.address], |limits| limits.endpoint_requests_max = 2);
    let mut clients: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    eventually("two requests", || backend.connections() == 2);
    let response = rig.connect().get("/now");
    assert_eq!(response.status, 503);
    assert!(response.text().contains("as many requests in work as it may have"), "{}", response.text());
    assert_eq!(rig.counters.overloads.get(), 1);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "late"));
    eventually("room", || rig.connect().get("/now").status == 200);
}

#[test]
fn few_wait_for_a_connection_and_the_rest_go_elsewhere_or_are_refused() {
    let deaf = Deaf::new();
    let policy = Policy { connect_ms_max: 5_000, ..Policy::default() };
    let limits = Limits { endpoint_pending_max: 1, ..Limits::default() };
    let rig = Rig::with(limits, ruled(&[deaf.address], &policy));
    let mut waiting = rig.connect();
    waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("a connect", || rig.counters.upstream_connects.get() == 1);
    assert_eq!(rig.connect().get("/").status, 503, "at once");
    assert_eq!((rig.counters.overloads.get(), rig.counters.upstream_connects.get()), (1, 1));
    let backend = Backend::echo();
    rig.publisher.publish(ruled(&[deaf.address, backend.address], &policy));
    for _ in 0..4 {
        assert_eq!(rig.connect().get("/").status, 200);
    }
    assert_eq!(rig.counters.retries.get(), 0, "a full endpoint has not failed");
}
