//! What a hand-off takes in userspace, as the agent itself counts it, and what a client sees of its first request.
//!
//! Goes in: nothing. Comes out: median and 99th percentile of what the agent does between a request that has been read and
//! the moment from which the kernel carries the connection: the socket towards the endpoint is made such that it can be
//! joined, the numbers of both connections are read, and the entries are put in. The kernel takes over by itself when the
//! answer comes, so the dialling of the endpoint and its answer are no part of it; both are in the client's time, beside.
//! Closing the sockets afterwards delays nobody and is shown apart. Percentiles are interpolated within the agent's buckets,
//! and those of the two steps are added, which is more than the percentile of their sum.

use super::Bench;
use super::carried::{metrics, value};
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric, SUBJECT, percentile};
use super::peer::{CARRIED, Kind, Peer};
use super::scenario::EVERYONE;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Connections in a round; ports towards the endpoint are left to rest a minute, and there are 10,000.
const CONNECTIONS: u64 = 1_000;

/// Buckets of a histogram: upper bounds in µs, and how many in all were at most as much.
type Buckets = Vec<(f64, f64)>;

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let _spread = bench.lab.spread()?;
    let mut peers = Vec::new();
    for kind in bench.kinds(EVERYONE) {
        peers.push(Peer::start(bench, kind, CARRIED)?);
    }
    let metric = |name, goal: Option<f64>| Metric::new(scenario, name, "µs", Better::Lower, goal.map(Goal::AtMost));
    let mut own = [metric("hand-off, median", Some(50.0)), metric("hand-off, p99", Some(200.0))];
    let mut after =
        [metric("closing both sockets afterwards, median", None), metric("closing both sockets afterwards, p99", None)];
    let mut client =
        [metric("connection and first answer, median", None), metric("connection and first answer, p99", None)];
    for _ in 0..bench.rounds {
        for peer in &mut peers {
            let before = if peer.kind == Kind::Sluice { Some(metrics(bench)?) } else { None };
            let args = ["first-requests", &peer.kind.target(), peer.kind.host(), &CONNECTIONS.to_string()];
            let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?.output()?;
            let fault = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "first requests to {}: {}", peer.kind.name(), fault.trim());
            peer.ensure_running()?;
            let times: Value = serde_json::from_slice(&output.stdout)?;
            for (metric, name) in client.iter_mut().zip(["p50_us", "p99_us"]) {
                metric.push(peer.kind.name(), times[name].as_f64().context("no time")?);
            }
            let Some(before) = before else { continue };
            let text = metrics(bench)?;
            let step = |name| during(&before, &text, name);
            let (socket, begin, surrender) = (step("socket")?, step("begin")?, step("surrender")?);
            let carried = surrender.last().map_or(0.0, |(_, count)| *count);
            ensure!(carried >= CONNECTIONS as f64 * 0.99, "the kernel took {carried} of {CONNECTIONS} connections");
            for (place, part) in [0.5, 0.99].into_iter().enumerate() {
                own[place].push(SUBJECT, quantile(&socket, part)? + quantile(&begin, part)?);
                after[place].push(SUBJECT, quantile(&surrender, part)?);
            }
        }
    }
    Ok(own.into_iter().chain(after).chain(client).collect())
}

/// The tool: `first-requests TARGET HOST COUNT` opens connections one after the other, each with one request, and prints what
/// it took from the connection's first packet to the end of the answer.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [target, host, count] = args else { bail!("first-requests wants three words") };
    let request = super::client::request(host);
    let mut client = super::client::Client::new(target.parse()?);
    let mut times = Vec::new();
    for _ in 0..count.parse::<u64>()? {
        let start = Instant::now();
        let answer = client.exchange(&request)?;
        times.push(start.elapsed());
        client.close();
        ensure!(answer.status == 200, "status {}", answer.status);
        // The agent closes its sockets after the answer is here; the next connection is not to wait for that.
        std::thread::sleep(Duration::from_micros(500));
    }
    times.sort_unstable();
    let micros = |part| percentile(&times, part).map(|time: Duration| time.as_secs_f64() * 1e6);
    println!("{}", json!({"p50_us": micros(0.5), "p99_us": micros(0.99)}));
    Ok(())
}

/// The histogram of a step between two scrapes.
fn during(before: &str, after: &str, step: &str) -> Result<Buckets> {
    let start = "sluice_handoff_duration_seconds_bucket{le=\"";
    let mut buckets = Vec::new();
    for line in after.lines().filter(|line| line.starts_with(start)) {
        let Some((name, _)) = line.rsplit_once(' ') else { continue };
        let Some((bound, labels)) = name[start.len()..].split_once('"') else { continue };
        if labels.contains(&format!("step=\"{step}\"")) {
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse::<f64>()? * 1e6 };
            buckets.push((bound, value(after, name)? - value(before, name)?));
        }
    }
    ensure!(!buckets.is_empty(), "the agent tells nothing of the step {step}");
    Ok(buckets)
}

/// The time that a part (0 to 1) did not exceed, as if times lay evenly within a bucket; the last bound for more than that.
pub fn quantile(buckets: &Buckets, part: f64) -> Result<f64> {
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    ensure!(all > 0.0, "nothing was counted");
    let rank = all * part;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            return Ok(if bound.is_finite() { low + (bound - low) * (rank - below) / (count - below) } else { low });
        }
        (low, below) = (*bound, *count);
    }
    Ok(low)
}
