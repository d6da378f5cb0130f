//! Closed-loop throughput: `wrk` keeps a number of connections busy, and each request is also priced in processor time.
//!
//! Goes in: a [`Rate`]. Comes out: the rate, the processor time of a request by process and by machine, and memory.

use super::Bench;
use super::carried::Carried;
use super::lab::CLIENT_CPUS;
use super::load::{Done, Wrk, ensure_bodies, wrk};
use super::measure::{Better, Goal, Metric};
use super::peer::{Kind, Peer, Setup};
use super::process::{children_seconds, machine_busy_seconds};
use anyhow::{Context, Result};

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
    /// Bytes of a body.
    pub body: u64,
    /// Whether bytes of bodies are counted instead of requests.
    pub bytes: bool,
    /// Contenders in the order of a round.
    pub contenders: &'static [Kind],
    /// Asked of the rate.
    pub goal: Goal,
    /// Where the kernel carries connections: the ratio to plain routing that is asked as well.
    pub carried: Option<f64>,
}

/// What a stretch of load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// What was done.
    pub done: Done,
    /// Processor seconds of the proxy.
    pub proxy_seconds: Option<f64>,
    /// Processor seconds of the client and the backend, which share a core.
    pub load_seconds: f64,
    /// Busy seconds of the whole machine.
    pub machine_seconds: f64,
}

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str, rate: &Rate) -> Result<Vec<Metric>> {
    let setup = Setup { workers: rate.workers, routes: 1, share: bench.share, carried: false };
    // There the proxies have no quota: nothing would be in the way of what the kernel carries.
    let setup = if rate.carried.is_some() { Setup { share: None, carried: true, ..setup } } else { setup };
    let _spread = rate.carried.map(|_| bench.lab.spread()).transpose()?;
    let mut peers = Vec::new();
    for kind in bench.kinds(rate.contenders) {
        peers.push(Peer::start(bench, kind, setup)?);
    }
    for peer in &peers {
        peer.warm_up(bench, "http")?;
        peer.ensure_body(bench, rate.path, rate.body)?;
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
            let carried = if rate.carried.is_some() { Some(Carried::watch(bench, peer)?) } else { None };
            let cost = priced(bench, peer, || wrk(&bench.lab, &load))?;
            carried.map_or(Ok(()), |carried| carried.ensure(bench, cost.done.requests, rate.connections))?;
            peer.ensure_running()?;
            ensure_bodies(&cost.done, rate.body).with_context(|| peer.kind.name())?;
            metrics.push(peer, &cost, &mut direct)?;
        }
        println!("  round {round} of {}: {}", bench.rounds, metrics.last_round());
    }
    Ok(metrics.into_metrics(bench))
}

/// Beside one worker the client has the other core to itself and the backend; two workers share both with it.
pub fn client_cpus(workers: u32) -> &'static str {
    if workers == 1 { CLIENT_CPUS } else { "0-1" }
}

/// Does some load and says what it cost.
pub fn priced(bench: &Bench, peer: &Peer, load: impl FnOnce() -> Result<Done>) -> Result<Cost> {
    let proxy = || peer.process().map(super::process::Process::cpu_seconds).transpose();
    let client = || Ok::<_, anyhow::Error>(children_seconds()? + bench.lab.backend_seconds()?);
    let (proxy_before, load_before, machine_before) = (proxy()?, client()?, machine_busy_seconds()?);
    let done = load()?;
    let (proxy_after, load_after, machine_after) = (proxy()?, client()?, machine_busy_seconds()?);
    Ok(Cost {
        done,
        proxy_seconds: proxy_after.zip(proxy_before).map(|(after, before)| after - before),
        load_seconds: load_after - load_before,
        machine_seconds: machine_after - machine_before,
    })
}

