//! What runs in the kernel, on the kernel that this machine has: steering by `sk_lookup`, take-over, pins, refusals.
//!
//! Each test has network namespaces and a pin directory of its own, and proves by counters that the kernel path ran.
//! They need root, `ip`, `/proc` and `/sys`, and nothing else, so that `cargo xtask vm` runs them under other kernels.
//! None is ever skipped: without the eBPF object or without privilege they fail, and say why.

mod carrier;
mod doctor;
mod events;
mod lab;
mod pins;
mod refusals;
mod splice;
mod splice_table;
mod splice_wire;
mod takeover;

use lab::{Lab, Socket, connect};
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// How many connections a case opens. A number that no stray packet would make.
const CONNECTIONS: u64 = 7;

/// One listener, connections to one address, and what must become of them.
struct Case {
    /// Where the listener is really bound.
    socket: Socket,
    /// What it serves.
    served: &'static str,
    /// Where clients connect.
    target: &'static str,
    /// The outcome that each connection must count, and no other. Connections are refused unless it is `steered`.
    outcome: &'static str,
}

fn check(case: &Case) {
    let lab = Lab::new();
    let listener = lab.listen(case.socket);
    let mut steering = lab.open();
    lab.steer(&mut steering, &[(case.served, &listener)]);
    let before = lab::counters(&steering);
    for _ in 0..CONNECTIONS {
        let result = connect(&lab.client, case.target);
        if case.outcome == "steered" {
            let stream = result.unwrap_or_else(|e| panic!("{} for {}: {e}", case.target, case.served));
            let (accepted, peer) = listener.accept().expect("a connection waits");
            assert_eq!(peer.port(), stream.local_addr().expect("a stream has an address").port());
            let local = accepted.local_addr().expect("a stream has an address");
            let canonical = (local.ip().to_canonical(), local.port());
            let target: std::net::SocketAddr = case.target.parse().expect("test data is an address");
            assert_eq!(canonical, (target.ip(), target.port()), "the accepted socket has the client's destination");
        } else {
            assert_eq!(result.expect_err("nobody serves this").kind(), ErrorKind::ConnectionRefused, "{}", case.target);
        }
    }
    let grown: Vec<_> = lab::grown(&before, &lab::counters(&steering));
    assert_eq!(grown, [(case.outcome, CONNECTIONS)], "{} for {}", case.target, case.served);
}

#[test]
fn an_ipv4_address_is_steered_to_a_socket_on_loopback() {
    check(&Case { socket: Socket::V4, served: "10.77.0.2:80", target: "10.77.0.2:80", outcome: "steered" });
}

#[test]
fn an_ipv6_address_is_steered_to_a_socket_on_loopback() {
    check(&Case { socket: Socket::V6Only, served: "[fd77::2]:443", target: "[fd77::2]:443", outcome: "steered" });
}

#[test]
fn the_ipv4_wildcard_serves_every_address() {
    check(&Case { socket: Socket::V4, served: "0.0.0.0:80", target: "10.77.0.3:80", outcome: "steered" });
}

#[test]
fn the_wildcard_serves_ipv6() {
    check(&Case { socket: Socket::Dual, served: "[::]:80", target: "[fd77::2]:80", outcome: "steered" });
}

#[test]
fn the_wildcard_serves_ipv4_when_its_socket_does() {
    check(&Case { socket: Socket::Dual, served: "[::]:80", target: "10.77.0.2:80", outcome: "steered" });
}

#[test]
fn the_wildcard_leaves_ipv4_alone_when_its_socket_takes_only_ipv6() {
    check(&Case { socket: Socket::V6Only, served: "[::]:80", target: "10.77.0.2:80", outcome: "passed_family" });
}

#[test]
fn another_port_is_not_ours() {
    check(&Case { socket: Socket::V4, served: "10.77.0.2:80", target: "10.77.0.2:81", outcome: "passed_address" });
}

#[test]
fn another_address_is_not_ours() {
    check(&Case { socket: Socket::V4, served: "10.77.0.2:80", target: "10.77.0.3:80", outcome: "passed_address" });
}

#[test]
fn the_ipv4_wildcard_is_not_for_ipv6() {
    check(&Case { socket: Socket::V4, served: "0.0.0.0:80", target: "[fd77::2]:80", outcome: "passed_address" });
}

#[test]
fn an_address_wins_over_a_wildcard() {
    let lab = Lab::new();
    let (exact, wildcard) = (lab.listen(Socket::V4), lab.listen(Socket::V4));
    let mut steering = lab.open();
    lab.steer(&mut steering, &[("10.77.0.2:80", &exact), ("0.0.0.0:80", &wildcard)]);
    for (target, listener) in [("10.77.0.2:80", &exact), ("10.77.0.3:80", &wildcard)] {
        let stream = connect(&lab.client, target).expect("served");
        let (_, peer) = listener.accept().expect("a connection waits");
        assert_eq!(peer, stream.local_addr().expect("a stream has an address"));
    }
}

