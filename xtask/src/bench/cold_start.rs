//! From the start of a process with 10,000 Ingresses to its first moment of service, and its memory then.
//!
//! Goes in: nothing. Comes out: seconds until `/readyz` answers 200 (for nginx: until it takes connections), and memory.

use super::Bench;
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric};
use super::peer::{ADMIN, Kind, PLAIN, Peer, Setup};
use super::routes::MANY;
use anyhow::{Result, ensure};
use std::process::Stdio;
use std::time::Instant;

/// Measures it in interleaved rounds, each with a new process.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let setup = Setup { routes: MANY, ..PLAIN };
    let mut ready = Metric::new(scenario, "start until ready", "s", Better::Lower, Some(Goal::AtMost(2.0)));
    let mut memory = Metric::new(scenario, "memory when ready", "MB", Better::Lower, Some(Goal::AtMost(60.0)));
    for _ in 0..bench.rounds {
        for kind in bench.kinds(&[Kind::Nginx, Kind::Sluice]) {
            let (seconds, bytes) = start_once(bench, kind, setup)?;
            ready.push(kind.name(), seconds);
            memory.push(kind.name(), bytes / 1e6);
        }
    }
    Ok(vec![ready, memory])
}

/// One start: seconds until it serves, resident bytes then.
fn start_once(bench: &Bench, kind: Kind, setup: Setup) -> Result<(f64, f64)> {
    // The files are the disk's, not the start's, so they lie there already.
    let dir = Peer::prepare(bench, kind, setup)?;
    let address = format!("{}:80", kind.address());
    let (target, path) = if kind == Kind::Sluice { (ADMIN, "/readyz") } else { (address.as_str(), "-") };
    let mut waiter = bench.lab.tool(Room::Client, CLIENT_CPUS, &["await-ready", target, path])?;
    let waiter = waiter.stdout(Stdio::piped()).spawn()?;
    let start = Instant::now();
    let peer = Peer::start_prepared(bench, kind, setup, dir)?;
    let waited = waiter.wait_with_output()?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(waited.status.success(), "{} does not get ready", kind.name());
    let bytes = peer.process().map_or(Ok(0.0), super::process::Process::resident_bytes)?;
    Ok((seconds, bytes))
}
