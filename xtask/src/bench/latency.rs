//! Latency at a rate that every contender can carry: half of nginx's maximum, measured first.
//!
//! Goes in: the rate that `wrk` finds. Comes out: p50 and p99 of our open-loop generator.

use super::Bench;
use super::lab::CLIENT_CPUS;
use super::load::{Wrk, wrk};
use super::measure::{Better, Goal, Metric};
use super::open_loop::{Load, Plan};
use super::peer::{Kind, PLAIN, Peer};
use super::process::children_seconds;
use super::scenario::EVERYONE;
use anyhow::{Context, Result, ensure};

const CONNECTIONS: u32 = 32;

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let mut peers = Vec::new();
    for kind in bench.kinds(EVERYONE) {
        peers.push(Peer::start(bench, kind, PLAIN)?);
    }
    for peer in &peers {
        peer.warm_up(bench, "http")?;
    }
    let nginx = peers.iter().find(|peer| peer.kind == Kind::Nginx).context("nginx gives the rate")?;
    let url = nginx.url("http", "/");
    let load = Wrk { url: &url, connections: CONNECTIONS, close: false, seconds: bench.seconds, cpus: CLIENT_CPUS };
    let maximum = wrk(&bench.lab, &load)?;
    let rate = (maximum.requests as f64 / maximum.seconds / 2.0) as u64;
    println!("  open loop at {rate} requests/s");

    let metric = |name, goal| Metric::new(scenario, name, "µs", Better::Lower, goal);
    let mut p50 = metric("p50", Some(Goal::Ratio(1.0)));
    let mut p99 = metric("p99", Some(Goal::Ratio(1.0)));
    // It tells whether the generator and the backend had time to spare, without which the latency would be theirs.
    let mut busy = Metric::new(scenario, "client and backend were busy", "CPUs", Better::Neither, None);
    for _ in 0..bench.rounds {
        for peer in &mut peers {
            let plan = Plan {
                target: peer.kind.target(),
                host: peer.kind.host().to_owned(),
                rate,
                connections: CONNECTIONS,
                seconds: Some(bench.seconds),
            };
            let before = busy_seconds(bench)?;
            let answer = Load::start(bench, &plan)?.finish()?;
            busy.push(peer.kind.name(), (busy_seconds(bench)? - before) / bench.seconds as f64);
            peer.ensure_running()?;
            ensure!(answer.failed == 0, "{} of {} requests to {} failed", answer.failed, answer.sent, peer.kind.name());
            p50.push(peer.kind.name(), answer.p50_us);
            p99.push(peer.kind.name(), answer.p99_us);
        }
    }
    Ok(vec![p50, p99, busy])
}

/// Processor seconds of the generators that have ended, and of the backend.
fn busy_seconds(bench: &Bench) -> Result<f64> {
    Ok(children_seconds()? + bench.lab.backend_seconds()?)
}