#[test]
fn packets_of_other_protocols_pass_and_are_counted() {
    let lab = Lab::new();
    let mut steering = lab.open();
    let listener = lab.listen(Socket::V4);
    lab.steer(&mut steering, &[("10.77.0.2:80", &listener)]);
    let server = lab.server.run(|| std::net::UdpSocket::bind("10.77.0.2:80")).expect("the UDP port is free");
    let client = lab.client.run(|| std::net::UdpSocket::bind("10.77.0.1:0")).expect("any port");
    let before = lab::counters(&steering);
    client.send_to(b"hello", "10.77.0.2:80").expect("sent");
    let mut bytes = [0; 16];
    assert_eq!(server.recv(&mut bytes).expect("UDP reaches its own socket"), 5);
    assert_eq!(lab::grown(&before, &lab::counters(&steering)), [("passed_protocol", 1)]);
}

#[test]
fn a_group_of_sockets_shares_connections() {
    let lab = Lab::new();
    let group = lab.listen_group(4);
    let mut steering = lab.open();
    lab.steer(&mut steering, &[("10.77.0.2:80", &group[0])]);
    let before = lab::counters(&steering);
    let streams: Vec<_> = (0..200).map(|_| connect(&lab.client, "10.77.0.2:80").expect("served")).collect();
    let taken: Vec<usize> = group.iter().map(lab::drain).collect();
    assert_eq!(taken.iter().sum::<usize>(), streams.len(), "{taken:?}");
    // 200 connections by a hash over 4 sockets: 50 on average, and fewer than 20 once in many millions of runs.
    assert!(taken.iter().all(|n| *n >= 20), "one socket of the group is in the map, all must serve: {taken:?}");
    assert_eq!(lab::grown(&before, &lab::counters(&steering)), [("steered", 200)]);
}

#[test]
fn when_the_socket_in_the_map_closes_connections_are_refused_until_steered_anew() {
    let lab = Lab::new();
    let mut group = lab.listen_group(2);
    let mut steering = lab.open();
    lab.steer(&mut steering, &[("10.77.0.2:80", &group[0])]);
    drop(group.remove(0));
    // Another program's listener on the same address must not get clients that are meant for us.
    let _other = lab.server.run(|| std::net::TcpListener::bind("10.77.0.2:80")).expect("we bind no port 80");
    let before = lab::counters(&steering);
    let refused = connect(&lab.client, "10.77.0.2:80").expect_err("the socket is closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(lab::grown(&before, &lab::counters(&steering)), [("socket_gone", 1)]);
    lab.steer(&mut steering, &[("10.77.0.2:80", &group[0])]);
    connect(&lab.client, "10.77.0.2:80").expect("the other socket of the group serves");
    assert_eq!(lab::drain(&group[0]), 1);
}

#[test]
fn listeners_come_and_go() {
    let lab = Lab::new();
    let listener = lab.listen(Socket::V4);
    let mut steering = lab.open();
    let summary = |added, kept, removed| lb_core::plan::Summary { added, kept, removed };
    assert_eq!(lab.steer(&mut steering, &[("10.77.0.2:80", &listener)]), summary(1, 0, 0));
    let both = [("10.77.0.2:80", &listener), ("10.77.0.3:80", &listener)];
    assert_eq!(lab.steer(&mut steering, &both), summary(1, 1, 0));
    assert_eq!(lab.steer(&mut steering, &both[1..]), summary(0, 1, 1));
    assert!(connect(&lab.client, "10.77.0.2:80").is_err());
    connect(&lab.client, "10.77.0.3:80").expect("served");
    steering.withdraw().expect("withdrawn");
    assert!(connect(&lab.client, "10.77.0.3:80").is_err());
    assert_eq!(lab.steer(&mut steering, &both), summary(2, 0, 0));
    connect(&lab.client, "10.77.0.2:80").expect("served again");
}

#[test]
fn the_report_says_what_is_in_the_kernel() {
    let lab = Lab::new();
    let listener = lab.listen(Socket::V4);
    let mut steering = lab.open();
    lab.steer(&mut steering, &[("10.77.0.2:80", &listener)]);
    let report = steering.report();
    // `cargo xtask vm` wants this line: it proves that a program was in the kernel.
    println!("program under test: {} (tag {})", report.program.name, report.program.tag);
    assert_eq!(report.program.name, lb_common::maps::LOOKUP_PROGRAM);
    assert!(report.link_id != 0 && report.program.id != 0 && report.program.tag.len() == 16, "{report:?}");
    assert!(report.pins.iter().all(|pin| pin.exists()), "{:?}", report.pins);
    assert_eq!(report.maps[0].entries, Some(1));
    let names: BTreeSet<_> = report.maps.iter().map(|map| map.name).collect();
    assert_eq!(names.len(), 4);
    let bytes: u64 = report.maps.iter().map(|map| map.bytes.expect("the kernel tells the memory of a map")).sum();
    let cpus = std::thread::available_parallelism().expect("CPUs are counted").get() as u32;
    assert!(bytes <= lb_common::maps::memory_bytes_max(cpus), "{bytes} bytes: {:?}", report.maps);
}
