//! Networks as they are: lost packets, odd segments and pauses, and clients whose TCP has other options than the backend's.

use super::Stage;
use lb_tests::backend::pattern;
use lb_tests::client::Connection;
use lb_tests::lab::{HTTP, Lab};
use lb_tests::netns::Namespace;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Connections at once, and bytes each way of each.
const PAIRS: u64 = 8;
const BYTES: usize = 3_000_000;

/// Largest piece that is written at once.
const PIECE_MAX: u64 = 40_000;

/// Loses one in a hundred of the packets that come.
fn lose(namespace: &Namespace) {
    let rule = "-A INPUT -p tcp -m statistic --mode random --probability 0.01 -j DROP";
    let status = namespace.command("iptables").args(rule.split(' ')).status().expect("iptables is installed");
    assert!(status.success(), "iptables takes the rule");
}

/// Numbers that follow from a seed (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Writes bytes in pieces of any size, with pauses here and there.
fn write_oddly(mut stream: &TcpStream, seed: u64) {
    let (mut state, all) = (seed << 1 | 1, bytes(seed));
    let mut left = &all[..];
    while !left.is_empty() {
        // Small ones are as likely as large ones.
        let most = (PIECE_MAX >> (next(&mut state) % 16)).max(1);
        let size = (1 + next(&mut state) % most) as usize;
        let (piece, rest) = left.split_at(size.min(left.len()));
        stream.write_all(piece).expect("sent");
        left = rest;
        if next(&mut state).is_multiple_of(16) {
            std::thread::sleep(Duration::from_micros(next(&mut state) % 3_000));
        }
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed << 1 | 1;
    (0..BYTES).map(|_| next(&mut state) as u8).collect()
}

fn read_all(mut stream: &TcpStream, seed: u64) {
    let mut all = vec![0; BYTES];
    stream.read_exact(&mut all).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(all == bytes(seed), "seed {seed}: other bytes came");
}

#[test]
fn odd_segments_and_lost_packets_change_no_byte() {
    let seed = RandomState::new().hash_one(0) >> 8;
    println!("seed {seed}");
    let stage = Stage::new();
    let pairs: Vec<_> = (0..PAIRS).map(|_| stage.pair()).collect();
    [&*stage.lab.client, &stage.lab.pods].into_iter().for_each(lose);
    std::thread::scope(|scope| {
        for (number, (client, backend)) in (0..).map(|n| seed + 2 * n).zip(&pairs) {
            scope.spawn(move || write_oddly(client, number));
            scope.spawn(move || read_all(backend, number));
            scope.spawn(move || write_oddly(backend, number + 1));
            scope.spawn(move || read_all(client, number + 1));
        }
    });
    stage.expect_connections("spliced", "opted-in", PAIRS);
    for flow in stage.flows() {
        assert!(flow["bytes_up"].as_u64() >= Some(BYTES as u64) && flow["bytes_down"].as_u64() >= Some(BYTES as u64));
    }
    stage.end();
}

/// Asks by several connections over a network that was changed, and looks at who carried them: the reasons of all.
fn check(change: impl FnOnce(&Lab), reasons: &[(&str, &str)]) {
    let lab = Lab::new();
    change(&lab);
    let stage = Stage::on(lab, &["--default-body-bytes=0"]);
    for _ in reasons {
        let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connect");
        for size in [1, 100_000, 3_000_000] {
            let body = pattern(size);
            assert_eq!(connection.get("stream.test", &format!("/bytes/{size}")).expect("an answer").body, body);
            let echo = connection.request("POST", "stream.test", "/", &[], &body).expect("an answer").echo();
            assert_eq!(echo.body_fnv1a, lb_tests::echo::fnv1a(&body));
        }
    }
    for (class, reason) in reasons {
        let wanted = reasons.iter().filter(|other| *other == &(*class, *reason)).count();
        stage.expect_connections(class, reason, wanted as u64);
        let refused = stage.metric(&format!("sluice_splice_refused_total{{reason=\"{reason}\"}}"));
        assert!(*class == "spliced" || refused == wanted as u64, "{reason}: {refused}");
    }
    let is_carried = reasons.iter().any(|(class, _)| *class == "spliced");
    assert_eq!(stage.translated().0 > 0, is_carried);
    stage.end();
}

const CARRIED: (&str, &str) = ("spliced", "opted-in");

fn set(namespace: &Namespace, name: &str, value: &str) {
    namespace.sysctl(name, value).expect("a setting of the namespace");
}

#[test]
fn timestamps_on_one_side_only_are_left_to_userspace() {
    check(|lab| set(&lab.client, "ipv4/tcp_timestamps", "0"), &[("per-request", "timestamps"); 2]);
}

#[test]
fn selective_acknowledgement_on_one_side_only_is_left_to_userspace() {
    check(|lab| set(&lab.client, "ipv4/tcp_sack", "0"), &[("per-request", "sack"); 2]);
}

#[test]
fn congestion_notification_on_one_side_only_is_left_to_userspace() {
    check(|lab| set(&lab.client, "ipv4/tcp_ecn", "1"), &[("per-request", "ecn"); 2]);
}

#[test]
fn windows_that_scale_on_one_side_only_are_carried() {
    check(|lab| set(&lab.client, "ipv4/tcp_window_scaling", "0"), &[CARRIED; 2]);
}

/// A client that takes small segments: what each of the two backends takes is learned from its first connection.
#[test]
fn a_client_that_takes_small_segments_is_carried_once_its_backend_is_known() {
    let announce = |lab: &Lab| lab.client.ip("route change 10.1.0.0/24 dev eth0 advmss 536").expect("a route");
    check(announce, &[("per-request", "mss"), ("per-request", "mss"), CARRIED, CARRIED]);
}

#[test]
fn a_backend_that_takes_smaller_segments_than_the_client_may_send_is_left_to_userspace() {
    let announce = |lab: &Lab| lab.pods.ip("route change 10.2.0.0/24 dev eth0 advmss 536").expect("a route");
    check(announce, &[("per-request", "mss"); 2]);
}

#[test]
fn small_segments_on_both_sides_are_carried() {
    let announce = |lab: &Lab| {
        lab.client.ip("route change 10.1.0.0/24 dev eth0 advmss 400").expect("a route");
        lab.balancer.ip("route change 10.1.0.0/24 dev clients advmss 400").expect("a route");
    };
    check(announce, &[CARRIED; 2]);
}
