//! Pairs of connections in the kernel, end to end: a client, the splicer, a backend, each in a network namespace.
//!
//! Every test reads the counters of the programs, so that none passes because userspace did the work; [`after`] looks at
//! what must hold after each: no byte came late.

mod endings;
mod narrow;
mod options;
mod refusals;
mod sockets;
mod undecided;

use lb_core::handoff::{Carried, Ending};
use lb_tests::handoff::{ANSWER, Family, Pair, REQUEST, Site, expect, expect_end, transfer};
use lb_tests::lab::Lab;
use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Checks what must hold at the end of every test.
fn after(site: &Site) {
    assert_eq!(site.splicer().splicing().late, 0, "a byte came after a hand-off");
    for outcome in ["unwritable", "no_hop"] {
        assert_eq!(site.count(outcome), 0, "{outcome}");
    }
}

/// Both sides say something, and the kernel carried it.
fn talk(site: &Site, pair: &mut Pair) {
    let before = (site.count("up"), site.count("down"));
    for turn in 0..3 {
        let (ping, pong) = (format!("ping {turn}"), format!("pong {turn}"));
        pair.client.write_all(ping.as_bytes()).expect("sent");
        expect(&mut pair.backend, ping.as_bytes());
        pair.backend.write_all(pong.as_bytes()).expect("sent");
        expect(&mut pair.client, pong.as_bytes());
    }
    assert!(site.count("up") >= before.0 + 3 && site.count("down") >= before.1 + 3, "the kernel carried it");
}

