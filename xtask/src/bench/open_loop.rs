//! A small open-loop generator: requests are due at fixed times, and latency counts from when a request was due, so a
//! slow answer cannot hide the requests that wait behind it (no coordinated omission).
//!
//! Goes in: a [`Plan`]. Comes out: an [`Answer`], as JSON from the tool that runs in the client's namespace.
//! What connections do is [`lanes`]'s work.

use super::Bench;
use super::client::request;
use super::lab::{CLIENT_CPUS, Room};
use super::lanes::{self, Schedule, Seen};
use super::measure::percentile;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Address and port.
    pub target: String,
    /// Host of every request.
    pub host: String,
    /// Requests per second.
    pub rate: u64,
    /// Connections that share the rate.
    pub connections: u32,
    /// How long; nothing is until [`Load::finish`].
    pub seconds: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Requests that were due.
    pub sent: u64,
    /// Those without an answer of 200.
    pub failed: u64,
    /// Median latency from the due time, µs.
    pub p50_us: f64,
    /// 99th percentile, µs.
    pub p99_us: f64,
}

/// Load that runs in the background.
pub struct Load(Child);

impl Load {
    /// Starts a plan in the client's namespace.
    pub fn start(bench: &Bench, plan: &Plan) -> Result<Self> {
        let (rate, connections) = (plan.rate.to_string(), plan.connections.to_string());
        let seconds = plan.seconds.map_or("-".to_owned(), |seconds| seconds.to_string());
        let args = ["open-loop", &plan.target, &plan.host, &rate, &connections, &seconds];
        let mut command = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.context("cannot start the open loop")?))
    }

    /// Waits for the end of a plan, and brings it about where the plan has no length.
    pub fn finish(self) -> Result<Answer> {
        // This closes the tool's standard input.
        let output = self.0.wait_with_output()?;
        ensure!(output.status.success(), "the open loop failed");
        let value: Value = serde_json::from_slice(&output.stdout)?;
        let count = |name: &str| value[name].as_u64().with_context(|| format!("no {name}"));
        let time = |name: &str| value[name].as_f64().with_context(|| format!("no {name}"));
        Ok(Answer { sent: count("sent")?, failed: count("failed")?, p50_us: time("p50_us")?, p99_us: time("p99_us")? })
    }
}

/// The tool: `open-loop TARGET HOST RATE CONNECTIONS SECONDS`; `-` for seconds is until the end of standard input.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [target, host, rate, connections, seconds] = args else { bail!("open-loop wants five words") };
    let target: SocketAddr = target.parse()?;
    let (rate, connections): (u64, u32) = (rate.parse()?, connections.parse()?);
    let stop = Arc::new(AtomicBool::new(false));
    let count = match *seconds {
        "-" => {
            stop_with_input(stop.clone());
            u64::MAX
        }
        seconds => rate * seconds.parse::<u64>()?,
    };
    ensure!(rate > 0 && connections > 0, "a rate and connections are needed");
    // The kernel wakes a sleeper on time instead of up to 50 µs late. See proc_pid_timerslack_ns(5).
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    let gap = Duration::from_secs_f64(1.0 / rate as f64);
    let start = Instant::now() + Duration::from_millis(100);
    let request = request(host);
    let schedule = Schedule { target, request: &request, start, gap, count, connections, stop: &stop };
    let Seen { mut latencies, failed } = lanes::run(&schedule)?;
    latencies.sort_unstable();
    let micros = |part| percentile(&latencies, part).map(|time: Duration| time.as_secs_f64() * 1e6);
    let sent = latencies.len() as u64 + failed;
    println!("{}", json!({"sent": sent, "failed": failed, "p50_us": micros(0.5), "p99_us": micros(0.99)}));
    Ok(())
}

/// Sets the sign when standard input ends.
fn stop_with_input(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // An error of the pipe means its end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
}
