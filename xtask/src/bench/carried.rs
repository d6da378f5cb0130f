//! The proof that the kernel carried what was measured: Sluice itself counts the requests that userspace served.
//!
//! Goes in: a contender, before and after load. Comes out: an error where userspace had more than a small part of it, and
//! Sluice's metrics for others to read. Contenders that are not Sluice prove nothing.

use super::Bench;
use super::lab::{CLIENT_CPUS, Room};
use super::peer::{ADMIN, Kind, Peer};
use anyhow::{Context, Result, ensure};

/// Requests that userspace may serve for each that the kernel carries, beside the first one of each connection.
const SERVED_PART_MAX: f64 = 0.01;

/// Requests that Sluice had served in userspace before the load.
pub struct Carried(Option<f64>);

impl Carried {
    /// Begins to watch.
    pub fn watch(bench: &Bench, peer: &Peer) -> Result<Self> {
        let served = || value(&metrics(bench)?, SERVED);
        Ok(Self(if peer.kind == Kind::Sluice { Some(served()?) } else { None }))
    }

    /// An error unless nearly all of `requests` but the first of each connection passed userspace by.
    pub fn ensure(self, bench: &Bench, requests: u64, connections: u32) -> Result<()> {
        let Some(before) = self.0 else { return Ok(()) };
        let text = metrics(bench)?;
        let served = value(&text, SERVED)? - before;
        let refused: Vec<&str> =
            text.lines().filter(|l| l.starts_with("sluice_splice_refused") && !l.ends_with(" 0")).collect();
        ensure!(
            served <= f64::from(connections) + requests as f64 * SERVED_PART_MAX,
            "userspace served {served} of {requests} requests that the kernel should have carried: {refused:?}"
        );
        ensure!(
            value(&text, "sluice_splice_late_total")? == 0.0,
            "a byte came to the agent past the programs: what follows was measured with a repetition"
        );
        Ok(())
    }
}

const SERVED: &str = "sluice_requests_total";

/// Bytes towards clients that the kernel had carried before the load.
pub struct Passed(Option<f64>);

/// Part of the bytes that clients read which the kernel must have carried: all but handshakes.
const PASSED_PART_MIN: f64 = 0.95;

impl Passed {
    /// Begins to watch.
    pub fn watch(bench: &Bench, peer: &Peer) -> Result<Self> {
        Ok(Self(if peer.kind == Kind::Sluice { Some(value(&metrics(bench)?, DOWN)?) } else { None }))
    }

    /// An error unless the kernel carried nearly all of `bytes`.
    pub fn ensure(self, bench: &Bench, bytes: f64) -> Result<()> {
        let Some(before) = self.0 else { return Ok(()) };
        let passed = value(&metrics(bench)?, DOWN)? - before;
        ensure!(passed >= bytes * PASSED_PART_MIN, "the kernel carried {passed:.0} of {bytes:.0} bytes");
        Ok(())
    }
}

const DOWN: &str = "sluice_splice_bytes_total{direction=\"down\"}";

/// Sluice's metrics.
pub fn metrics(bench: &Bench) -> Result<String> {
    let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &["scrape", ADMIN, "/metrics"])?.output()?;
    ensure!(output.status.success(), "no metrics: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// The value of the line that begins with a name and its labels.
pub fn value(metrics: &str, name: &str) -> Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|rest| rest.trim().parse().ok()).with_context(|| format!("no metric {name}"))
}
