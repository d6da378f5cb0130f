//! How long after one Ingress among 10,000 changes the change is served, and whether any request fails meanwhile.
//!
//! Goes in: nothing. Comes out: p99 over all changes of a round, and failed requests of the load beside it. nginx gets
//! the same change as a rewritten server block and a reload; fewer changes, since each takes so much longer.

use super::Bench;
use super::change::PATH;
use super::lab::{CLIENT_CPUS, Room, path_text};
use super::manifest::{CHANGED_FILE, changed_ingress, changed_server};
use super::measure::{Better, Goal, Metric};
use super::open_loop::{Load, Plan};
use super::peer::{Kind, PLAIN, Peer, Setup};
use super::routes::MANY;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Changes in a round: 1,000 in the five rounds that there are unless said.
const CHANGES: usize = 200;

/// The same for nginx, a reload each, which takes it a good part of a second with 10,000 servers.
const RELOADS: usize = 10;

/// Load beside the changes, requests/s.
const RATE: u64 = 1_000;

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let metric = |name, unit, goal| Metric::new(scenario, name, unit, Better::Lower, goal);
    let mut p50 = metric("change until served, p50", "ms", None);
    let mut p99 = metric("change until served, p99", "ms", Some(Goal::AtMost(20.0)));
    // One sample for all rounds: a median would forget the failures of two rounds in five.
    let mut failed = metric("failed requests in all changes", "requests", Some(Goal::AtMost(0.0)));
    let mut all_failed = BTreeMap::new();
    for _ in 0..bench.rounds {
        for kind in bench.kinds(&[Kind::Nginx, Kind::Sluice]) {
            let changes = if kind == Kind::Nginx { RELOADS } else { CHANGES };
            let seen = change_often(bench, kind, changes)?;
            p50.push(kind.name(), seen.p50_ms);
            p99.push(kind.name(), seen.p99_ms);
            *all_failed.entry(kind.name()).or_insert(0) += seen.failed;
        }
    }
    all_failed.iter().for_each(|(name, count)| failed.push(name, *count as f64));
    Ok(vec![p50, p99, failed])
}

/// What a round of changes showed.
struct Seen {
    p50_ms: f64,
    p99_ms: f64,
    failed: u64,
}

fn change_often(bench: &Bench, kind: Kind, changes: usize) -> Result<Seen> {
    let mut peer = Peer::start(bench, kind, Setup { routes: MANY, ..PLAIN })?;
    peer.warm_up(bench, "http")?;
    let (file, pattern) = prepare(&peer)?;
    let plan = Plan {
        target: peer.kind.target(),
        host: peer.kind.host().to_owned(),
        rate: RATE,
        connections: 8,
        seconds: None,
    };
    let load = Load::start(bench, &plan)?;
    let mut args = vec!["change".to_owned(), kind.target(), changes.to_string()];
    args.extend([path_text(&file)?, path_text(&pattern)?]);
    if kind == Kind::Nginx {
        args.push(peer.process().context("nginx has a process")?.pid().to_string());
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &words)?.output();
    let load = load.finish()?;
    let output = output?;
    ensure!(output.status.success(), "{}: {}", kind.name(), String::from_utf8_lossy(&output.stderr));
    peer.ensure_running()?;
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| value[name].as_f64().with_context(|| format!("no {name}"));
    let failed = load.failed + number("failed")? as u64;
    Ok(Seen { p50_ms: number("p50_ms")?, p99_ms: number("p99_ms")?, failed })
}

/// Lays the pattern of a changed file beside the configuration; answers the file that changes, and the pattern.
fn prepare(peer: &Peer) -> Result<(PathBuf, PathBuf)> {
    let (file, text) = match peer.kind {
        Kind::Sluice => (peer.dir().join("manifests").join(CHANGED_FILE), changed_ingress(PATH)),
        kind => (peer.dir().join("changed.conf"), changed_server(kind.address(), PATH)),
    };
    let pattern = peer.dir().join("change-pattern");
    std::fs::write(&pattern, text)?;
    Ok((file, pattern))
}
