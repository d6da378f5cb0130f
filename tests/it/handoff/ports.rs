//! Source ports that are used again: soon, and without a stumble, while backends and clients are in TIME_WAIT.

use lb_core::handoff::Apart;
use lb_tests::handoff::{Family, Pair, Site, expect_end};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// A fiftieth of what an agent has by itself.
const PORTS: u16 = 200;

/// Pairs one after the other: each port is used three times, and one more.
const PAIRS: usize = 3 * PORTS as usize + 1;

/// A SYN that is refused is sent again after a second (RFC 6298): no dial may take so long.
const DIAL_MAX: Duration = Duration::from_millis(900);

/// A pair as soon as a port is free, and how long it took when one was.
fn join(site: &Site) -> (Pair, Duration) {
    loop {
        let start = Instant::now();
        match site.try_join(Family::V4) {
            Ok(pair) => return (pair, start.elapsed()),
            Err(Apart::Ports) => std::thread::sleep(Duration::from_millis(20)),
            Err(apart) => panic!("not joined: {apart}"),
        }
    }
}

fn close(mut pair: Pair, client_first: bool) {
    let (first, second) =
        if client_first { (&mut pair.client, &mut pair.backend) } else { (&mut pair.backend, &mut pair.client) };
    first.shutdown(Shutdown::Write).expect("finished");
    expect_end(second);
    second.shutdown(Shutdown::Write).expect("finished");
    expect_end(first);
}

fn in_time_wait(site: &Site) -> usize {
    let sockets = site.lab.pods.command("ss").args(["-Htn", "state", "time-wait"]).output().expect("iproute2");
    String::from_utf8_lossy(&sockets.stdout).lines().count()
}

#[test]
fn ports_are_used_again_soon_whoever_closed_first() {
    let site = Site::with(|setup| setup.ports = 20_000..=20_000 + PORTS - 1);
    let (mut slowest, mut second_round) = (Duration::ZERO, None);
    for turn in 0..PAIRS {
        let (pair, took) = join(&site);
        if turn == usize::from(PORTS) {
            second_round = Some(Instant::now());
            assert!(in_time_wait(&site) >= usize::from(PORTS) / 3, "backends that closed first wait, and take SYNs");
        }
        slowest = slowest.max(took);
        close(pair, turn % 2 == 0);
    }
    let took = second_round.expect("there were more pairs than ports").elapsed();
    let rate = (PAIRS - usize::from(PORTS)) as f64 / took.as_secs_f64();
    println!(
        "{rate:.0} hand-offs a second by {PORTS} ports, so {:.0} by 10,000; the slowest took {slowest:?}",
        rate * 50.0
    );
    assert!(slowest < DIAL_MAX, "no SYN was sent twice: {slowest:?}");
    assert_eq!(site.splicer().splicing().late, 0);
}

/// What a backend sees without timestamps proves nothing, so the port rests for as long as TIME_WAIT lasts.
#[test]
fn without_timestamps_a_port_rests_long() {
    let lab = lb_tests::lab::Lab::new();
    for namespace in [&*lab.client, &lab.balancer, &lab.pods] {
        namespace.sysctl("ipv4/tcp_timestamps", "0").expect("a setting of the namespace");
    }
    let site = Site::on(lab, |setup| (setup.ports, setup.grace) = (20_000..=20_000, Duration::from_millis(100)));
    close(join(&site).0, true);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert_eq!(site.try_join(Family::V4).expect_err("the port rests"), Apart::Ports);
        std::thread::sleep(Duration::from_millis(250));
    }
}
