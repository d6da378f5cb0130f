//! Results for people and programs: lines on the terminal, JSON, and `docs/benchmarks.md` with its plots.
//!
//! Goes in: the machine and the metrics. Comes out: text. Does not do: judging; a [`Metric`] knows whether it met its goal.

use super::measure::{Goal, Metric, SUBJECT};
use super::{scenario, svg};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Prints machine, placement and versions.
pub fn print_machine(machine: &Map<String, Value>) {
    for (name, value) in machine {
        match value {
            Value::Object(versions) => {
                versions.iter().for_each(|(name, value)| println!("{name:<20} {}", plain(value)))
            }
            _ => println!("{name:<20} {}", plain(value)),
        }
    }
}

/// Prints a metric in a line: medians with extremes, ratio, verdict.
pub fn print_metric(metric: &Metric) {
    let values: Vec<String> = metric
        .contenders
        .iter()
        .filter_map(|c| Some(format!("{} {}", c.name, spread_text(metric, &c.name)?)))
        .collect();
    let ratio = metric.ratio().map_or(String::new(), |ratio| format!("; ratio {ratio:.2}"));
    let verdict = match metric.met() {
        Some(true) => "; met",
        Some(false) => "; NOT MET",
        None => "",
    };
    println!("  {} [{}]: {}{ratio}{verdict}", metric.name, metric.unit, values.join(", "));
}

/// Prints what falls short of its goal, and by how much.
pub fn print_verdict(metrics: &[Metric]) {
    let (met, missed): (Vec<_>, Vec<_>) =
        metrics.iter().filter(|metric| metric.met().is_some()).partition(|metric| metric.met() == Some(true));
    println!("\n{} goals met, {} missed", met.len(), missed.len());
    for metric in missed {
        println!("  {}", shortfall_text(metric));
    }
}

