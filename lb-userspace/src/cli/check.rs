//! `sluice check` and `sluice explain`: what a configuration means, without or with a running agent.

use super::table::table;
use super::{AgentArgs, EXIT_USAGE, Output, OutputArgs};
use crate::admin::{client, server};
use crate::config::{ClassMode, ExternalNames, Objects};
use crate::control::{self, Translated};
use anyhow::Context;
use clap::Args;
use lb_core::explain::{self, Question};
use lb_core::problem::Severity;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sluice check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directory of manifests.
    directory: PathBuf,
    #[command(flatten)]
    objects: ObjectArgs,
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
    /// Address of the client. Default: one that may come at all.
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    #[command(flatten)]
    objects: ObjectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

/// How the objects of a directory are read; `sluice run` has the same.
#[derive(Debug, Args)]
struct ObjectArgs {
    /// What paths mean where no IngressClass says it with the annotation sluice.dev/mode.
    #[arg(long, env = "SLUICE_CLASS_MODE", value_enum, default_value_t = ClassMode::Spec)]
    class_mode: ClassMode,
    /// Services of type ExternalName are served. Their names are not resolved here.
    #[arg(long, env = "SLUICE_ALLOW_EXTERNAL_NAME")]
    allow_external_name: bool,
}

impl ObjectArgs {
    fn objects(&self) -> Objects {
        let external_names = self.allow_external_name.then(ExternalNames::default);
        Objects { class_mode: self.class_mode, external_names, ..Objects::default() }
    }
}

/// Lists every fault and note of a directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = control::load_directory(&args.directory, &args.objects.objects())?;
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
            let read = control::load_directory(directory, &args.objects.objects())?;
            let question = Question { client: args.client, ..question };
            serde_json::to_value(explain::explain(&read.snapshot, question))?
        }
        None => {
            let client = args.client.map(|address| format!("client={address}&")).unwrap_or_default();
            let path = format!("/v1/explain?{client}url={}", client::escape(&args.url));
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
    row("speaks", text("upstream"));
    row("balance", text("balance"));
    row("limits", limits(&answer["policy"]));
    row("retries", retries(&answer["policy"]["retry"]));
    for endpoint in answer["endpoints"].as_array().into_iter().flatten() {
        let pod = endpoint["pod"].as_str().map(|p| format!(" ({p})")).unwrap_or_default();
        row("endpoint", endpoint["address"].as_str().map(|a| format!("{a}{pod}")));
    }
    row("endpoints", text("endpoints_note"));
    let class = answer["class"]["class"].as_str();
    row("class", class.map(|c| format!("{c}: {}", text("class_reason").unwrap_or_default())));
    let upgrade = answer["upgrade"]["class"].as_str();
    row("upgrades", upgrade.map(|c| format!("{c}: {}", text("upgrade_reason").unwrap_or_default())));
    let default = if answer["class"]["reason"] == "passthrough" { "the backend's" } else { "the default one" };
    row("certificate", Some(text("certificate").unwrap_or_else(|| default.to_owned())));
    row("client certificate", text("client_certificate"));
    table(&[method, url], &rows)
}

/// Limits of a route in seconds and bytes; `None` where there is no policy.
fn limits(policy: &Value) -> Option<String> {
    let seconds = |field: &str| policy[field].as_u64().map(|ms| format!("{} s", ms as f64 / 1e3));
    let body = policy["body_bytes_max"].as_u64().map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
    Some(format!(
        "body {body}; connect {}, read {}, send {}, in all {}",
        seconds("connect_ms_max")?,
        seconds("read_idle_ms_max")?,
        seconds("send_idle_ms_max")?,
        seconds("total_ms_max")?
    ))
}

/// What is tried again, in words.
fn retries(retry: &Value) -> Option<String> {
    let tries = retry["tries_max"].as_u64()?;
    let what = match (retry["idempotent"] == true, retry["non_idempotent"] == true) {
        (_, true) => "whatever the method",
        (true, false) => "once taken, if the method is idempotent",
        (false, false) => "as long as no byte was taken",
    };
    Some(if tries < 2 { "none".to_owned() } else { format!("on up to {tries} endpoints, {what}") })
}
