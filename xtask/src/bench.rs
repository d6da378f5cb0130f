//! `cargo xtask bench`: measures Sluice against nginx and HAProxy in network namespaces.
//!
//! Owns: the command line and the order of work. Goes in: names of scenarios and how long to measure. Comes out: a table,
//! what falls short of its goal, `--json`, and after a run of everything `docs/benchmarks.md` with its plots.
//! Does not do: any measurement. [`scenario`] lists them; each kind is a file.

mod added;
mod api;
mod api_cold_start;
mod api_propagation;
mod await_ready;
mod carried;
mod change;
mod client;
mod cold_start;
mod echo;
mod flow_memory;
mod handoff;
mod handshake;
mod idle;
mod lab;
mod lanes;
mod latency;
mod load;
mod machine;
mod manifest;
mod measure;
mod open_loop;
mod packet;
mod peer;
mod pods;
mod process;
mod quota;
mod rate;
mod reconfigure;
mod report;
mod requirements;
mod rolling_restart;
mod routes;
mod scenario;
mod streams;
mod svg;
#[cfg(test)]
mod tests;
mod websocket;

use crate::build;
use anyhow::{Context, Result, bail, ensure};
use lab::Lab;
use measure::Metric;
use peer::Kind;
use scenario::Scenario;
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: cargo xtask bench [SCENARIO…] [--rounds N] [--seconds N] [--json FILE] [--list] [--agent FILE]
                         [--peers-only]

  SCENARIO        what to measure; all of them when none is named, and then docs/benchmarks.md is written
  --rounds N      interleaved rounds, 5 unless said
  --seconds N     how long each peer is under load in a round, 3 unless said
  --share N       percent of a core that a proxy may use in scenarios of throughput, 30 unless said; 100 is all of it
  --json FILE     also write the results there
  --list          print the scenarios
  --agent FILE    measure this binary of sluice instead of building one, to compare versions; `sluice-hyper-proxy`
                  is taken from the same directory
  --peers-only    leave Sluice out: tries the laboratory and the peers";

/// What the command line said.
struct Options {
    scenarios: Vec<&'static Scenario>,
    rounds: usize,
    seconds: u64,
    share: u32,
    json: Option<PathBuf>,
    list: bool,
    agent: Option<PathBuf>,
    peers_only: bool,
}

/// What every scenario works with.
pub struct Bench {
    /// Namespaces, backend and files.
    pub lab: Lab,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Seconds of load for each peer in a round.
    pub seconds: u64,
    /// Part of a core that each worker may use in scenarios of throughput; nothing is no limit.
    pub share: Option<f64>,
    /// The release binary; nothing when only the peers are measured.
    pub sluice: Option<PathBuf>,
    /// The proxy on hyper; nothing when there is none beside the binary that `--agent` names.
    pub hyper: Option<PathBuf>,
}

impl Bench {
    /// `kinds` in their order, without those whose binary is not there.
    pub fn kinds(&self, kinds: &[Kind]) -> Vec<Kind> {
        let is_there = |kind: &Kind| match kind {
            Kind::Sluice => self.sluice.is_some(),
            Kind::Hyper => self.hyper.is_some(),
            Kind::Direct | Kind::Nginx | Kind::Haproxy => true,
        };
        kinds.iter().copied().filter(is_there).collect()
    }
}

