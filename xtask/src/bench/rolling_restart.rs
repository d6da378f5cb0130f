//! A rolling restart of 100 endpoints behind one Ingress, under load: requests that fail.
//!
//! Goes in: nothing. Comes out: failed requests over all rounds, and the latency of the load. The tool that runs in the
//! backend's namespace starts the next pod, tells the API of it, ends an old one at once, and tells the API of that a moment
//! later, as the kubelet and the controller of endpoints do, of whom neither waits for the other.

use super::Bench;
use super::api::{Api, Size};
use super::lab::{BACKEND_CPUS, Room};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::open_loop::{Load, Plan};
use super::peer::Kind;
use super::pods::{self, Pod};
use anyhow::{Result, bail, ensure};
use serde_json::json;
use std::collections::VecDeque;
use std::thread::sleep;
use std::time::Duration;

/// Endpoints that are replaced.
const PODS: usize = 100;

/// Endpoints at the same time.
const REPLICAS: usize = 100;

/// Load, requests/s.
const RATE: u64 = 5_000;

/// Between the end of a pod and the change of its endpoint in the API.
const LAG: Duration = Duration::from_millis(50);

/// Between one replacement and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Measures it, a rolling restart a round.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let metric = |name, unit, goal| Metric::new(scenario, name, unit, Better::Lower, goal);
    let mut failed = metric("failed requests in all restarts", "requests", Some(Goal::AtMost(0.0)));
    let mut p99 = metric("latency meanwhile, p99", "ms", None);
    if bench.sluice.is_none() {
        return Ok(Vec::new());
    }
    let mut all_failed = 0;
    for round in 1..=bench.rounds {
        let api = Api::start(bench, Size::SMALL)?;
        let args = ["roll", &api.plain(), "prepare"];
        let mut pods = bench.lab.tool(Room::Backend, BACKEND_CPUS, &args)?;
        let mut pods = pods.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn()?;
        let mut output = std::io::BufReader::new(pods.stdout.take().expect("it is piped"));
        let rolled = roll(bench, &api, &mut pods, &mut output);
        // It has ended, or is to.
        let ended = pods.kill().and_then(|()| pods.wait());
        let answer = rolled?;
        ended?;
        all_failed += answer.failed;
        p99.push(SUBJECT, answer.p99_us / 1e3);
        println!("  round {round} of {}: {} of {} requests failed", bench.rounds, answer.failed, answer.sent);
    }
    failed.push(SUBJECT, all_failed as f64);
    Ok(vec![failed, p99])
}

fn roll(
    bench: &Bench,
    api: &Api,
    pods: &mut std::process::Child,
    output: &mut impl std::io::BufRead,
) -> Result<super::open_loop::Answer> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(line.trim() == "prepared", "the pods are not prepared: {line}");
    let _agent = api.start_sluice(bench)?;
    let plan = Plan {
        target: Kind::Sluice.target(),
        host: "changed.bench".to_owned(),
        rate: RATE,
        connections: 16,
        seconds: None,
    };
    let load = Load::start(bench, &plan)?;
    sleep(Duration::from_millis(500));
    use std::io::Write;
    pods.stdin.as_mut().expect("it is piped").write_all(b"roll\n")?;
    line.clear();
    output.read_line(&mut line)?;
    let done = line.trim() == "rolled";
    sleep(Duration::from_millis(200));
    let answer = load.finish()?;
    ensure!(done, "the pods were not replaced: {line}");
    Ok(answer)
}

/// The tool: `roll API prepare`. Says `prepared` when the first pods run and the API knows them; after a line on standard
/// input replaces all, and says `rolled`.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [api, "prepare"] = args else { bail!("roll wants the address of the API") };
    let mut control = super::api::Control::new(api.parse()?);
    let mut running: VecDeque<Pod> = VecDeque::new();
    for number in 0..REPLICAS {
        running.push_back(Pod::start(pods::address(number))?);
    }
    tell(&mut control, &running)?;
    println!("prepared");
    std::io::stdin().read_line(&mut String::new())?;
    for number in REPLICAS..REPLICAS + PODS {
        running.push_back(Pod::start(pods::address(number))?);
        tell(&mut control, &running)?;
        sleep(PAUSE);
        drop(running.pop_front());
        sleep(LAG);
        tell(&mut control, &running)?;
    }
    println!("rolled");
    sleep(Duration::from_secs(3600));
    Ok(())
}

/// Makes the API's endpoints those of the pods that run.
fn tell(control: &mut super::api::Control, running: &VecDeque<Pod>) -> Result<()> {
    let endpoint = |pod: &Pod| json!({"addresses": [pod.address.to_string()], "conditions": {"ready": true}});
    control.endpoints("changed-1", running.iter().map(endpoint).collect())
}
