//! Requests over HTTP/2 and TLS: `h2load` keeps ten streams of each connection busy.
//!
//! Goes in: seconds of load. Comes out: requests per second and what each costs. The peer is nginx; hyper is shown beside
//! it. The backend speaks HTTP/1.1 to all of them.

use super::Bench;
use super::load::{Streams, streams};
use super::measure::{Goal, Metric};
use super::peer::{Kind, PLAIN, Peer, Setup};
use super::rate::{Costs, priced};
use super::scenario::SMALL_BODY;
use anyhow::Result;

const CONTENDERS: &[Kind] = &[Kind::Nginx, Kind::Hyper, Kind::Sluice];

/// Connections at the same time.
const CONNECTIONS: u32 = 16;

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let mut peers = Vec::new();
    for kind in bench.kinds(CONTENDERS) {
        peers.push(Peer::start(bench, kind, Setup { share: bench.share, ..PLAIN })?);
    }
    for peer in &peers {
        peer.warm_up(bench, "https")?;
    }
    let mut costs = Costs::without_direct(scenario, "requests", "requests/s", Goal::Ratio(1.0));
    for round in 1..=bench.rounds {
        for peer in &mut peers {
            let load = Streams {
                host: peer.kind.host(),
                connections: CONNECTIONS,
                streams: 10,
                seconds: bench.seconds,
                body: SMALL_BODY,
            };
            let cost = priced(bench, peer, || streams(&bench.lab, &load))?;
            peer.ensure_running()?;
            costs.push(peer, &cost, &mut None)?;
        }
        println!("  round {round} of {}: {}", bench.rounds, costs.last_round());
    }
    Ok(costs.into_metrics(bench))
}