/// Runs `cargo xtask bench ARGS`.
pub fn run(args: &[&str]) -> Result<()> {
    match args {
        ["tool", tool @ ..] => return run_tool(tool),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => {}
    }
    let options = parse(args)?;
    if options.list {
        scenario::ALL.iter().for_each(|s| println!("{:<18} {}", s.name, s.what));
        return Ok(());
    }
    requirements::check_or_install()?;
    let agent = match (&options.agent, options.peers_only) {
        (Some(file), _) => file.canonicalize().with_context(|| format!("no agent {}", file.display()))?,
        // What an earlier build left; only its directory matters.
        (None, true) => build::target_dir().join("release/sluice"),
        (None, false) => build_agent()?,
    };
    let hyper = Some(agent.with_file_name("sluice-hyper-proxy")).filter(|file| file.exists());
    let sluice = Some(agent).filter(|_| !options.peers_only);
    let machine = machine::describe(sluice.as_deref(), options.rounds, options.seconds, options.share)?;
    report::print_machine(&machine);
    let lab = Lab::new().context("cannot make the laboratory")?;
    let share = (options.share < 100).then_some(f64::from(options.share) / 100.0);
    let bench = Bench { lab, rounds: options.rounds, seconds: options.seconds, share, sluice, hyper };
    let (metrics, failures) = measure_all(&bench, &options.scenarios);
    drop(bench);
    report::print_verdict(&metrics);
    if let Some(file) = &options.json {
        report::write_json(file, &machine, &metrics)?;
    }
    ensure!(failures.is_empty(), "{} scenarios failed: {}", failures.len(), failures.join("; "));
    if options.scenarios.len() == scenario::ALL.len() && !options.peers_only {
        report::write_docs(&build::root().join("docs"), &machine, &metrics)?;
    }
    Ok(())
}

/// One scenario after the other; one that fails does not stop the others, and is an error at the end.
fn measure_all(bench: &Bench, scenarios: &[&'static Scenario]) -> (Vec<Metric>, Vec<String>) {
    let (mut metrics, mut failures) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        println!("\n{}: {}", scenario.name, scenario.what);
        match scenario.run(bench) {
            Ok(found) => {
                found.iter().for_each(report::print_metric);
                metrics.extend(found);
            }
            Err(error) => {
                println!("  FAILED: {error:#}");
                failures.push(scenario.name.to_owned());
            }
        }
    }
    (metrics, failures)
}

/// What this binary does inside a namespace; a command of its own because a process lives in one namespace.
fn run_tool(args: &[&str]) -> Result<()> {
    match args {
        ["guard", tag, dir] => lab::guard(tag, Path::new(dir)),
        ["open-loop", args @ ..] => open_loop::run_tool(args),
        ["await-ready", address, path] => await_ready::run_tool(address, path),
        ["scrape", address, path] => client::scrape(address, path),
        ["fetch", target, host, path, bytes] => client::fetch(target, host, path, bytes),
        ["first-requests", args @ ..] => handoff::run_tool(args),
        ["echo", address] => echo::run_server(address),
        ["messages", target, host, seconds] => echo::run_messages(target, host, seconds),
        ["hold", target, host, count] => echo::run_hold(target, host, count),
        ["change", args @ ..] => change::run_tool(args),
        ["fetch-status", target, host, path, status] => client::fetch_status(target, host, path, status),
        ["api-change", args @ ..] => api_propagation::run_tool(args),
        ["api-churn", args @ ..] => api_cold_start::run_tool(args),
        ["roll", args @ ..] => rolling_restart::run_tool(args),
        _ => bail!("no such tool"),
    }
}

fn build_agent() -> Result<PathBuf> {
    build::ebpf()?;
    build::workspace(true)?;
    let sluice = build::target_dir().join("release/sluice");
    ensure!(sluice.exists(), "the build made no {}", sluice.display());
    Ok(sluice)
}

fn parse(args: &[&str]) -> Result<Options> {
    let mut options = Options {
        scenarios: Vec::new(),
        rounds: 5,
        seconds: 3,
        share: 30,
        json: None,
        list: false,
        agent: None,
        peers_only: false,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value\n{USAGE}"));
        match *word {
            "--rounds" => options.rounds = number(value()?)?,
            "--seconds" => options.seconds = number(value()?)?,
            "--share" => options.share = number(value()?)?,
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--agent" => options.agent = Some(PathBuf::from(value()?)),
            "--list" => options.list = true,
            "--peers-only" => options.peers_only = true,
            name => options.scenarios.push(
                scenario::find(name).with_context(|| format!("no scenario or option `{name}`; --list names them"))?,
            ),
        }
    }
    if options.scenarios.is_empty() {
        options.scenarios = scenario::ALL.iter().collect();
    }
    Ok(options)
}

fn number<T: std::str::FromStr + PartialOrd + Default>(word: &str) -> Result<T> {
    word.parse().ok().filter(|n| *n > T::default()).with_context(|| format!("`{word}` is not a number above 0"))
}
