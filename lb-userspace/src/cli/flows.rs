//! `sluice flows` and `sluice flows reset`: connections that the kernel carries, shown and ended.

use super::show::{cell, rows};
use super::{AgentArgs, Output, OutputArgs, ShowArgs};
use crate::admin::client;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

/// Arguments of `sluice flows`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FlowsArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Reset connections that the kernel carries, at both ends.
    Reset(ResetArgs),
}

/// Arguments of `sluice flows reset`.
#[derive(Debug, Args)]
struct ResetArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Which connections.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// All of them.
    #[arg(long)]
    all: bool,
    /// The one with this number.
    #[arg(long, value_name = "N")]
    id: Option<u32>,
    /// Those of this client.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Those to this endpoint.
    #[arg(long, value_name = "ADDR:PORT")]
    backend: Option<SocketAddr>,
}

/// Shows what the kernel carries, or resets some of it.
///
/// # Errors
/// When no agent answers, or it refuses.
pub fn flows(args: &FlowsArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        None => show(&args.show),
        Some(Verb::Reset(reset)) => reset.run(),
    }
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let value = read(&client::ask(&args.agent.socket(), "/v1/flows")?)?;
    if args.output.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        print!("{}", listed(&value));
    }
    Ok(ExitCode::SUCCESS)
}

impl ResetArgs {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/flows/reset?{}", self.which.query());
        let value = read(&client::tell(&self.agent.socket(), &path)?)?;
        if self.output.output == Output::Json {
            println!("{}", serde_json::to_string_pretty(&value)?);
        } else {
            println!("{} reset", cell(&value["reset"]));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl WhichArgs {
    fn query(&self) -> String {
        match (self.id, self.client, self.backend) {
            (Some(id), ..) => format!("id={id}"),
            (_, Some(client), _) => format!("client={}", client::escape(&client.to_string())),
            (.., Some(backend)) => format!("backend={}", client::escape(&backend.to_string())),
            // The group demands one, so this is --all.
            _ => "all".to_owned(),
        }
    }
}

fn read(body: &str) -> anyhow::Result<Value> {
    serde_json::from_str(body).context("the agent's answer is not JSON: is it of another version?")
}

/// A table; where there is nothing, and never could be, why.
fn listed(value: &Value) -> String {
    if value["active"] == false {
        return format!("none: the kernel carries no connections ({})\n", cell(&value["reason"]));
    }
    let header = [
        "ID",
        "CLIENT",
        "TO",
        "FROM",
        "ENDPOINT",
        "SERVICE",
        "STATE",
        "AGE",
        "IDLE",
        "BYTES UP",
        "BYTES DOWN",
        "PACKETS UP",
        "PACKETS DOWN",
    ];
    rows(&value["flows"], &header, |flow| {
        let seconds = |field: &str| format!("{} s", flow[field].as_u64().unwrap_or(0) / 1_000);
        let mut cells: Vec<String> =
            ["id", "client", "local", "source", "backend", "service", "state"].map(|field| cell(&flow[field])).to_vec();
        cells.extend(["age_ms", "idle_ms"].map(seconds));
        cells.extend(["bytes_up", "bytes_down", "packets_up", "packets_down"].map(|field| cell(&flow[field])));
        cells
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        flows: FlowsArgs,
    }

    fn query(arguments: &[&str]) -> Option<String> {
        match Just::try_parse_from(["flows"].iter().chain(arguments)).ok()?.flows.verb? {
            Verb::Reset(reset) => Some(reset.which.query()),
        }
    }

    #[test]
    fn exactly_one_selection() {
        let check = |arguments: &[&str], want: Option<&str>| {
            assert_eq!(query(arguments).as_deref(), want, "{arguments:?}");
        };
        check(&["reset", "--all"], Some("all"));
        check(&["reset", "--id=7"], Some("id=7"));
        check(&["reset", "--client=2001:db8::1"], Some("client=2001%3Adb8%3A%3A1"));
        check(&["reset", "--backend=10.0.0.1:80", "--output=json"], Some("backend=10.0.0.1%3A80"));
        check(&["reset"], None);
        check(&["reset", "--all", "--id=7"], None);
        check(&["reset", "--client=everyone"], None);
        check(&["--run-dir=/tmp"], None);
    }

    #[test]
    fn what_is_shown() {
        let none = json!({"active": false, "reason": "switched off", "flows": []});
        assert_eq!(listed(&none), "none: the kernel carries no connections (switched off)\n");
        let mut some = json!({"active": true, "reason": "", "flows": []});
        assert_eq!(listed(&some), "none\n");
        some["flows"] = json!([{
            "id": 7, "client": "192.0.2.1:1", "local": "192.0.2.2:80", "source": "10.0.0.1:20000", "backend": "10.0.0.2:80",
            "service": null, "state": "active", "age_ms": 61_999, "idle_ms": 0,
            "bytes_up": 1, "bytes_down": 2, "packets_up": 3, "packets_down": 4
        }]);
        let text = listed(&some);
        let words: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        let want = "7 192.0.2.1:1 192.0.2.2:80 10.0.0.1:20000 10.0.0.2:80 - active 61 s 0 s 1 2 3 4";
        assert_eq!(words.join(" "), want);
    }
}
