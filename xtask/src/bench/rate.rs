//! Closed-loop throughput: `wrk` keeps a number of connections busy, and each request is also priced in processor time.
//!
//! Goes in: a [`Rate`]. Comes out: the rate, the processor time of a request by process and by machine, and memory.

use super::Bench;
use super::lab::CLIENT_CPUS;
use super::load::{Done, Wrk, wrk};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::peer::{Kind, Peer, Setup};
use super::process::machine_busy_seconds;
use super::scenario::EVERYONE;
use anyhow::Result;

/// What is asked for, and how.
pub struct Rate {
    /// Path of the body.
    pub path: &'static str,
    /// Connections at the same time.
    pub connections: u32,
    /// A connection for each request.
    pub close: bool,
    /// Workers of each proxy.
    pub workers: u32,
    /// Whether bytes are counted instead of requests.
    pub bytes: bool,
    /// Asked of the rate.
    pub goal: Goal,
}

/// What a stretch of load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// What was done.
    pub done: Done,
    /// Processor seconds of the proxy.
    pub proxy_seconds: Option<f64>,
    /// Busy seconds of the whole machine.
    pub machine_seconds: f64,
}

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str, rate: &Rate) -> Result<Vec<Metric>> {
    let setup = Setup { workers: rate.workers, routes: 1 };
    let mut peers = Vec::new();
    for kind in bench.kinds(EVERYONE) {
        peers.push(Peer::start(bench, kind, setup)?);
    }
    for peer in &peers {
        peer.warm_up(bench, "http")?;
    }
    let mut metrics = Costs::new(scenario, rate);
    for round in 1..=bench.rounds {
        let mut direct = None;
        for peer in &mut peers {
            let url = peer.url("http", rate.path);
            let load = Wrk {
                url: &url,
                connections: rate.connections,
                close: rate.close,
                seconds: bench.seconds,
                cpus: client_cpus(rate.workers),
            };
            let cost = priced(peer, || wrk(&bench.lab, &load))?;
            peer.ensure_running()?;
            metrics.push(peer, &cost, &mut direct)?;
        }
        println!("  round {round} of {}: {}", bench.rounds, metrics.last_round());
    }
    Ok(metrics.into_metrics())
}

/// Beside one worker the client has the other core to itself and the backend; two workers share both with it.
pub fn client_cpus(workers: u32) -> &'static str {
    if workers == 1 { CLIENT_CPUS } else { "0-1" }
}

/// Does some load and says what it cost.
pub fn priced(peer: &Peer, load: impl FnOnce() -> Result<Done>) -> Result<Cost> {
    let proxy = || peer.process().map(super::process::Process::cpu_seconds).transpose();
    let (proxy_before, machine_before) = (proxy()?, machine_busy_seconds()?);
    let done = load()?;
    let (proxy_after, machine_after) = (proxy()?, machine_busy_seconds()?);
    Ok(Cost {
        done,
        proxy_seconds: proxy_after.zip(proxy_before).map(|(after, before)| after - before),
        machine_seconds: machine_after - machine_before,
    })
}

/// The metrics of a scenario of this kind while they are collected.
pub struct Costs {
    rate: Metric,
    machine: Metric,
    process: Metric,
    busy: Metric,
    memory: Metric,
    bytes: bool,
}

impl Costs {
    /// Metrics without samples.
    pub fn new(scenario: &'static str, rate: &Rate) -> Self {
        let (name, unit) = if rate.bytes { ("throughput", "MB/s") } else { ("requests", "requests/s") };
        Self::named(scenario, name, unit, rate.bytes, rate.goal)
    }

    /// The same for what is not an ordinary request.
    pub fn named(scenario: &'static str, name: &'static str, unit: &'static str, bytes: bool, goal: Goal) -> Self {
        let lower = |name, unit| Metric::new(scenario, name, unit, Better::Lower, None);
        Self {
            rate: Metric::new(scenario, name, unit, Better::Higher, Some(goal)),
            machine: lower("CPU of a request, machine less direct", "µs"),
            process: lower("CPU of a request, proxy's process", "µs"),
            // It tells whether the proxy or the client was the limit.
            busy: Metric::new(scenario, "the proxy's process was busy", "CPUs", Better::Neither, None),
            memory: lower("memory after load", "MB"),
            bytes,
        }
    }

    /// Adds what one contender did in a round; `direct` comes first and is what the machine's time is less.
    pub fn push(&mut self, peer: &Peer, cost: &Cost, direct: &mut Option<f64>) -> Result<()> {
        let name = peer.kind.name();
        let amount = if self.bytes { cost.done.bytes / 1e6 } else { cost.done.requests as f64 };
        self.rate.push(name, amount / cost.done.seconds);
        let each = |seconds: f64| seconds * 1e6 / cost.done.requests as f64;
        let machine = each(cost.machine_seconds);
        match (peer.kind, *direct) {
            (Kind::Direct, _) => *direct = Some(machine),
            (_, Some(direct)) => self.machine.push(name, machine - direct),
            (_, None) => {}
        }
        if let Some((seconds, process)) = cost.proxy_seconds.zip(peer.process()) {
            self.process.push(name, each(seconds));
            self.busy.push(name, seconds / cost.done.seconds);
            self.memory.push(name, process.resident_bytes()? / 1e6);
        }
        Ok(())
    }

    /// The rates of the last round, for the person who waits.
    pub fn last_round(&self) -> String {
        let last = |c: &super::measure::Contender| Some(format!("{} {:.0}", c.name, c.samples.last()?));
        let words: Vec<String> = self.rate.contenders.iter().filter_map(last).collect();
        format!("{} {}", words.join(", "), self.rate.unit)
    }

    /// What was collected, with a word when the proxy was not the limit.
    pub fn into_metrics(self) -> Vec<Metric> {
        // Below this the core of a single worker had time to spare, so the client or the backend was the limit.
        const SATURATED: f64 = 0.9;
        if let Some(busy) = self.busy.spread(SUBJECT).filter(|busy| busy.median < SATURATED) {
            println!(
                "  note: Sluice was busy {:.2} CPUs: the client was a limit too; compare the CPU of a request",
                busy.median
            );
        }
        let all = [self.rate, self.machine, self.process, self.busy, self.memory];
        all.into_iter().filter(|metric| !metric.contenders.is_empty()).collect()
    }
}
