//! From a change in the Kubernetes API until it is served, with 10,000 Ingresses and 50,000 endpoints.
//!
//! Goes in: nothing. Comes out: p50 and p99 of changes of an Ingress (another path) and of an EndpointSlice (its endpoint comes or
//! goes). The clock begins before the request of the change is sent to the API server, so what that takes is in it. Other slices
//! change meanwhile, ten a second, as they do in a cluster of that size.

use super::Bench;
use super::api::{Api, CHANGED, Control, Size, TOGGLED};
use super::client::{Client, request, request_path};
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric, SUBJECT, percentile};
use super::peer::Kind;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Changes of each kind in a round.
const CHANGES: usize = 200;

/// Rest between two changes.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two changes of other slices.
const CHURN_PAUSE: Duration = Duration::from_millis(100);

/// A change that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures it; the agent and the API stay over all rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let metric = |name, goal: Option<f64>| Metric::new(scenario, name, "ms", Better::Lower, goal.map(Goal::AtMost));
    let mut metrics = [
        (
            "ingress",
            metric("Ingress changed until served, p50", Some(5.0)),
            metric("Ingress changed until served, p99", Some(20.0)),
        ),
        (
            "endpoints",
            metric("endpoint changed until served, p50", Some(5.0)),
            metric("endpoint changed until served, p99", Some(20.0)),
        ),
    ];
    if bench.sluice.is_none() {
        return Ok(Vec::new());
    }
    let api = Api::start(bench, Size::LARGE)?;
    let _agent = api.start_sluice(bench)?;
    for round in 1..=bench.rounds {
        let args = ["api-change", &api.plain(), &Kind::Sluice.target(), &CHANGES.to_string()];
        let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        let value: Value = serde_json::from_slice(&output.stdout)?;
        for (kind, p50, p99) in &mut metrics {
            let number = |name: &str| value[*kind][name].as_f64().with_context(|| format!("no {name} of {kind}"));
            p50.push(SUBJECT, number("p50_ms")?);
            p99.push(SUBJECT, number("p99_ms")?);
        }
        println!("  round {round} of {}: {value}", bench.rounds);
    }
    Ok(metrics.into_iter().flat_map(|(_, p50, p99)| [p50, p99]).collect())
}

/// The tool: `api-change API TARGET COUNT`.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [api, target, count] = args else { bail!("api-change wants three words") };
    let (api, count): (_, usize) = (api.parse()?, count.parse()?);
    let mut control = Control::new(api);
    let mut client = Client::new(target.parse()?);
    let over = Arc::new(AtomicBool::new(false));
    let churn = thread::spawn({
        let over = over.clone();
        move || churn(&mut Control::new(api), &over)
    });
    let (mut of_ingress, mut of_endpoints) = (Vec::new(), Vec::new());
    for number in 0..count {
        // Never served before, in this round or an earlier one.
        let path = format!("/change-{}-{number}-", std::process::id());
        let start = Instant::now();
        control.path(&path)?;
        wait(&mut client, &request_path(CHANGED, &path), 200, start)?;
        of_ingress.push(start.elapsed().as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
        for (endpoints, status) in [(Vec::new(), 503), (vec![super::api::backend_endpoint()], 200)] {
            let start = Instant::now();
            control.endpoints("toggled-1", endpoints)?;
            wait(&mut client, &request(TOGGLED), status, start)?;
            of_endpoints.push(start.elapsed().as_secs_f64() * 1e3);
            thread::sleep(PAUSE);
        }
    }
    over.store(true, Ordering::Relaxed);
    let churned = churn.join().map_err(|_| anyhow::anyhow!("the churn has panicked"))??;
    let summary = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        json!({"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99), "max_ms": times.last()})
    };
    let (ingress, endpoints) = (summary(&mut of_ingress), summary(&mut of_endpoints));
    println!("{}", json!({"ingress": ingress, "endpoints": endpoints, "others_changed": churned}));
    Ok(())
}

/// Changes other slices until it is over; answers how many.
fn churn(control: &mut Control, over: &AtomicBool) -> Result<usize> {
    let mut changed = 0;
    while !over.load(Ordering::Relaxed) {
        control.churn(changed)?;
        changed += 1;
        thread::sleep(CHURN_PAUSE);
    }
    Ok(changed)
}

/// Asks on a new connection each time until the answer has this status.
fn wait(client: &mut Client, request: &[u8], status: u16, start: Instant) -> Result<()> {
    loop {
        client.close();
        if client.exchange(request)?.status == status {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "a change is not served after {PATIENCE:?}");
    }
}