/// The metrics of a scenario of this kind while they are collected.
pub struct Costs {
    rate: Metric,
    machine: Metric,
    process: Metric,
    load: Metric,
    busy: Metric,
    memory: Metric,
    /// Bytes of bodies in a unit of the rate; nothing when requests are counted.
    body: Option<u64>,
    workers: u32,
    /// What is asked of the rate beside plain routing, with the metric's name.
    plain: Option<(&'static str, f64)>,
}

impl Costs {
    /// Metrics without samples.
    pub fn new(scenario: &'static str, rate: &Rate) -> Self {
        let (name, unit) = if rate.bytes { ("throughput", "MB/s") } else { ("requests", "requests/s") };
        let machine = "CPU of a request, machine less direct";
        let mut costs = Self::named(scenario, name, unit, machine, rate.goal);
        let name = if rate.bytes { "throughput to plain routing" } else { "requests to plain routing" };
        let plain = rate.carried.map(|goal| (name, goal));
        if plain.is_some() {
            // What is carried adds next to nothing, so there is no ratio to it: `splice-cpu` says what can be said.
            costs.machine.better = Better::Neither;
        }
        Self { body: rate.bytes.then_some(rate.body), workers: rate.workers, plain, ..costs }
    }

    /// The same where there is no bare way to the backend, which has no TLS: the machine's time is that of all.
    pub fn without_direct(scenario: &'static str, name: &'static str, unit: &'static str, goal: Goal) -> Self {
        Self::named(scenario, name, unit, "CPU of a request, machine", goal)
    }

    fn named(
        scenario: &'static str,
        name: &'static str,
        unit: &'static str,
        machine: &'static str,
        goal: Goal,
    ) -> Self {
        let lower = |name, unit| Metric::new(scenario, name, unit, Better::Lower, None);
        Self {
            rate: Metric::new(scenario, name, unit, Better::Higher, Some(goal)),
            machine: lower(machine, "µs"),
            process: lower("CPU of a request, proxy's process", "µs"),
            // Both tell whether the proxy or the client was the limit.
            load: Metric::new(scenario, "CPU of a request, client and backend", "µs", Better::Neither, None),
            busy: Metric::new(scenario, "the proxy's process was busy", "CPUs", Better::Neither, None),
            memory: lower("memory after load", "MB"),
            body: None,
            workers: 1,
            plain: None,
        }
    }

    /// Adds what one contender did in a round; `direct` comes first and is what the machine's time is less.
    pub fn push(&mut self, peer: &Peer, cost: &Cost, direct: &mut Option<f64>) -> Result<()> {
        let name = peer.kind.name();
        // Not the bytes that were read: a proxy that writes longer heads is no faster.
        let amount = cost.done.requests as f64 * self.body.map_or(1.0, |bytes| bytes as f64 / 1e6);
        self.rate.push(name, amount / cost.done.seconds);
        let each = |seconds: f64| seconds * 1e6 / cost.done.requests as f64;
        let machine = each(cost.machine_seconds);
        match (peer.kind, *direct) {
            (Kind::Direct, _) => *direct = Some(machine),
            (_, direct) => self.machine.push(name, machine - direct.unwrap_or_default()),
        }
        self.load.push(name, each(cost.load_seconds));
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

    /// What was collected, with a word about each proxy that was not the limit.
    pub fn into_metrics(self, bench: &Bench) -> Vec<Metric> {
        // Below this part of its quota the proxy had time to spare, so the client or the backend was the limit.
        const SATURATED: f64 = 0.9;
        let quota = f64::from(self.workers) * bench.share.unwrap_or(1.0);
        for contender in self.busy.contenders.iter().filter(|_| self.plain.is_none()) {
            let busy = self.busy.spread(&contender.name).map_or(0.0, |busy| busy.median);
            if busy < SATURATED * quota {
                println!(
                    "  note: {} was busy {busy:.2} of {quota:.2} CPUs: the client was a limit too, or the machine was \
                     not quiet; compare the CPU of a request",
                    contender.name
                );
            }
        }
        let plain = self.plain.map(|(name, goal)| self.rate.beside("direct", name, Goal::Ratio(goal)));
        let all = [self.rate, self.machine, self.process, self.load, self.busy, self.memory];
        all.into_iter().chain(plain).filter(|metric| !metric.contenders.is_empty()).collect()
    }
}