/// Writes the JSON that other programs read.
pub fn write_json(file: &Path, machine: &Map<String, Value>, metrics: &[Metric]) -> Result<()> {
    let text = serde_json::to_string_pretty(&to_json(machine, metrics))?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// `{"machine": {…}, "results": [{"scenario", "metric", "unit", "sluice", "peers", "ratio", "goal", "met"}]}`; values are
/// medians. `sluice` is null when only the peers were measured, `goal` and `met` for what only explains.
pub fn to_json(machine: &Map<String, Value>, metrics: &[Metric]) -> Value {
    let results: Vec<Value> = metrics.iter().map(metric_json).collect();
    json!({"machine": machine, "results": results})
}

fn metric_json(metric: &Metric) -> Value {
    let others = metric.contenders.iter().filter(|contender| contender.name != SUBJECT);
    let peers: Map<String, Value> =
        others.filter_map(|c| Some((c.name.clone(), json!(metric.spread(&c.name)?.median)))).collect();
    let goal = metric.goal.map(|goal| match goal {
        Goal::Ratio(goal) | Goal::AtMost(goal) => goal,
    });
    json!({
        "scenario": metric.scenario,
        "metric": metric.name,
        "unit": metric.unit,
        "sluice": metric.spread(SUBJECT).map(|spread| spread.median),
        "peers": peers,
        "ratio": metric.ratio(),
        "goal": goal,
        "met": metric.met(),
    })
}

/// Writes `benchmarks.md` and a plot for each metric that has a goal.
pub fn write_docs(docs: &Path, machine: &Map<String, Value>, metrics: &[Metric]) -> Result<()> {
    let plots = docs.join("benchmarks");
    if plots.exists() {
        std::fs::remove_dir_all(&plots)?;
    }
    std::fs::create_dir_all(&plots)?;
    for metric in metrics.iter().filter(|metric| metric.goal.is_some()) {
        std::fs::write(plots.join(plot_name(metric)), svg::bars(metric))?;
    }
    let file = docs.join("benchmarks.md");
    std::fs::write(&file, to_markdown(machine, metrics)).with_context(|| format!("cannot write {}", file.display()))
}

/// The document.
pub fn to_markdown(machine: &Map<String, Value>, metrics: &[Metric]) -> String {
    let mut text = INTRODUCTION.to_owned();
    for (name, value) in machine {
        match value {
            Value::Object(versions) => versions.iter().for_each(|(n, v)| text += &format!("| {n} | {} |\n", plain(v))),
            _ => text += &format!("| {} | {} |\n", name.replace('_', " "), plain(value)),
        }
    }
    text += "\n## Short of the goal\n\n";
    let missed: Vec<&Metric> = metrics.iter().filter(|metric| metric.met() == Some(false)).collect();
    if missed.is_empty() {
        text += "Every goal is met.\n";
    }
    missed.iter().for_each(|metric| text += &format!("- {}\n", shortfall_text(metric)));
    for scenario in scenario::ALL {
        let of_it: Vec<&Metric> = metrics.iter().filter(|metric| metric.scenario == scenario.name).collect();
        if !of_it.is_empty() {
            text += &format!("\n## {}\n\n{}.\n", scenario.name, scenario.what);
            of_it.iter().for_each(|metric| text += &section(metric));
        }
    }
    text
}

const INTRODUCTION: &str = "\
# Benchmarks

Written by `cargo xtask bench`; do not edit. Client, proxy and backend run in network namespaces of one machine, so
figures compare contenders with one another and say little about other machines. Contenders take turns within each
round. A value is the median of the rounds, with the smallest and the largest in brackets. The ratio is Sluice to the
better peer, turned so that more than 1 means that Sluice wins. The configurations of the peers are
`xtask/src/bench/nginx.conf` and `xtask/src/bench/haproxy.cfg`. Two contenders explain and are no peers: `direct` is the
way to the backend without a proxy, `hyper` is the least reverse proxy that hyper makes
(`tests/src/bin/hyper_proxy.rs`: no routes, no limits, no forwarded fields, one thread), so it says what hyper costs.

**Why a quota.** Client and backend make as many system calls for a request as the proxy between them, and `wrk` with
nginx behind it takes as much processor time for a request as each of the proxies, or more. With a core for the proxy
and a core for the rest, the rest is full first: all proxies then get the same requests/s, which are the client's. So in
the scenarios of throughput and handshakes each worker may use a part of its core, set by the kernel (CPU bandwidth of a
control group) and equal for all contenders. The proxy is then the limit, and requests/s say what it does with its time.
Each scenario shows the processor time of a request on both sides, so that this can be checked: the client has a whole
core, the proxy the part that `quota` names, and the proxy is the limit while its share divided by its time for a
request is less than one core divided by the client's. `the proxy's process was busy` must be close to its share; where
it is less, the client was the limit after all. Latency, changes, cold start and idle connections have no quota, and
`direct` has none anywhere. `--share 100` measures without.

**Where the kernel carries connections** (`splice-…`, `passthrough-cpu`, `handoff`, `websocket`) no proxy is in the way after
the first request, so a quota would bind the peers alone. There is none: the client has CPU 0, the backend CPU 1, and the
proxies run on either, equal for all. So the whole machine is the limit, and requests/s fall with everything that a
contender adds to what client and backend need themselves; where these take more than half of the machine, a ratio of 2 is
out of reach whatever Sluice does, and `direct` says how much is left. `direct` has interfaces of its own, where none of
Sluice's programs is. That the kernel carried what was measured is checked:
Sluice's own count of requests must not grow by more than the first of each connection, the kernel's count of bytes must hold those that the
client read, and no byte may have come past the programs.
Processor time that is added to a request is the busy time of the whole machine in a slice of one second, less the mean of those of `direct`
just before and just after it; the median of the slices has an uncertainty (95 %, from their median absolute deviation). What is less than that
drowns in it, and then the most that it may be stands for it.

**Clusters** (`api-…`, `rolling-restart`) are a stand-in for kube-apiserver (`tests/src/apiserver`) on the same two CPUs, so its time, and that of the client that asks all
the while, is in every figure. A change counts from before its request is sent to the API until the first answer that shows it, on a new connection.

**What is checked.** A request that fails, has another status or too few bytes is an error of the whole scenario, and in
those of throughput every contender answers a first request with 200 and a body of exactly the right size. Bodies are counted by their size, not by
the bytes that were read, since heads differ. `wrk` has one thread and sends a request when the last one is answered.

**Idle connections** are opened evenly, and the bytes of each are what the process grew by. nginx sets 424 bytes aside for
each of `worker_connections` at its start, which are not among them but in the memory of the whole process.

**How long.** Five rounds of three seconds of everything take about 21 minutes on a quiet machine with two cores, and at
most 25 with the release build before them; the scenarios of carried connections add about 6.

| | |
|---|---|
";

/// A metric as a table, with its plot where it has a goal.
fn section(metric: &Metric) -> String {
    let mut text = format!("\n### {}\n\n", metric.name);
    if metric.goal.is_some() {
        text += &format!("![{}: {}](benchmarks/{})\n\n", metric.scenario, metric.name, plot_name(metric));
    }
    text += &format!("| | {} |\n|---|---|\n", metric.unit);
    for contender in &metric.contenders {
        if let Some(spread) = spread_text(metric, &contender.name) {
            text += &format!("| {} | {spread} |\n", contender.name);
        }
    }
    let verdict = match metric.met() {
        Some(true) => ", met",
        Some(false) => ", **not met**",
        None => "",
    };
    if let Some(ratio) = metric.ratio() {
        text += &format!("\nRatio {ratio:.2}");
    }
    if let Some(goal) = metric.goal {
        let joint = if metric.ratio().is_some() { "; goal" } else { "\nGoal" };
        text += &format!("{joint} {}{verdict}", goal_text(goal, metric.unit));
    }
    if metric.ratio().is_some() || metric.goal.is_some() {
        text += ".\n";
    }
    if let Some(ratio) = metric.against("hyper") {
        text += &format!("\nAgainst hyper alone: {ratio:.2}.\n");
    }
    text
}

fn shortfall_text(metric: &Metric) -> String {
    let ours = spread_text(metric, SUBJECT).unwrap_or_default();
    let ratio = metric.ratio().map_or(String::new(), |ratio| format!(", ratio {ratio:.2}"));
    let goal = metric.goal.map_or(String::new(), |goal| goal_text(goal, metric.unit));
    let short = match metric.goal {
        Some(Goal::AtMost(0.0)) => String::new(),
        _ => format!(": short by {:.0} %", metric.shortfall().unwrap_or_default() * 100.0),
    };
    let reach = match (metric.goal, metric.ceiling()) {
        (Some(Goal::Ratio(goal)), Some(ceiling)) if ceiling < goal => {
            format!("; plain routing has {ceiling:.2}, so no proxy reaches the goal here")
        }
        _ => String::new(),
    };
    format!("{}, {}: {ours} {}{ratio}, goal {goal}{short}{reach}", metric.scenario, metric.name, metric.unit)
}

fn goal_text(goal: Goal, unit: &str) -> String {
    match goal {
        Goal::Ratio(ratio) => format!("a ratio of {ratio}"),
        Goal::AtMost(most) => format!("at most {most} {unit}"),
    }
}

/// `median (min–max)`.
fn spread_text(metric: &Metric, name: &str) -> Option<String> {
    let spread = metric.spread(name)?;
    Some(format!("{} ({}–{})", number_text(spread.median), number_text(spread.min), number_text(spread.max)))
}

/// Three or more significant digits.
pub fn number_text(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

fn plot_name(metric: &Metric) -> String {
    let word = metric.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-").replace("--", "-");
    format!("{}-{word}.svg", metric.scenario)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
