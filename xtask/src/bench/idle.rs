//! What an idle connection costs in memory of the proxy's processes: 10,000 are opened, one request is made on each.
//!
//! Goes in: `http` or `https`. Comes out: bytes that each connection adds, and the whole process with all of them, since
//! some set memory aside for connections before there are any. The kernel's own memory is the same for all and not counted. `h2load` holds the connections: it paces the second request of each so that it is not due before the end.

use super::Bench;
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric};
use super::peer::{Kind, PLAIN, Peer};
use super::process::Process;
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 10_000;

/// How long opening them may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opened evenly, 1,000 in a second. All at once, each with a request, would need an upstream connection each, and what is
/// measured would be what a burst of requests leaves behind instead of what a connection holds.
const OPENED_PER_PERIOD: &str = "10";
const PERIOD: &str = "10ms";

/// Seconds between two requests of a connection: longer than all of the measurement.
const PACE_SECONDS: u64 = 400;

/// Measures it in interleaved rounds, each with a new process, since freed memory is kept by allocators.
pub fn run(bench: &Bench, scenario: &'static str, scheme: &str, kinds: &[Kind]) -> Result<Vec<Metric>> {
    let mut metric = Metric::new(scenario, "memory of a connection", "bytes", Better::Lower, Some(Goal::Ratio(1.0)));
    let mut whole = Metric::new(scenario, "memory with 10,000 connections", "MB", Better::Lower, None);
    for _ in 0..bench.rounds {
        for kind in bench.kinds(kinds) {
            let (before, after) =
                hold_once(bench, kind, scheme).with_context(|| format!("idle connections of {}", kind.name()))?;
            metric.push(kind.name(), (after - before) / CONNECTIONS as f64);
            whole.push(kind.name(), after / 1e6);
        }
    }
    Ok(vec![metric, whole])
}

/// Resident bytes without a connection, and with all of them.
fn hold_once(bench: &Bench, kind: Kind, scheme: &str) -> Result<(f64, f64)> {
    let mut peer = Peer::start(bench, kind, PLAIN)?;
    peer.warm_up(bench, scheme)?;
    let resident = |peer: &Peer| peer.process().context("a proxy has a process")?.resident_bytes();
    let before = resident(&peer)?;
    let mut command = bench.lab.command(Room::Client, CLIENT_CPUS, "h2load");
    let (count, pace) = (CONNECTIONS.to_string(), (1.0 / PACE_SECONDS as f64).to_string());
    let total = (CONNECTIONS * 3).to_string();
    command
        .args(["--h1", "-c", &count, "-n", &total, "--rps", &pace, "-r", OPENED_PER_PERIOD, "--rate-period", PERIOD])
        .arg(peer.url(scheme, "/"));
    let mut holder = Process::start("h2load", command, &bench.lab.dir().join("h2load.log"))?;
    let port = if scheme == "https" { 443 } else { 80 };
    wait_for_connections(bench, &mut holder, kind, port)?;
    // A worker that sheds its buffers when idle may do so.
    std::thread::sleep(Duration::from_secs(1));
    holder.ensure_running()?;
    peer.ensure_running()?;
    ensure!(established(bench, kind, port)? >= CONNECTIONS, "connections were lost while they idled");
    Ok((before, resident(&peer)?))
}

/// Waits until all connections are open and have been answered: no more bytes move.
fn wait_for_connections(bench: &Bench, holder: &mut Process, kind: Kind, port: u16) -> Result<()> {
    let start = Instant::now();
    let mut busy = holder.cpu_seconds()?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        holder.ensure_running()?;
        let open = established(bench, kind, port)?;
        let now = holder.cpu_seconds()?;
        // The client rests only when every handshake is done and every answer was read.
        if open >= CONNECTIONS && now - busy < 0.02 {
            return Ok(());
        }
        busy = now;
        ensure!(start.elapsed() < PATIENCE, "{open} of {CONNECTIONS} connections are open after {PATIENCE:?}");
    }
}

/// Established connections to the proxy, seen from the client.
fn established(bench: &Bench, kind: Kind, port: u16) -> Result<usize> {
    let mut command: Command = bench.lab.command(Room::Client, CLIENT_CPUS, "ss");
    let filter = format!("dst {} and dport = :{port}", kind.address());
    let output = command.args(["--no-header", "-tn", "state", "established"]).arg(filter).output()?;
    ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}
