//! The start of an agent that reads 10,000 Ingresses and 50,000 endpoints from the Kubernetes API, and its memory then and after
//! as many changes as half an hour of a busy cluster brings.
//!
//! Goes in: nothing. Comes out: seconds until ready, memory then, and by how much it has grown after the changes. It may never
//! be ready before all is known: the last Ingress of the list must be served at the first moment.

use super::Bench;
use super::api::{Api, CHANGED, Size};
use super::client::request_path;
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::peer::{ADMIN, Kind};
use anyhow::{Context, Result, bail, ensure};
use std::process::Stdio;
use std::time::Instant;

/// Changes of slices: ten a second for 30 minutes.
const CHANGES: usize = 10 * 60 * 30;

/// Measures it, a start a round, and the changes once.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let metric = |name, unit, most| Metric::new(scenario, name, unit, Better::Lower, Some(Goal::AtMost(most)));
    let mut ready = metric("start until ready", "s", 5.0);
    let mut memory = metric("memory when ready", "MB", 150.0);
    let mut growth = metric("memory grown after 18,000 changes", "%", 5.0);
    if bench.sluice.is_none() {
        return Ok(Vec::new());
    }
    let api = Api::start(bench, Size::LARGE)?;
    for round in 1..=bench.rounds {
        let args = ["await-ready", ADMIN, "/readyz"];
        let mut waiter = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?;
        let waiter = waiter.stdout(Stdio::piped()).spawn()?;
        let start = Instant::now();
        let agent = api.start_sluice_unready(bench)?;
        let waited = waiter.wait_with_output()?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(waited.status.success(), "sluice does not get ready: {}", agent.last_lines());
        let last = ["fetch-status", &Kind::Sluice.target(), &api.last_host(), "/", "200"];
        let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &last)?.output()?;
        ensure!(output.status.success(), "ready before complete: {}", String::from_utf8_lossy(&output.stderr).trim());
        let bytes = agent.resident_bytes()?;
        ready.push(SUBJECT, seconds);
        memory.push(SUBJECT, bytes / 1e6);
        println!("  round {round} of {}: ready after {seconds:.2} s with {:.1} MB", bench.rounds, bytes / 1e6);
        if round == bench.rounds {
            let args = ["api-churn", &api.plain(), &CHANGES.to_string(), &Kind::Sluice.target()];
            let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?.output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            growth.push(SUBJECT, (agent.resident_bytes()? / bytes - 1.0) * 100.0);
        }
    }
    Ok(vec![ready, memory, growth])
}

/// The tool: `api-churn API COUNT TARGET`. Changes slices one after the other as fast as the API takes it, then an Ingress, and ends
/// when that is served: so everything before it has been seen.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [api, count, target] = args else { bail!("api-churn wants three words") };
    let mut control = super::api::Control::new(api.parse()?);
    for number in 0..count.parse()? {
        control.churn(number)?;
    }
    let path = format!("/churned-{}", std::process::id());
    control.path(&path)?;
    let mut client = super::client::Client::new(target.parse()?);
    let start = Instant::now();
    loop {
        let answer = client.exchange(&request_path(CHANGED, &path)).context("the agent does not answer")?;
        if answer.status == 200 {
            return Ok(());
        }
        ensure!(start.elapsed().as_secs() < 60, "the change is not served after a minute");
    }
}
