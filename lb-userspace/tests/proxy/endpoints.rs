//! Endpoints that are dead, slow or rude, and the pool of connections to them.

use crate::rig::{Backend, Rig, eventually, field, ok, read_body, read_head, routes, service, snapshot};
use lb_core::Snapshot;
use lb_core::model::Policy;
use lb_core::model::route::Target;
use lb_userspace::config::Limits;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// An address where nothing listens.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address")
}

fn with_policy(endpoint: SocketAddr, policy: Policy) -> Rig {
    let routes = routes(|route| route.policy = policy.clone().into());
    Rig::with(Limits::default(), Snapshot { routes, ..snapshot(&[endpoint]) })
}

#[test]
fn every_endpoint_gets_its_turn() {
    let backends: Vec<_> = (0..5).map(|_| Backend::echo()).collect();
    let rig = Rig::start(&backends.iter().map(|b| b.address).collect::<Vec<_>>());
    let mut client = rig.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    for backend in &backends {
        assert_eq!((backend.seen().len(), backend.connections()), (20, 1));
    }
}

#[test]
fn a_dead_endpoint_is_skipped() {
    let backend = Backend::echo();
    let rig = Rig::start(&[dead(), backend.address, dead()]);
    let mut client = rig.connect();
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(rig.counters.upstream_connects_failed.get() >= 20);
    let rig = Rig::start(&[dead(), dead(), dead(), dead()]);
    let response = rig.connect().get("/");
    assert_eq!(response.status, 502);
    assert_eq!(rig.counters.upstream_connects_failed.get(), 3);
    assert!(response.text().contains("no endpoint of the service accepts connections"), "{}", response.text());
}

#[test]
fn a_service_without_endpoints_and_a_backend_that_cannot_be_used_are_503() {
    let rig = Rig::start(&[]);
    let mut client = rig.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/").status, 503);
    }
    let routes = routes(|route| route.target = Target::Unavailable("the Service does not exist".into()));
    let rig = Rig::with(Limits::default(), Snapshot { routes, services: vec![service(&[])], ..Snapshot::default() });
    let response = rig.connect().get("/");
    assert_eq!(response.status, 503);
    assert!(response.text().contains("the Service does not exist"));
}

/// A backend that answers one request on each connection and then closes it without saying so.
fn one_shot() -> Backend {
    Backend::raw(|stream, _| {
        let mut stream = BufReader::new(stream);
        if let Some(head) = read_head(&mut stream) {
            let body = read_body(&mut stream, &head, false).unwrap_or_default();
            let _ = stream.get_mut().write_all(&ok(&body));
        }
    })
}

#[test]
fn idle_connections_that_the_backend_closes_fail_no_request() {
    let backend = one_shot();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for i in 0..200 {
        assert_eq!(client.get("/").status, 200, "request {i}");
    }
    assert_eq!(backend.connections(), 200);
}

/// A backend whose second and later requests of a connection are read and never answered: it closes.
fn closes_at_the_second_request() -> Backend {
    Backend::raw(|stream, _| {
        let mut stream = BufReader::new(stream);
        for turn in 0..2 {
            let Some(head) = read_head(&mut stream) else { return };
            let _ = read_body(&mut stream, &head, false);
            if turn == 0 && stream.get_mut().write_all(&ok(b"first")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_request_that_met_a_dying_idle_connection_is_repeated_if_that_is_safe() {
    let backend = closes_at_the_second_request();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").as_bytes());
            assert_eq!(client.response().text(), "first", "{method}");
        }
    }
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().status, 502, "a POST was sent and must not be sent twice");
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_new_connection_that_is_closed_without_an_answer_is_502_and_not_repeated() {
    let backend = Backend::raw(|stream, _| drop(read_head(&mut BufReader::new(stream))));
    let rig = Rig::start(&[backend.address]);
    assert_eq!(rig.connect().get("/").status, 502);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_504() {
    let backend = Backend::raw(|mut stream, _| while matches!(stream.read(&mut [0; 4_096]), Ok(1..)) {});
    let rig = with_policy(backend.address, Policy { read_idle_ms_max: 200, ..Policy::default() });
    let (mut client, start) = (rig.connect(), Instant::now());
    assert_eq!(client.get("/").status, 504);
    assert!((200..8_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_request_that_takes_longer_than_its_limit_in_all_is_504_or_cut() {
    // A backend that is never idle for long: a byte every 20 ms, of its head or of its body.
    let trickle = |start: &'static [u8]| {
        Backend::raw(move |mut stream, _| {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(start);
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let policy = Policy { total_ms_max: 300, ..Policy::default() };
    let backend = trickle(b"HTTP/1.1 200 OK\r\nX: ");
    let response = with_policy(backend.address, policy.clone()).connect().get("/");
    assert_eq!(response.status, 504);
    assert!(response.text().contains("longer than its limit"), "{}", response.text());
    let backend = trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    let rig = with_policy(backend.address, policy);
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = read_head(&mut client.stream).expect("a head");
    assert_eq!(read_body(&mut client.stream, &head, true), None);
}

#[test]
fn a_backend_that_does_not_accept_in_time_is_504() {
    // A listener with a full backlog: the kernel drops further SYNs.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("address").as_socket().expect("IP");
    let _fill: Vec<_> =
        (0..2).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))).collect();
    let rig = with_policy(address, Policy { connect_ms_max: 200, ..Policy::default() });
    assert_eq!(rig.connect().get("/").status, 504);
}

#[test]
fn a_backend_that_stops_within_its_response_cuts_the_client() {
    let backend = Backend::raw(|mut stream, number| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        if number == 0 {
            let _ = stream.read(&mut [0; 1]);
        }
    });
    let rig = with_policy(backend.address, Policy { read_idle_ms_max: 200, ..Policy::default() });
    for _ in 0..2 {
        let mut client = rig.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = read_head(&mut client.stream).expect("a head");
        assert_eq!(field(&head, "content-length"), Some("10"));
        assert_eq!(read_body(&mut client.stream, &head, true), None);
    }
}

#[test]
fn idle_connections_are_bounded_in_number_and_time_and_leave_with_their_endpoint() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |l| {
        l.pool_idle_max = 2;
        l.pool_idle_ms_max = 4_000;
    });
    let idle = || rig.counters.upstream_idle.get();
    let mut clients: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    let slow = Backend::http(|_| {
        std::thread::sleep(Duration::from_millis(100));
        ok(b"")
    });
    rig.publisher.publish(snapshot(&[slow.address]));
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    // A connection is kept a moment after the client has its response.
    eventually("two idle ones", || rig.counters.requests_active.get() == 0 && idle() == 2);
    assert_eq!(slow.connections(), 5);
    eventually("expiry", || idle() == 0);
    rig.publisher.publish(snapshot(&[backend.address]));
    let start = Instant::now();
    assert_eq!(clients[0].get("/").status, 200);
    eventually("one idle one", || idle() == 1);
    rig.publisher.publish(snapshot(&[slow.address]));
    eventually("the sweep", || idle() == 0);
    assert!(start.elapsed() < Duration::from_millis(3_900), "it expired rather than left");
}

#[test]
fn when_the_client_leaves_the_endpoint_is_told() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::raw(move |mut stream, _| {
        let _ = stream.read(&mut [0; 4_096]);
        let closed = matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_));
        let _ = tell.lock().expect("lock").send(closed);
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || backend.connections() == 1);
    drop(client);
    assert_eq!(told.recv_timeout(crate::rig::PATIENCE), Ok(true));
    eventually("the end", || rig.counters.requests_active.get() == 0);
}
