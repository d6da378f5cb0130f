//! What a contender adds to the machine's processor time, where most of it is spent in the kernel and belongs to no process.
//!
//! Goes in: an [`Added`]. Comes out: the busy time of the whole machine for a unit of work, less that of the bare way to the
//! backend, from many short slices of load, each between two of the bare way, so that what the machine does beside falls on
//! both. The median over the slices has an uncertainty ([`uncertainty`]). Where what Sluice adds is less than that, it
//! drowns: the upper end of what it may be stands for it, which is said, and the ratio is a lower bound.

use super::Bench;
use super::carried::{Carried, Passed};
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

/// Seconds of a slice: the shortest load that `wrk` takes.
const SLICE_S: u64 = 1;

/// Measures it in interleaved slices, one for each second that each peer is under load in all rounds.
pub fn run(bench: &Bench, scenario: &'static str, added: Added) -> Result<Vec<Metric>> {
    let _spread = bench.lab.spread()?;
    let mut peers = Vec::new();
    for kind in bench.kinds(added.contenders()) {
        peers.push(Peer::start(bench, kind, CARRIED)?);
    }
    let direct = peers.iter().position(|peer| peer.kind == Kind::Direct).context("direct is measured")?;
    let mut direct = peers.remove(direct);
    let mut whole =
        Metric::new(scenario, "CPU of the whole machine", added.metric(scenario).unit, Better::Neither, None);
    let mut samples: Vec<(Kind, f64)> = Vec::new();
    let mut before = cost_once(bench, added, &mut direct)?;
    whole.push(Kind::Direct.name(), before);
    for round in 1..=bench.rounds {
        for _ in 0..bench.seconds.div_ceil(SLICE_S) {
            for peer in &mut peers {
                let cost = cost_once(bench, added, peer)?;
                let after = cost_once(bench, added, &mut direct)?;
                whole.push(peer.kind.name(), cost);
                whole.push(Kind::Direct.name(), after);
                samples.push((peer.kind, cost - f64::midpoint(before, after)));
                before = after;
            }
        }
        let median = |kind: Kind| spread(&of(&samples, kind)).map_or(0.0, |spread| spread.median);
        let words: Vec<String> =
            peers.iter().map(|peer| format!("{} {:.2}", peer.kind.name(), median(peer.kind))).collect();
        println!("  round {round} of {}: added so far {} {}", bench.rounds, words.join(", "), whole.unit);
    }
    Ok(vec![above_noise(added.metric(scenario), &samples), whole])
}

/// One slice of load, and the machine's time for a unit of it.
fn cost_once(bench: &Bench, added: Added, peer: &mut Peer) -> Result<f64> {
    let url = added.url(peer);
    let connections = added.connections();
    let load = Wrk { url: &url, connections, close: false, seconds: SLICE_S, cpus: client_cpus(1) };
    let requests = match added {
        Added::Requests => Some(Carried::watch(bench, peer)?),
        // What passes through is no request of userspace's, carried or not: its bytes are counted instead.
        Added::Passthrough => None,
    };
    let passed = Passed::watch(bench, peer)?;
    let cost = priced(bench, peer, || wrk(&bench.lab, &load))?;
    peer.ensure_running()?;
    requests.map_or(Ok(()), |carried| carried.ensure(bench, cost.done.requests, connections))?;
    passed.ensure(bench, cost.done.bytes)?;
    ensure_bodies(&cost.done, added.body()).with_context(|| peer.kind.name())?;
    Ok(added.price(cost.machine_seconds, &cost.done))
}

fn of(samples: &[(Kind, f64)], wanted: Kind) -> Vec<f64> {
    samples.iter().filter(|(kind, _)| *kind == wanted).map(|(_, added)| *added).collect()
}

/// How far the median of samples may be from the truth, with 95 % confidence: twice its standard error, taken from the
/// median absolute deviation as for a normal distribution. Infinite for fewer than two samples.
pub fn uncertainty(samples: &[f64]) -> f64 {
    /// From the median absolute deviation to the standard deviation.
    const DEVIATION: f64 = 1.4826;
    /// From the standard error of a mean to that of a median, the root of π/2.
    const MEDIAN: f64 = 1.2533;
    let Some(middle) = spread(samples).filter(|_| samples.len() > 1) else { return f64::INFINITY };
    let away: Vec<f64> = samples.iter().map(|sample| (sample - middle.median).abs()).collect();
    let away = spread(&away).map_or(f64::INFINITY, |spread| spread.median);
    2.0 * DEVIATION * MEDIAN * away / (samples.len() as f64).sqrt()
}

/// The metric of these samples. Where Sluice's median is below its uncertainty, the most that it may be stands in its place.
pub fn above_noise(mut metric: Metric, samples: &[(Kind, f64)]) -> Metric {
    let ours = of(samples, Kind::Sluice);
    let noise = uncertainty(&ours);
    let drowned = spread(&ours).map(|ours| ours.median).filter(|median| *median < noise);
    let bound = drowned.map(|median| median.max(0.0) + noise);
    for (kind, added) in samples {
        let shown = if kind.name() == SUBJECT { bound.unwrap_or(*added) } else { *added };
        metric.push(kind.name(), shown);
    }
    if let (Some(median), Some(bound)) = (drowned, bound) {
        println!(
            "  note: what sluice adds drowns in the noise: {median:.2} {0} ± {noise:.2} {0} in the median of {1} slices, so it \
             counts as {bound:.2} {0}, and the ratio is a lower bound",
            metric.unit,
            ours.len()
        );
    }
    metric
}
