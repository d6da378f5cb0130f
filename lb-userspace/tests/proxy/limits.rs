//! Every limit of [`lb_userspace::config::Limits`] that bounds clients: each is reached and holds.

use crate::rig::{
    Backend, Edge, Rig, chunked, dial, eventually, measures_memory, noise, ok, resident, routes, snapshot,
};
use lb_core::Snapshot;
use lb_core::model::Policy;
use lb_userspace::config::Limits;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_slow_head_is_408() {
    let rig = Rig::limited(&[], |l| l.head_ms_max = 300);
    let (mut client, start) = (rig.connect(), Instant::now());
    client.send(b"GET / HT");
    let response = client.response();
    assert_eq!(response.status, 408);
    assert!((300..8_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn a_head_that_trickles_has_no_more_time() {
    let rig = Rig::limited(&[], |l| l.head_ms_max = 300);
    let mut client = rig.connect();
    let mut writing = client.stream.get_ref().try_clone().expect("clone");
    let writer = std::thread::spawn(move || {
        for byte in b"GET /a-long-path-that-takes-its-time HTTP/1.1\r\n".iter().cycle().take(200) {
            if writing.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(client.response().status, 408);
    client.stream.get_ref().shutdown(std::net::Shutdown::Both).expect("shut down");
    writer.join().expect("writer");
}

#[test]
fn an_idle_connection_is_closed() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |l| l.idle_ms_max = 300);
    let mut fresh = rig.connect();
    assert!(fresh.is_closed());
    let mut used = rig.connect();
    assert_eq!(used.get("/").status, 200);
    assert!(used.is_closed());
}

#[test]
fn a_body_that_stops_is_408() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |l| l.body_idle_ms_max = 300);
    let mut client = rig.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status, 408);
    assert!(backend.seen().is_empty());
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |l| l.connections_max = 2);
    let mut kept: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(rig.connect().is_closed());
    assert_eq!(rig.counters.connections_refused.get(), 1);
    kept.pop();
    eventually("room", || rig.counters.connections_active.get() == 1);
    assert_eq!(rig.connect().get("/").status, 200);
}

#[test]
fn workers_share_the_number_of_connections() {
    let backend = Backend::echo();
    let limits = Limits { connections_max: 6, ..Limits::default() };
    let rig = Rig::edged(Edge { limits, workers: 3, ..Edge::default() }, snapshot(&[backend.address]));
    // However the kernel spreads them, each gets its place while there is one.
    let mut kept: Vec<_> = (0..6).map(|_| rig.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").status, 200);
    }
    for _ in 0..6 {
        assert!(rig.connect().is_closed());
    }
    let refused: u64 = rig.workers.iter().map(|worker| worker.connections_refused.get()).sum();
    assert_eq!(refused, 6);
}

#[test]
fn a_connection_ends_after_its_last_allowed_request() {
    let backend = Backend::echo();
    let rig = Rig::limited(&[backend.address], |l| l.requests_per_connection_max = 3);
    let mut client = rig.connect();
    for want in [None, None, Some("close")] {
        assert_eq!(client.get("/").field("connection"), want);
    }
    assert!(client.is_closed());
}

/// A backend that sends without end, and the bytes that it got rid of.
fn endless() -> (Backend, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let backend = Backend::raw(move |mut stream, _| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while let Ok(n) = stream.write(&[b'x'; 65_536]) {
            count.fetch_add(n, Ordering::Relaxed);
        }
    });
    (backend, sent)
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_and_is_cut_in_the_end() {
    let (backend, sent) = endless();
    let rig = Rig::limited(&[backend.address], |l| l.write_idle_ms_max = 3_000);
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut before = 0;
    eventually("the backend stops", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = sent.load(Ordering::Relaxed);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    // Two socket pairs at the kernel's limits (4 MB to send, 6 MB to receive, each), and 64 KB of ours.
    assert!(before < 24 * 1024 * 1024, "{before} bytes are held");
    eventually("the cut", || rig.counters.connections_active.get() == 0);
    drop(client);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let released = Arc::new(Mutex::new(()));
    let hold = released.clone();
    let held = released.lock().expect("lock");
    let backend = Backend::raw(move |mut stream, _| {
        drop(hold.lock());
        let mut left = 40_000_000_usize;
        let mut buffer = vec![0; 65_536];
        while left > 1_000 {
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => left = left.saturating_sub(n),
                _ => return,
            }
        }
        let _ = stream.write_all(&ok(b"read"));
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    let mut writing = client.stream.get_ref().try_clone().expect("clone");
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let writer = std::thread::spawn(move || {
        let _ = writing.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n");
        for _ in 0..400 {
            let _ = writing.write_all(&[b'x'; 100_000]);
            count.fetch_add(100_000, Ordering::Relaxed);
        }
    });
    std::thread::sleep(Duration::from_millis(700));
    assert!(sent.load(Ordering::Relaxed) < 24_000_000, "{} bytes are held", sent.load(Ordering::Relaxed));
    drop(held);
    assert_eq!(client.response().text(), "read");
    writer.join().expect("writer");
}

#[test]
fn thousands_of_idle_connections_hold_no_buffer() {
    if !measures_memory("limits::thousands_of_idle_connections_hold_no_buffer") {
        measure_idle_connections(4_000);
    }
}

fn measure_idle_connections(count: usize) {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    assert_eq!(rig.connect().get("/").status, 200);
    let before = resident();
    let mut clients: Vec<_> = (0..count).map(|_| dial(rig.http)).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        assert!(matches!(client.read(&mut [0; 4_096]), Ok(1..)));
    }
    assert_eq!(rig.counters.connections_active.get(), count as u64);
    let each = resident().saturating_sub(before) / count;
    println!("{each} bytes for each of {count} idle connections");
    // A task, a socket of the runtime, the facts of the connection: an eighth of one buffer.
    assert!(each < 4_096, "{each} bytes for each idle connection");
}

#[test]
fn a_body_larger_than_its_limit_is_413_however_it_is_framed() {
    let backend = Backend::http(|seen| ok(&seen.body));
    let policy = Policy { body_bytes_max: Some(10), ..Policy::default() };
    let routes = routes(|route| route.policy = policy.into());
    let rig = Rig::with(Limits::default(), Snapshot { routes, ..snapshot(&[backend.address]) });
    let check = |size: usize, want: u16| {
        let body = noise(size);
        let sized = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for request in [[sized, body.clone()].concat(), [head.clone(), chunked(&body, 4)].concat()] {
            let response = rig.ask(&request);
            assert_eq!(response.status, want, "{size}");
            assert_eq!(response.body == body, want == 200);
        }
    };
    check(0, 200);
    check(10, 200);
    check(11, 413);
    check(100_000, 413);
    assert!(backend.seen().iter().all(|seen| seen.body.len() <= 10), "an endpoint got more than the limit");
}
