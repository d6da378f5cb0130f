//! `sluice check` and `sluice explain`: what a configuration means, without or with a running agent.

use super::table::table;
use super::{AgentArgs, EXIT_USAGE, Output, OutputArgs};
use crate::admin::{client, server};
use crate::config::Objects;
use crate::control::{self, Translated};
use anyhow::Context;
use clap::Args;
use lb_core::problem::Severity;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sluice check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directory of manifests.
    directory: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `sluice explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Method of the request (routing does not depend on it).
    method: String,
    /// URL of the request: http://host[:port]/path[?query] or https://…
    url: String,
    /// Explain from this directory of manifests instead of asking a running agent.
    #[arg(long)]
    directory: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Lists every fault and note of a directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = control::load_directory(&args.directory, &Objects::default())?;
    let faults = read.problems.iter().filter(|p| p.severity == Severity::Fault).count();
    if args.output.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&summary(&read, faults))?);
    } else {
        for problem in &read.problems {
            let severity = if problem.severity == Severity::Fault { "fault" } else { "note" };
            println!("{severity}: {problem}");
        }
        let notes = read.problems.len() - faults;
        println!("{} objects, {} routes, {faults} faults, {notes} notes", read.objects, read.snapshot.routes.len());
    }
    Ok(if faults > 0 { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS })
}

/// Says what would happen to a request.
///
/// # Errors
/// When neither the directory nor an agent can be asked, or the URL is none.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let Some(question) = server::parse_url(&args.url) else {
        eprintln!("sluice: \"{}\" is no URL of the form http://host[:port]/path or https://…", args.url);
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let answer: Value = match &args.directory {
        Some(directory) => {
            let read = control::load_directory(directory, &Objects::default())?;
            serde_json::to_value(lb_core::explain::explain(&read.snapshot, question))?
        }
        None => {
            let path = format!("/v1/explain?url={}", client::escape(&args.url));
            let body = client::ask(&args.agent.socket(), &path)?;
            serde_json::from_str(&body).context("the agent's answer is not JSON: is it of another version?")?
        }
    };
    if args.output.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", explanation(&args.method, &args.url, &answer));
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(read: &Translated, faults: usize) -> Value {
    json!({
        "objects": read.objects,
        "routes": read.snapshot.routes.len(),
        "faults": faults,
        "notes": read.problems.len() - faults,
        "problems": read.problems,
    })
}

fn explanation(method: &str, url: &str, answer: &Value) -> String {
    let text = |field: &str| answer[field].as_str().map(str::to_owned);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            rows.push(vec![name.to_owned(), value]);
        }
    };
    row("because", text("because"));
    row("answer", answer["status"].as_u64().map(|s| format!("{s}, by sluice itself")));
    row("location", text("location"));
    row("ingress", text("ingress"));
    row("rule", text("rule"));
    row("host", text("host"));
    row("path", text("path"));
    let filters: Vec<&str> = answer["filters"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    row("filters", Some(filters.join(", ")));
    row("sent as", text("upstream_target").map(|t| format!("{method} {t}")));
    row("service", text("service"));
    for endpoint in answer["endpoints"].as_array().into_iter().flatten() {
        let pod = endpoint["pod"].as_str().map(|p| format!(" ({p})")).unwrap_or_default();
        row("endpoint", endpoint["address"].as_str().map(|a| format!("{a}{pod}")));
    }
    row("endpoints", text("endpoints_note"));
    let class = answer["class"]["class"].as_str();
    row("class", class.map(|c| format!("{c}: {}", text("class_reason").unwrap_or_default())));
    row("certificate", Some(text("certificate").unwrap_or_else(|| "the default one".to_owned())));
    table(&[method, url], &rows)
}
