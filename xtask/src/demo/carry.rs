//! The same requests twice, each time over one connection: to a host whose requests are routed one by one, and to one whose
//! owner lets the kernel carry connections after their first request. Both lead to one service.
//!
//! Goes in: the running [`Network`]. Comes out: what each cost, the kernel's line of the carried one, and every fault: the
//! kernel must have carried all requests but the first. Does not do: load; one connection asks and waits in turn.

use super::network::{ADDRESS, Network, output};
use super::{METRICS, value};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Requests of each way: enough that the agent's processor time, counted in hundredths of a second, shows, and some seconds
/// of a debug build.
const REQUESTS: u64 = 5_000;

/// Kernel clock ticks in a second as `/proc` counts them (USER_HZ, 100 on every Linux architecture that we run on).
const TICKS_PER_SECOND: f64 = 100.0;

/// The host whose requests are routed one by one.
const ROUTED: &str = "http://shop.example/";

/// The host that `deploy/examples/steering.yaml` opts in.
const CARRIED: &str = "http://stream.example/";

/// Both ways.
pub struct Comparison {
    routed: Way,
    carried: Way,
    /// The carried connection, as `sluice flows` has it.
    flow: Value,
}

/// What one way cost.
struct Way {
    url: &'static str,
    explanation: Value,
    /// Requests that were answered with success, and by how many connections.
    answered: u64,
    connections: u64,
    /// Requests that userspace served.
    served: u64,
    /// Processor time of the agent for each request, µs.
    cpu_us: f64,
    /// Latency of a request as curl has it, µs.
    median_us: u64,
    p99_us: u64,
}

/// Sends the requests of both ways.
pub fn compare(network: &Network) -> Result<Comparison> {
    let routed = go(network, ROUTED)?;
    let carried = go(network, CARRIED)?;
    // The client has left, and the kernel keeps what is closing for some seconds.
    let text = output(
        network.client(network.sluice()).args(["flows", "--output", "json", "--run-dir"]).arg(network.run_dir()),
    )?;
    let flows: Value = serde_json::from_str(&text).context("the flows are not JSON")?;
    let carries_most = |flow: &&Value| flow["packets_down"].as_u64();
    let flow = flows["flows"].as_array().and_then(|flows| flows.iter().max_by_key(carries_most)).cloned();
    Ok(Comparison { routed, carried, flow: flow.unwrap_or_default() })
}

fn go(network: &Network, url: &'static str) -> Result<Way> {
    let mut explain = network.client(network.sluice());
    explain.args(["explain", "GET", url, "--output", "json", "--run-dir"]).arg(network.run_dir());
    let explanation = serde_json::from_str(&output(&mut explain)?).context("the explanation is not JSON")?;
    let served = || {
        value(&output(network.balancer("curl").args(["--silent", "--show-error", METRICS]))?, "sluice_requests_total")
    };
    let (served_before, cpu_before) = (served()?, network.agent_cpu_ticks()?);
    let mut curl = network.client("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--output", "/dev/null"]);
    curl.args([
        "--connect-to",
        &format!("::{ADDRESS}:"),
        "--write-out",
        "%{http_code} %{num_connects} %{time_total}\n",
    ]);
    let text = output(curl.arg(format!("{url}[1-{REQUESTS}]")))?;
    let (served_after, cpu_after) = (served()?, network.agent_cpu_ticks()?);
    let answers: Vec<(&str, u64, f64)> = text.lines().filter_map(read).collect();
    let mut times: Vec<u64> = answers.iter().map(|(_, _, seconds)| (seconds * 1e6) as u64).collect();
    times.sort_unstable();
    ensure!(!times.is_empty(), "{url}: curl had no answer");
    let time = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok(Way {
        url,
        explanation,
        answered: answers.iter().filter(|(status, _, _)| *status == "200").count() as u64,
        connections: answers.iter().map(|(_, connections, _)| connections).sum(),
        served: served_after.saturating_sub(served_before),
        cpu_us: (cpu_after.saturating_sub(cpu_before)) as f64 / TICKS_PER_SECOND * 1e6 / REQUESTS as f64,
        median_us: time(50),
        p99_us: time(99),
    })
}

