//! The end: what is in work is finished, what is idle is closed, what takes too long is cut and counted.

use crate::rig::{Backend, Rig, dial, eventually, ok, snapshot};
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn requests_in_work_finish_and_idle_connections_close() {
    let backend = Backend::http(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ok(b"late")
    });
    let mut rig = Rig::start(&[backend.address]);
    let (mut busy, mut idle) = (rig.connect(), rig.connect());
    assert_eq!(idle.get("/").text(), "late");
    busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || rig.counters.requests_active.get() == 1);
    let proxy = rig.proxy.take().expect("running");
    proxy.stop_accepting();
    assert!(idle.is_closed());
    eventually("the listener's end", || std::net::TcpStream::connect(rig.http).is_err());
    let response = busy.response();
    assert_eq!((response.text(), response.field("connection")), ("late", Some("close")));
    assert!(busy.is_closed());
    let start = Instant::now();
    assert_eq!(proxy.drain(Duration::from_secs(30)), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "it waited for nothing");
}

#[test]
fn what_takes_too_long_is_cut_and_counted() {
    let backend = Backend::raw(|mut stream, _| while matches!(stream.read(&mut [0; 4_096]), Ok(1..)) {});
    let mut rig = Rig::start(&[backend.address]);
    let mut clients: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("the requests", || rig.counters.requests_active.get() == 3);
    let proxy = rig.proxy.take().expect("running");
    proxy.stop_accepting();
    assert_eq!(proxy.drain(Duration::from_millis(200)), 3);
    for client in &mut clients {
        assert!(client.is_closed());
    }
    assert_eq!(rig.counters.requests_active.get(), 0);
    assert_eq!(rig.counters.connections_active.get(), 0);
}

#[test]
fn connections_that_wait_to_be_accepted_are_served() {
    let backend = Backend::echo();
    for _ in 0..10 {
        let mut rig = Rig::start(&[backend.address]);
        let mut clients: Vec<_> = (0..50).map(|_| crate::rig::Client::new(dial(rig.http))).collect();
        let proxy = rig.proxy.take().expect("running");
        proxy.stop_accepting();
        for client in &mut clients {
            let response = client.get("/in-time");
            assert_eq!((response.status, response.field("connection")), (200, Some("close")));
        }
        assert_eq!(proxy.drain(Duration::from_secs(5)), 0);
    }
}

#[test]
fn a_new_snapshot_fails_no_request() {
    let backends = [Backend::echo(), Backend::echo()];
    let rig = Rig::start(&[backends[0].address]);
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = rig.connect();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/").status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for i in 0..300 {
            rig.publisher.publish(snapshot(&[backends[i % 2].address]));
            std::thread::sleep(Duration::from_millis(3));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 100);
    assert!(backends.iter().all(|b| b.seen().len() > 20), "both were used");
}