/// Waits until something holds.
fn soon(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Joins, talks, and sends a megabyte each way, in a network that was changed.
fn check(family: Family, change: impl FnOnce(&Lab)) {
    let lab = Lab::new();
    change(&lab);
    check_site(&Site::on(lab, |_| {}), family);
}

fn check_site(site: &Site, family: Family) {
    let mut pair = site.join(family);
    talk(site, &mut pair);
    std::thread::scope(|scope| {
        scope.spawn(|| transfer(&pair.client, &pair.backend, 1, 1 << 20));
        transfer(&pair.backend, &pair.client, 2, 1 << 20);
    });
    let view = site.splicer().flows();
    let [view] = view.as_slice() else { panic!("{view:?}") };
    assert_eq!((view.client, view.backend), (address(&pair.client), address(&pair.backend)));
    assert_eq!((view.service.as_deref(), view.state), (Some("shop/cart:80"), "active"));
    assert!(view.carried.bytes_up > 1 << 20 && view.carried.bytes_down > 1 << 20, "{view:?}");
    assert_eq!(view.carried.status, Some(200));
    after(site);
}

fn address(stream: &std::net::TcpStream) -> std::net::SocketAddr {
    stream.local_addr().expect("a stream has an address")
}

/// A setting of TCP everywhere.
fn everywhere(lab: &Lab, name: &str, value: &str) {
    for namespace in [&*lab.client, &lab.balancer, &lab.pods] {
        namespace.sysctl(name, value).expect("a setting of the namespace");
    }
}

#[test]
fn a_pair_is_carried() {
    check(Family::V4, |_| {});
}

#[test]
fn a_pair_is_carried_over_ipv6() {
    check(Family::V6, |_| {});
}

#[test]
fn a_pair_is_carried_without_timestamps() {
    check(Family::V4, |lab| everywhere(lab, "ipv4/tcp_timestamps", "0"));
}

#[test]
fn a_pair_is_carried_without_selective_acknowledgement() {
    check(Family::V4, |lab| everywhere(lab, "ipv4/tcp_sack", "0"));
}

#[test]
fn a_pair_is_carried_without_scaled_windows() {
    check(Family::V4, |lab| everywhere(lab, "ipv4/tcp_window_scaling", "0"));
}

#[test]
fn windows_of_any_scale_are_translated() {
    // The scale follows the largest buffer: 2 by what `net.core.rmem_max` usually is, 14 for a gigabyte.
    for (client, backend) in
        [("4096 16384 60000", "4096 131072 1073741824"), ("4096 131072 1073741824", "4096 16384 60000")]
    {
        check(Family::V4, |lab| {
            lab.client.sysctl("ipv4/tcp_rmem", client).expect("a setting of the namespace");
            lab.pods.sysctl("ipv4/tcp_rmem", backend).expect("a setting of the namespace");
        });
    }
}

#[test]
fn a_client_with_one_scale_only_is_carried_by_its_windows() {
    // One side does not scale at all.
    check(Family::V4, |lab| lab.client.sysctl("ipv4/tcp_window_scaling", "0").expect("a setting of the namespace"));
    check(Family::V4, |lab| lab.pods.sysctl("ipv4/tcp_window_scaling", "0").expect("a setting of the namespace"));
}

#[test]
fn small_segments_are_carried() {
    // Less than IPv6 takes, so its addresses go; the sockets that listen on them stay.
    let site = Site::new();
    site.lab.client.ip("link set dev eth0 mtu 600").expect("a setting of the interface");
    site.lab.balancer.ip("link set dev clients mtu 600").expect("a setting of the interface");
    check_site(&site, Family::V4);
}

#[test]
fn the_kernel_carries_where_it_does_not_forward() {
    check(Family::V4, |lab| lab.balancer.sysctl("ipv4/ip_forward", "0").expect("a setting of the namespace"));
    check(Family::V6, |lab| lab.balancer.sysctl("ipv6/conf/all/forwarding", "0").expect("a setting of the namespace"));
}

#[test]
fn each_side_can_finish_before_the_other() {
    for client_first in [true, false] {
        let site = Site::with(|setup| setup.grace = Duration::from_millis(500));
        let Pair { client, backend, closed, .. } = site.join(Family::V4);
        let (mut first, mut second) = if client_first { (client, backend) } else { (backend, client) };
        first.shutdown(Shutdown::Write).expect("finished");
        expect_end(&mut second);
        // Half a pair carries as much as a whole one.
        transfer(&second, &first, 3, 1 << 20);
        second.shutdown(Shutdown::Write).expect("finished");
        expect_end(&mut first);
        let carried: Carried = closed.recv_timeout(Duration::from_secs(20)).expect("it ends");
        assert_eq!((carried.ending, carried.status), (Some(Ending::Finished), Some(200)));
        let (up, down) = if client_first { (0, 1 << 20) } else { (1 << 20, 0) };
        assert!(carried.bytes_up >= up && carried.bytes_down >= down + ANSWER.len() as u64, "{carried:?}");
        assert!(site.splicer().flows().is_empty());
        assert_eq!(site.splicer().splicing().carried.bytes_up, carried.bytes_up, "the books keep what is over");
        after(&site);
    }
}

/// A reader takes nothing for so long.
const STALL: Duration = Duration::from_secs(10);

#[test]
fn a_reader_that_stalls_holds_the_sender_and_loses_nothing() {
    let site = Site::new();
    let pair = site.join(Family::V4);
    std::thread::scope(|scope| {
        let client = pair.client.try_clone().expect("a second handle");
        // More than all buffers take.
        scope.spawn(move || {
            std::thread::sleep(STALL);
            let mut sink = client;
            read_all(&mut sink, 32 << 20);
        });
        let block = vec![7; 1 << 20];
        let start = Instant::now();
        for _ in 0..32 {
            (&pair.backend).write_all(&block).expect("sent");
        }
        assert!(start.elapsed() > STALL - Duration::from_secs(1), "the window was closed meanwhile");
    });
    after(&site);
}

fn read_all(stream: &mut std::net::TcpStream, bytes: usize) {
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(block.len());
        std::io::Read::read_exact(stream, &mut block[..length]).expect("bytes come");
        assert!(block[..length].iter().all(|byte| *byte == 7));
        left -= length;
    }
}

#[test]
fn many_requests_follow_the_first() {
    let site = Site::new();
    let mut pair = site.join(Family::V4);
    for _ in 0..200 {
        pair.client.write_all(REQUEST).expect("sent");
        expect(&mut pair.backend, REQUEST);
        pair.backend.write_all(ANSWER).expect("sent");
        expect(&mut pair.client, ANSWER);
    }
    after(&site);
}