/// Status, new connections and seconds of a line that curl wrote.
fn read(line: &str) -> Option<(&str, u64, f64)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl Way {
    fn class(&self) -> String {
        let word = |field: &str| self.explanation["class"][field].as_str().unwrap_or_default().to_owned();
        format!("{} ({})", word("class"), word("reason"))
    }

    fn reason(&self) -> &str {
        self.explanation["class_reason"].as_str().unwrap_or_default()
    }

    fn cells(&self) -> [String; 7] {
        [
            self.url.to_owned(),
            self.class(),
            self.answered.to_string(),
            self.served.to_string(),
            (self.answered.saturating_sub(self.served)).to_string(),
            format!("{:.0} us", self.cpu_us),
            format!("{} us, p99 {} us", self.median_us, self.p99_us),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "url": self.url,
            "class": self.explanation["class"]["class"],
            "reason": self.explanation["class"]["reason"],
            "class_reason": self.reason(),
            "requests": self.answered,
            "connections": self.connections,
            "served_by_userspace": self.served,
            "carried_by_the_kernel": self.answered.saturating_sub(self.served),
            "agent_cpu_us_per_request": self.cpu_us,
            "latency_median_us": self.median_us,
            "latency_p99_us": self.p99_us,
        })
    }
}

impl Comparison {
    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (way, served) in [(&self.routed, REQUESTS), (&self.carried, 1)] {
            if way.answered != REQUESTS || way.connections != 1 {
                let (url, answered, connections) = (way.url, way.answered, way.connections);
                faults
                    .push(format!("{url}: {answered} of {REQUESTS} requests answered, over {connections} connections"));
            }
            if way.served != served {
                faults.push(format!("{}: userspace served {} requests, not {served}", way.url, way.served));
            }
        }
        if self.carried.explanation["class"]["class"] != "spliced" {
            faults.push(format!("{CARRIED} is {}, not spliced", self.carried.class()));
        }
        let packets = self.flow["packets_down"].as_u64().unwrap_or_default();
        if packets < REQUESTS - 1 {
            faults.push(format!("the kernel carried {packets} packets to the client, and {} answers", REQUESTS - 1));
        }
        faults
    }

    /// The rows of a table, its header first.
    pub fn table(&self) -> Vec<[String; 7]> {
        let header = [
            "ONE CONNECTION TO",
            "CLASS",
            "ANSWERED",
            "BY USERSPACE",
            "BY THE KERNEL",
            "AGENT'S CPU FOR EACH",
            "LATENCY",
        ];
        vec![header.map(str::to_owned), self.routed.cells(), self.carried.cells()]
    }

    /// The line of the carried connection, and the reasons of both classes.
    pub fn notes(&self) -> Vec<String> {
        let word = |field: &str| self.flow[field].as_str().unwrap_or("-").to_owned();
        let number = |field: &str| self.flow[field].as_u64().unwrap_or_default();
        let line = format!(
            "`sluice flows`: {} to {} goes on from {} to {} ({}), {}, {} packets and {} bytes up, {} packets and {} bytes down",
            word("client"),
            word("local"),
            word("source"),
            word("backend"),
            word("service"),
            word("state"),
            number("packets_up"),
            number("bytes_up"),
            number("packets_down"),
            number("bytes_down"),
        );
        let reasons = [&self.routed, &self.carried].map(|way| format!("{}: {}", way.class(), way.reason()));
        [line].into_iter().chain(reasons).collect()
    }

    /// Both for scripts.
    pub fn json(&self) -> Value {
        json!({"routed": self.routed.json(), "carried": self.carried.json(), "flow": self.flow})
    }
}
