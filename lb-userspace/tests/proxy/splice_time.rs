//! Between the offer and the decision: the limits of a request hold, a client that leaves is noticed, and what the kernel has
//! taken meanwhile is given to it all the same.

use crate::double::Kernel;
use crate::rig::{Backend, dial, eventually};
use crate::splice::{Spliced, allowed};
use lb_core::class::Class;
use lb_core::model::Policy;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// An endpoint that reads and never answers.
fn mute() -> Backend {
    Backend::raw(|mut stream, _| while stream.read(&mut [0; 1_024]).is_ok_and(|count| count > 0) {})
}

fn start(kernel: Kernel, policy: Policy) -> (Backend, Spliced) {
    let backend = mute();
    let spliced = Spliced::start(kernel, allowed(&[backend.address], |route| route.policy = policy.into()));
    (backend, spliced)
}

fn short() -> Policy {
    Policy { read_idle_ms_max: 300, body_bytes_max: None, ..Policy::default() }
}

#[test]
fn time_limits_hold_and_ask_for_the_connection_back_first() {
    for policy in [short(), Policy { total_ms_max: 300, ..Policy::default() }] {
        for kernel in [Kernel::Carries, Kernel::Silent] {
            let (_backend, spliced) = start(kernel, policy.clone());
            let begun = Instant::now();
            assert_eq!(spliced.rig.ask(GET).status, 504, "{kernel:?}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            spliced.double.ask(|told| assert_eq!((told.withdrawn, told.dropped, told.carried.len()), (1, 0, 0)));
            assert_eq!(spliced.counted(Class::PerRequest, "dirty"), 1);
        }
    }
}

#[test]
fn what_the_kernel_carries_at_the_last_moment_is_given_to_it() {
    let (_backend, spliced) = start(Kernel::Insists, short());
    let mut client = dial(spliced.rig.http);
    client.write_all(GET).expect("sent");
    eventually("it is handed over", || spliced.carried() == 1);
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    assert!(client.read(&mut [0; 1]).is_err(), "no answer of ours, and no end");
    drop(client);
    eventually("the end", || spliced.double.ask(|told| told.closed) == 1);
    assert_eq!(spliced.rig.counters.responses.iter().map(|n| n.get()).sum::<u64>(), 0);
}

#[test]
fn a_client_that_leaves_is_noticed() {
    for kernel in [Kernel::Carries, Kernel::Silent] {
        let (_backend, spliced) = start(kernel, Policy::default());
        let mut client = dial(spliced.rig.http);
        client.write_all(GET).expect("sent");
        eventually("it has begun", || spliced.double.ask(|told| told.begun.len()) == 1);
        drop(client);
        eventually("the end", || spliced.rig.counters.connections_active.get() == 0);
        assert_eq!((spliced.carried(), spliced.rig.counters.responses[3].get()), (0, 1), "499: {kernel:?}");
    }
}

#[test]
fn a_client_that_sends_ahead_is_served_in_userspace() {
    for kernel in [Kernel::Carries, Kernel::Silent] {
        let backend = Backend::http(|seen| {
            std::thread::sleep(Duration::from_millis(200));
            crate::rig::ok(seen.path().as_bytes())
        });
        let spliced = Spliced::start(kernel, allowed(&[backend.address], |_| {}));
        let mut client = spliced.rig.connect();
        client.send(b"GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n");
        eventually("it has begun", || spliced.double.ask(|told| told.begun.len()) == 1);
        client.send(b"GET /two HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!((client.response().text(), client.response().text()), ("/one", "/two"), "{kernel:?}");
        assert_eq!(spliced.carried(), 0);
        assert!(backend.seen().iter().all(|seen| seen.field("x-real-ip").is_some()), "both were routed");
    }
}

#[test]
fn an_agent_that_ends_lets_go_of_what_is_not_decided() {
    let (_backend, mut spliced) = start(Kernel::Silent, Policy::default());
    let mut client = dial(spliced.rig.http);
    client.write_all(GET).expect("sent");
    eventually("it has begun", || spliced.double.ask(|told| told.begun.len()) == 1);
    let proxy = spliced.rig.proxy.take().expect("running");
    assert_eq!(proxy.drain(Duration::from_millis(100)), 1);
    spliced.double.ask(|told| assert_eq!((told.dropped, told.carried.len()), (1, 0)));
}
