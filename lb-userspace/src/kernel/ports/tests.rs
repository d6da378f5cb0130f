//! The table of ports, with time as an argument, and real binds.

use super::*;
use nix::sched::{CloneFlags, unshare};

const REST: Duration = Duration::from_secs(60);

/// Outside the ports that tests of others use.
const RANGE: RangeInclusive<u16> = 19_000..=19_003;

const NONE: RangeInclusive<u16> = 1..=1;

fn backend(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 2, 0, number], 80))
}

fn all(ports: &Ports, to: SocketAddr, now: Instant) -> HashSet<u16> {
    std::iter::from_fn(|| {
        let port = ports.next(to, now)?;
        assert!(ports.claim(port, to).expect("claimed"), "{port} was handed out, so it is free");
        Some(port)
    })
    .collect()
}

#[test]
fn each_port_is_handed_out_once_and_again_after_its_rest() {
    let (ports, start) = (Ports::new(RANGE, NONE), Instant::now());
    assert_eq!(all(&ports, backend(1), start), RANGE.collect(), "every port of the range, and then none");
    assert!(!ports.claim(19_001, backend(1)).expect("looked at"), "it is in use");
    assert_eq!(all(&ports, backend(2), start).len(), 4, "towards another backend the ports are free");
    ports.rest(19_001, backend(1), start + REST);
    assert_eq!(ports.next(backend(1), start + REST - Duration::from_millis(1)), None, "it rests");
    assert_eq!(ports.next(backend(1), start + REST), Some(19_001));
    ports.give_back(19_002, backend(1));
    assert_eq!(all(&ports, backend(1), start + REST), HashSet::from([19_001, 19_002]));
}

#[test]
fn each_port_rests_for_its_own_time() {
    let (ports, start) = (Ports::new(RANGE, NONE), Instant::now());
    let second = Duration::from_secs(1);
    assert_eq!(all(&ports, backend(1), start).len(), 4);
    for (port, seconds) in [(19_002, 60), (19_000, 1), (19_003, 1), (19_001, 5)] {
        ports.rest(port, backend(1), start + second * seconds);
    }
    assert_eq!(all(&ports, backend(1), start + second), HashSet::from([19_000, 19_003]));
    assert_eq!(all(&ports, backend(1), start + second * 5), HashSet::from([19_001]));
    assert_eq!(all(&ports, backend(1), start + second * 59), HashSet::new());
    assert_eq!(all(&ports, backend(1), start + second * 60), HashSet::from([19_002]));
}

#[test]
fn ports_are_handed_out_in_turn() {
    let (ports, now) = (Ports::new(RANGE, NONE), Instant::now());
    let first: Vec<_> = (0..4).filter_map(|_| ports.next(backend(1), now)).collect();
    let second: Vec<_> = (0..4).filter_map(|_| ports.next(backend(1), now)).collect();
    assert_eq!(first, second);
    assert_eq!(first.iter().copied().collect::<HashSet<_>>(), RANGE.collect(), "one given back comes last again");
}

#[test]
fn a_port_of_others_is_not_ours_to_claim_and_one_of_an_earlier_agent_is_taken() {
    let (ports, now) = (Ports::new(RANGE, NONE), Instant::now());
    assert!(!ports.claim(18_999, backend(1)).expect("looked at"));
    for port in [19_000, 19_000, 18_000] {
        ports.adopt(port, backend(1)).expect("adopted");
    }
    assert!(!all(&ports, backend(1), now).contains(&19_000));
    ports.rest(18_000, backend(1), now + REST);
    ports.sweep(now + REST);
}

#[test]
fn backends_are_forgotten() {
    let (ports, now) = (Ports::new(RANGE, NONE), Instant::now());
    ports.next(backend(1), now);
    assert!(ports.claim(19_000, backend(2)).expect("claimed"));
    let known = || ports.table().backends.len();
    ports.sweep(now + TURN_KEPT / 2);
    assert_eq!(known(), 2);
    ports.sweep(now + TURN_KEPT * 2);
    assert_eq!(known(), 1, "one has a port in use");
    ports.rest(19_000, backend(2), now + REST);
    ports.sweep(now + TURN_KEPT * 2);
    assert_eq!((known(), ports.table().guards.len()), (0, 0));
}

/// In a network namespace of its own, where every port is free.
#[test]
fn the_kernel_passes_by_a_port_that_is_guarded() {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("privileged");
        // The kernel hands out four ports by itself, and they are ours.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "19000 19003").expect("a setting of our own");
        assert_eq!(automatic(), RANGE);
        let ports = Ports::new(RANGE, automatic());
        for to in [backend(1), "[fd02::10]:80".parse().expect("address")] {
            for _ in 0..3 {
                let socket = ports.socket(to).expect("bound").expect("free");
                let port = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("bound").port();
                assert!(ports.claim(port, to).expect("claimed"));
            }
            let others: Vec<_> = (0..2).map(|_| by_itself(to.is_ipv4())).collect();
            let given = others.iter().filter(|socket| socket.is_some()).count();
            assert_eq!(given, 1, "of four ports three are guarded, though their sockets are closed");
            drop(others);
            for port in RANGE {
                ports.rest(port, to, Instant::now());
            }
            ports.sweep(Instant::now());
            assert_eq!(ports.table().guards.len(), 0);
            assert!(by_itself(to.is_ipv4()).is_some(), "guards go with the pairs");
        }
    };
    std::thread::spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// A socket bound to a port that the kernel chooses.
fn by_itself(is_v4: bool) -> Option<std::net::TcpListener> {
    std::net::TcpListener::bind(if is_v4 { "0.0.0.0:0" } else { "[::]:0" }).ok()
}
