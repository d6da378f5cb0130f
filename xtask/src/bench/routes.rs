//! Whether a look-up costs more with 10,000 routes than with one: the same load on Sluice in both states.
//!
//! Goes in: seconds of load. Comes out: requests per second with 10,000 routes, with one route as its peer.

use super::Bench;
use super::lab::CLIENT_CPUS;
use super::load::{Wrk, wrk};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::peer::{Kind, PLAIN, Peer, Setup};
use anyhow::{Result, ensure};

/// Routes of the large state.
pub const MANY: usize = 10_000;

/// Measures it in interleaved rounds. Both states need the same address, so each is started anew.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    ensure!(bench.sluice.is_some(), "this scenario has no peer");
    let goal = Some(Goal::Ratio(0.97));
    let mut metric = Metric::new(scenario, "requests", "requests/s", Better::Higher, goal);
    let one = Setup { share: bench.share, ..PLAIN };
    for _ in 0..bench.rounds {
        for (name, setup) in [("one route", one), (SUBJECT, Setup { routes: MANY, ..one })] {
            let mut peer = Peer::start(bench, Kind::Sluice, setup)?;
            peer.warm_up(bench, "http")?;
            let url = peer.url("http", "/");
            let load = Wrk { url: &url, connections: 32, close: false, seconds: bench.seconds, cpus: CLIENT_CPUS };
            let done = wrk(&bench.lab, &load)?;
            peer.ensure_running()?;
            metric.push(name, done.requests as f64 / done.seconds);
        }
    }
    Ok(vec![metric])
}
