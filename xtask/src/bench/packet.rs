//! What the programs take for a packet, as the kernel counts it (`kernel.bpf_stats_enabled`) while connections are carried.
//!
//! Goes in: nothing. Comes out: nanoseconds of a run of each program, and of all runs. The counting itself, two readings of
//! the clock for a run, is in them. Does not run programs on made packets: the tests of the crate `tests` do that.

use super::Bench;
use super::carried::Carried;
use super::load::{Wrk, wrk};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::peer::{CARRIED, Kind, Peer};
use super::rate::client_cpus;
use anyhow::{Context, Result, ensure};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

const CONNECTIONS: u32 = 32;

/// Runs of a program that are enough to speak of it.
const RUNS_MIN: u64 = 1_000;

/// Kernel statistics while they are switched on.
struct Statistics {
    before: String,
}

impl Statistics {
    fn on() -> Result<Self> {
        let before = std::fs::read_to_string(SWITCH).context("the kernel keeps no statistics of programs")?;
        std::fs::write(SWITCH, "1")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(SWITCH, self.before.trim()) {
            eprintln!("  {SWITCH} stays 1: {error}");
        }
    }
}

/// Runs of a program and their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its number in the kernel.
    pub id: u64,
    /// How often it ran.
    pub runs: u64,
    /// How long in all.
    pub time_ns: u64,
}

/// Measures it, a stretch of load a round.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let mut metric = Metric::new(
        scenario,
        "a run of a program, of which a packet has two",
        "ns",
        Better::Lower,
        Some(Goal::AtMost(250.0)),
    );
    let mut slowest = Metric::new(scenario, "a run of the program that translates", "ns", Better::Neither, None);
    if bench.sluice.is_none() {
        return Ok(Vec::new());
    }
    let _spread = bench.lab.spread()?;
    let peer = Peer::start(bench, Kind::Sluice, CARRIED)?;
    let pid = peer.process().context("sluice has a process")?.pid();
    let _statistics = Statistics::on()?;
    for _ in 0..bench.rounds {
        let carried = Carried::watch(bench, &peer)?;
        let before = programs(pid)?;
        let url = peer.url("http", "/");
        let load =
            Wrk { url: &url, connections: CONNECTIONS, close: false, seconds: bench.seconds, cpus: client_cpus(1) };
        let done = wrk(&bench.lab, &load)?;
        let grown: Vec<Program> = programs(pid)?.iter().filter_map(|program| program.since(&before)).collect();
        carried.ensure(bench, done.requests, CONNECTIONS)?;
        let (runs, time) = grown.iter().fold((0, 0), |(runs, time), p| (runs + p.runs, time + p.time_ns));
        ensure!(runs >= done.requests * 2, "{runs} runs of programs for {} requests and their answers", done.requests);
        metric.push(SUBJECT, time as f64 / runs as f64);
        let of_one = grown.iter().map(|p| p.time_ns as f64 / p.runs as f64).fold(0.0, f64::max);
        slowest.push(SUBJECT, of_one);
    }
    Ok(vec![metric, slowest])
}

impl Program {
    /// What was added since an earlier look; nothing where it hardly ran.
    fn since(&self, before: &[Self]) -> Option<Self> {
        let old = before.iter().find(|old| old.id == self.id)?;
        let grown = Self { id: self.id, runs: self.runs - old.runs, time_ns: self.time_ns - old.time_ns };
        (grown.runs >= RUNS_MIN).then_some(grown)
    }
}

/// The programs of a process that sit on interfaces, each once, by its descriptors. See proc_pid_fdinfo(5).
fn programs(pid: u32) -> Result<Vec<Program>> {
    let mut found: Vec<Program> = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        // A descriptor may be closed while the list is read.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        if let Some(program) = parse(&text).filter(|program| found.iter().all(|other| other.id != program.id)) {
            found.push(program);
        }
    }
    ensure!(!found.is_empty(), "the agent holds no program");
    Ok(found)
}

/// A program of traffic control (type 3, `BPF_PROG_TYPE_SCHED_CLS`); nothing for other descriptors.
pub fn parse(text: &str) -> Option<Program> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    (field("prog_type")? == 3).then_some(())?;
    Some(Program { id: field("prog_id")?, runs: field("run_cnt")?, time_ns: field("run_time_ns")? })
}
