//! A small open-loop generator: requests are due at fixed times, and latency counts from when a request was due, so a
//! slow answer cannot hide the requests that wait behind it (no coordinated omission).
//!
//! Goes in: a [`Plan`]. Comes out: an [`Answer`], as JSON from the tool that runs in the client's namespace.
//! Each connection is a thread with a blocking socket and every `connections`-th due time.

use super::Bench;
use super::client::{Client, request};
use super::lab::{CLIENT_CPUS, Room};
use super::measure::percentile;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Latencies of a connection that have room from the start, so that no measurement waits for memory: 100 s of 1,000 a second.
const LATENCIES_MAX: u64 = 100_000;

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
    let each = match *seconds {
        "-" => {
            stop_with_input(stop.clone());
            u64::MAX
        }
        seconds => (rate * seconds.parse::<u64>()?).div_ceil(u64::from(connections)),
    };
    ensure!(rate > 0 && connections > 0, "a rate and connections are needed");
    // Threads inherit it: the kernel wakes sleepers on time instead of up to 50 µs late. See proc_pid_timerslack_ns(5).
    std::fs::write("/proc/self/timerslack_ns", "1")?;
    let gap = Duration::from_secs_f64(f64::from(connections) / rate as f64);
    let start = Instant::now() + Duration::from_millis(100);
    let request = request(host);
    let lanes: Vec<Lane> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let first = start + gap.mul_f64(f64::from(number) / f64::from(connections));
                let (request, stop) = (&request, &stop);
                scope.spawn(move || run_lane(target, request, first, gap, each, stop))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a lane does not panic")).collect()
    });
    let sent: u64 = lanes.iter().map(|lane| lane.latencies.len() as u64 + lane.failed).sum();
    let failed: u64 = lanes.iter().map(|lane| lane.failed).sum();
    let mut latencies: Vec<Duration> = lanes.into_iter().flat_map(|lane| lane.latencies).collect();
    latencies.sort_unstable();
    let micros = |part| percentile(&latencies, part).map(|time: Duration| time.as_secs_f64() * 1e6);
    println!("{}", json!({"sent": sent, "failed": failed, "p50_us": micros(0.5), "p99_us": micros(0.99)}));
    Ok(())
}

/// What one connection saw.
struct Lane {
    latencies: Vec<Duration>,
    failed: u64,
}

/// Sets the sign when standard input ends.
fn stop_with_input(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // An error of the pipe means its end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
}

fn run_lane(target: SocketAddr, request: &[u8], first: Instant, gap: Duration, count: u64, stop: &AtomicBool) -> Lane {
    let mut client = Client::new(target);
    // Before the first request is due; when it fails, the first exchange tries again and counts the failure.
    let _ = client.connect();
    let mut lane = Lane { latencies: Vec::with_capacity(count.min(LATENCIES_MAX) as usize), failed: 0 };
    for number in 0..count {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = first + gap.mul_f64(number as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match client.exchange(request) {
            Ok(answer) if answer.status == 200 => lane.latencies.push(due.elapsed()),
            Ok(_) => lane.failed += 1,
            Err(error) => {
                // Said, since a count alone does not tell what broke.
                if lane.failed == 0 {
                    eprintln!("  a request failed: {error:#}");
                }
                lane.failed += 1;
            }
        }
    }
    lane
}
