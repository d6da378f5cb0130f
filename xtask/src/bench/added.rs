//! What a contender adds to the machine's processor time, where most of it is spent in the kernel and belongs to no process.
//!
//! Goes in: an [`Added`]. Comes out: the busy time of the whole machine for a unit of work, less that of the bare way to the
//! backend. The bare way is measured twice a round, first and last: the median of how far both differ is the noise. What
//! Sluice adds may be less than it; then the noise stands for it, which is said, and the ratio is a bound.

use super::Bench;
use super::carried::Carried;
use super::load::{Done, Wrk, ensure_bodies, wrk};
use super::measure::{Better, Goal, Metric, SUBJECT, spread};
use super::peer::{CARRIED, Kind, Peer};
use super::rate::{client_cpus, priced};
use super::scenario::SMALL_BODY;
use anyhow::{Context, Result};

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub enum Added {
    /// Requests with an answer of 36 bytes, nginx's to ours.
    Requests,
    /// Bodies of 10 MiB by TLS that passes through, HAProxy's to ours.
    Passthrough,
}

impl Added {
    fn contenders(self) -> &'static [Kind] {
        match self {
            Self::Requests => &[Kind::Direct, Kind::Nginx, Kind::Sluice],
            Self::Passthrough => &[Kind::Direct, Kind::Haproxy, Kind::Sluice],
        }
    }

    fn metric(self, scenario: &'static str) -> Metric {
        let metric = |name, unit, goal| Metric::new(scenario, name, unit, Better::Lower, Some(Goal::Ratio(goal)));
        match self {
            Self::Requests => metric("CPU added to a request, machine less direct", "µs", 15.0),
            Self::Passthrough => metric("CPU added to a GB, machine less direct", "ms", 4.0),
        }
    }

    fn connections(self) -> u32 {
        match self {
            Self::Requests => 32,
            Self::Passthrough => 8,
        }
    }

    fn body(self) -> u64 {
        match self {
            Self::Requests => SMALL_BODY,
            Self::Passthrough => 10 << 20,
        }
    }

    fn url(self, peer: &Peer) -> String {
        match self {
            Self::Requests => peer.url("http", "/"),
            Self::Passthrough => peer.passthrough_url("/body/10m"),
        }
    }

    /// Machine seconds in the metric's unit.
    fn price(self, seconds: f64, done: &Done) -> f64 {
        match self {
            Self::Requests => seconds * 1e6 / done.requests as f64,
            Self::Passthrough => seconds * 1e3 / (done.requests as f64 * self.body() as f64 / 1e9),
        }
    }
}

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str, added: Added) -> Result<Vec<Metric>> {
    let _spread = bench.lab.spread()?;
    let mut peers = Vec::new();
    for kind in bench.kinds(added.contenders()) {
        peers.push(Peer::start(bench, kind, CARRIED)?);
    }
    let mut whole =
        Metric::new(scenario, "CPU of the whole machine", added.metric(scenario).unit, Better::Neither, None);
    let mut samples: Vec<(Kind, f64)> = Vec::new();
    let mut noise = Vec::new();
    for round in 1..=bench.rounds {
        let mut costs = Vec::new();
        for peer in &mut peers {
            costs.push((peer.kind, cost_once(bench, added, peer)?));
        }
        let first = costs.iter().find(|(kind, _)| *kind == Kind::Direct).context("direct is measured")?.1;
        let direct = peers.iter_mut().find(|peer| peer.kind == Kind::Direct).context("direct is measured")?;
        let last = cost_once(bench, added, direct)?;
        noise.push((last - first).abs());
        costs.iter().for_each(|(kind, cost)| whole.push(kind.name(), *cost));
        whole.push(Kind::Direct.name(), last);
        let proxied = costs.iter().filter(|(kind, _)| *kind != Kind::Direct);
        samples.extend(proxied.map(|(kind, cost)| (*kind, cost - (first + last) / 2.0)));
        let words: Vec<String> = costs.iter().map(|(kind, cost)| format!("{} {cost:.1}", kind.name())).collect();
        println!("  round {round} of {}: {}, direct again {last:.1} {}", bench.rounds, words.join(", "), whole.unit);
    }
    let noise = spread(&noise).context("there were rounds")?.median;
    Ok(vec![above_noise(added.metric(scenario), &samples, noise), whole])
}

/// One stretch of load, and the machine's time for a unit of it.
fn cost_once(bench: &Bench, added: Added, peer: &mut Peer) -> Result<f64> {
    let url = added.url(peer);
    let connections = added.connections();
    let load = Wrk { url: &url, connections, close: false, seconds: bench.seconds, cpus: client_cpus(1) };
    let carried = match added {
        Added::Requests => Some(Carried::watch(bench, peer)?),
        // What passes through counts as no request at all, so its sign is that the agent needs no time.
        Added::Passthrough => None,
    };
    let cost = priced(bench, peer, || wrk(&bench.lab, &load))?;
    peer.ensure_running()?;
    carried.map_or(Ok(()), |carried| carried.ensure(bench, cost.done.requests, connections))?;
    ensure_bodies(&cost.done, added.body()).with_context(|| peer.kind.name())?;
    Ok(added.price(cost.machine_seconds, &cost.done))
}

/// The metric of these samples. Where Sluice's median is below the noise, the noise stands in its place.
pub fn above_noise(mut metric: Metric, samples: &[(Kind, f64)], noise: f64) -> Metric {
    let ours: Vec<f64> = samples.iter().filter(|(kind, _)| *kind == Kind::Sluice).map(|(_, added)| *added).collect();
    let drowned = spread(&ours).is_some_and(|ours| ours.median < noise);
    for (kind, added) in samples {
        metric.push(kind.name(), if drowned && kind.name() == SUBJECT { noise } else { *added });
    }
    if drowned {
        let measured = spread(&ours).map_or(0.0, |ours| ours.median);
        println!(
            "  note: what sluice adds drowns in the noise: {measured:.2} {0} where two measurements of direct differ by \
             {noise:.2} {0}, which stands for it; the ratio is a lower bound",
            metric.unit
        );
    }
    metric
}
