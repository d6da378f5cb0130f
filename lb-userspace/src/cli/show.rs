//! `sluice routes`, `backends`, `certs`, `listeners`, `problems`, `status`: what a running agent has, as JSON or a table.

use super::table::table;
use super::{Output, ShowArgs};
use crate::admin::client;
use anyhow::Context;
use serde_json::Value;
use std::process::ExitCode;

/// What is shown.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as the commands")]
pub enum Noun {
    Routes,
    Backends,
    Certs,
    Listeners,
    Problems,
    Status,
}

/// Asks the agent and prints its answer.
///
/// # Errors
/// When no agent answers.
pub fn show(noun: Noun, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let body = client::ask(&args.agent.socket(), noun.path())?;
    let value: Value =
        serde_json::from_str(&body).context("the agent's answer is not JSON: is it of another version?")?;
    if args.output.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        print!("{}", noun.text(&value));
    }
    Ok(ExitCode::SUCCESS)
}

impl Noun {
    fn path(self) -> &'static str {
        match self {
            Self::Routes => "/v1/routes",
            Self::Backends => "/v1/backends",
            Self::Certs => "/v1/certs",
            Self::Listeners => "/v1/listeners",
            Self::Problems => "/v1/problems",
            Self::Status => "/v1/status",
        }
    }

    fn text(self, value: &Value) -> String {
        match self {
            Self::Routes => rows(
                value,
                &[
                    "HOST", "PATH", "INGRESS", "RULE", "BACKEND", "SPEAKS", "BALANCE", "FILTERS", "CLASS", "UPGRADES",
                    "WHY",
                ],
                route,
            ),
            Self::Backends => backends(value),
            Self::Certs => rows(value, &["SERVER NAME", "SECRET", "NOT AFTER", "FINGERPRINT"], |c| {
                vec![cell(&c["server_name"]), cell(&c["secret"]), cell(&c["not_after"]), cell(&c["fingerprint"])]
            }),
            Self::Listeners => rows(value, &["SERVED", "PROTOCOL", "BY", "BOUND", "SOCKETS"], |l| {
                ["served", "protocol", "by", "bound", "sockets"].map(|field| cell(&l[field])).to_vec()
            }),
            Self::Problems => problems(value),
            Self::Status => status(value),
        }
    }
}

/// A table with a row for each value of an array.
pub fn rows(value: &Value, header: &[&str], row: impl Fn(&Value) -> Vec<String>) -> String {
    let rows: Vec<_> = value.as_array().into_iter().flatten().map(row).collect();
    table(header, &rows)
}

fn route(r: &Value) -> Vec<String> {
    let backend = match r["unavailable"].as_str() {
        Some(reason) => format!("503: {reason}"),
        None if r["endpoints"] == 1 => format!("{} (1 endpoint)", cell(&r["service"])),
        None => format!("{} ({} endpoints)", cell(&r["service"]), cell(&r["endpoints"])),
    };
    let filters = r["filters"].as_array().into_iter().flatten();
    let filters: Vec<String> = filters.filter_map(|f| f.as_object()?.keys().next().cloned()).collect();
    vec![
        cell(&r["host"]),
        format!("{} {}", cell(&r["kind"]), cell(&r["path"])),
        cell(&r["ingress"]),
        cell(&r["rule"]),
        backend,
        cell(&r["upstream"]),
        cell(&r["balance"]),
        if filters.is_empty() { "-".to_owned() } else { filters.join(",") },
        cell(&r["class"]["class"]),
        cell(&r["upgrade"]["class"]),
        cell(&r["class_reason"]),
    ]
}

fn backends(value: &Value) -> String {
    let mut lines = Vec::new();
    for backend in value.as_array().into_iter().flatten() {
        let endpoints: Vec<&Value> = backend["endpoints"].as_array().into_iter().flatten().collect();
        if endpoints.is_empty() {
            lines.push(
                [
                    &backend["service"],
                    &Value::Null,
                    &Value::Null,
                    &Value::Null,
                    &Value::Null,
                    &Value::Null,
                    &backend["note"],
                ]
                .map(cell)
                .to_vec(),
            );
        }
        for e in endpoints {
            let state = Value::String(endpoint_state(e));
            let row =
                [&backend["service"], &e["address"], &e["pod"], &e["node"], &e["in_work"], &state, &backend["note"]];
            lines.push(row.map(cell).to_vec());
        }
    }
    table(&["SERVICE", "ENDPOINT", "POD", "NODE", "IN WORK", "STATE", "NOTE"], &lines)
}

/// How balancing sees an endpoint.
fn endpoint_state(endpoint: &Value) -> String {
    let number = |name: &str| endpoint[name].as_u64().unwrap_or(0);
    match (number("ejected_ms"), number("failures"), number("weight")) {
        (1.., ..) => format!("ejected for {} s", number("ejected_ms").div_ceil(1_000)),
        (_, failures @ 1.., _) => format!("{failures} failed in a row"),
        (_, _, weight @ 1..1_000) => format!("starts slowly, at {} %", weight / 10),
        _ => "good".to_owned(),
    }
}

/// One block a problem: where and what on the first line, then the sentence, then the remedy.
fn problems(value: &Value) -> String {
    let blocks: String = value.as_array().into_iter().flatten().map(problem).collect();
    if blocks.is_empty() { "none\n".to_owned() } else { blocks }
}

fn problem(p: &Value) -> String {
    let object = &p["object"];
    let namespace = object["namespace"].as_str().filter(|n| !n.is_empty()).map(|n| format!("{n}/")).unwrap_or_default();
    let place = &p["place"];
    let place = place["file"].as_str().map(|file| format!(" ({file}:{})", place["line"])).unwrap_or_default();
    let field = p["field"].as_str().filter(|f| !f.is_empty()).map(|f| format!(", {f}")).unwrap_or_default();
    let lines = [
        format!(
            "{}: {} {namespace}{}{field}{place}",
            p["severity"].as_str().unwrap_or("-"),
            cell(&object["kind"]),
            cell(&object["name"])
        ),
        format!("    {}: {}", cell(&p["reason"]), cell(&p["message"])),
        format!("    Remedy: {}", cell(&p["remedy"])),
    ];
    // The pieces that are not cells come from the same configuration.
    lines.map(|line| line.chars().flat_map(visible).collect::<String>() + "\n").concat()
}

fn status(value: &Value) -> String {
    let mut lines = Vec::new();
    for (name, field) in value.as_object().into_iter().flatten() {
        if name == "steering" || name == "splicing" {
            lines.push(vec![name.clone(), format!("{}: {}", cell(&field["mode"]), cell(&field["reason"]))]);
            lines.extend(field["kernel"]["interfaces"].as_array().into_iter().flatten().flat_map(interface));
        } else if name == "contact" {
            lines.push(vec![name.clone(), contact(field)]);
        } else if name == "reports" {
            lines.push(vec![name.clone(), reports(field)]);
        } else if name == "node" {
            lines.push(vec![name.clone(), node(field)]);
        } else {
            lines.push(vec![name.clone(), cell(field)]);
        }
    }
    table(&["STATUS", "VALUE"], &lines)
}

/// What is wanted of an interface and not so, with the reason.
fn interface(field: &Value) -> Vec<Vec<String>> {
    let line = |what: &str, reason: &Value| {
        reason.is_string().then(|| vec![format!("  {}", cell(&field["name"])), format!("{what}: {}", cell(reason))])
    };
    [line("not covered", &field["reason"]), line("not in XDP", &field["xdp_reason"])].into_iter().flatten().collect()
}

/// What is written into the API of a cluster, and by whom.
fn reports(reports: &Value) -> String {
    let who = if reports["leader"] == true { "this agent writes" } else { "another agent writes" };
    let waits = |name: &str| reports[name].as_u64().unwrap_or_default();
    let (statuses, events) = (waits("statuses_waiting"), waits("events_waiting"));
    match statuses + events {
        0 => who.to_owned(),
        _ => format!("{who}; waiting: {statuses} statuses, {events} Events"),
    }
}

/// How a source stands that can be out of reach.
fn contact(contact: &Value) -> String {
    let age = match contact["age_s"].as_u64() {
        Some(age) => format!("heard of {age} s ago"),
        None => "not heard of yet".to_owned(),
    };
    let waits: Vec<String> = contact["waits_for"].as_array().into_iter().flatten().map(cell).collect();
    let waits = if waits.is_empty() { String::new() } else { format!("; waits for {}", waits.join(", ")) };
    let failure = if contact["failure"].is_null() { String::new() } else { format!("; {}", cell(&contact["failure"])) };
    age + &waits + &failure
}

/// What is not as it should be on this node, by name.
fn node(checks: &Value) -> String {
    let checks = checks.as_array().map(Vec::as_slice).unwrap_or_default();
    let lacking: Vec<String> = checks.iter().filter(|check| check["state"] != "ok").map(|c| cell(&c["name"])).collect();
    match lacking.is_empty() {
        true => format!("{} checks, all ok", checks.len()),
        false => format!("{} checks; lacking: {} (`sluice doctor` says what for)", checks.len(), lacking.join(", ")),
    }
}

/// A cell of text; control characters of configuration are escaped, so that they cannot drive a terminal.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.chars().flat_map(visible).collect(),
        other => other.to_string(),
    }
}

fn visible(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configuration_cannot_drive_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn how_a_source_stands() {
        let check = |value: Value, want: &str| assert_eq!(contact(&value), want, "{value}");
        check(json!({"age_s": 3, "waits_for": [], "failure": null}), "heard of 3 s ago");
        let value = json!({"age_s": null, "waits_for": ["Ingress", "Secret"], "failure": "Ingress: refused"});
        check(value, "not heard of yet; waits for Ingress, Secret; Ingress: refused");
    }

    #[test]
    fn a_service_without_endpoints_is_shown() {
        let value = json!([{"service": "a/b:80", "endpoints": [], "note": "none is ready"}]);
        let text = Noun::Backends.text(&value);
        assert!(text.contains("a/b:80") && text.contains("none is ready"), "{text}");
    }

    #[test]
    fn interfaces_are_shown_where_something_is_not_as_wanted() {
        let interfaces = json!([
            {"name": "eth0", "reason": null, "xdp_reason": null},
            {"name": "eth1", "reason": null, "xdp_reason": "its driver takes no frames"},
            {"name": "tun0", "reason": "no Ethernet", "xdp_reason": null},
        ]);
        let text =
            status(&json!({"splicing": {"mode": "auto", "reason": "it does", "kernel": {"interfaces": interfaces}}}));
        assert!(
            !text.contains("eth0") && text.contains("not in XDP: its driver") && text.contains("not covered: no"),
            "{text}"
        );
    }

    #[test]
    fn the_state_of_endpoints() {
        let check = |state: Value, want: &str| assert_eq!(endpoint_state(&state), want, "{state}");
        check(json!({"ejected_ms": 4_001, "failures": 4, "weight": 1_000}), "ejected for 5 s");
        check(json!({"ejected_ms": 0, "failures": 2, "weight": 100}), "2 failed in a row");
        check(json!({"ejected_ms": 0, "failures": 0, "weight": 325}), "starts slowly, at 32 %");
        check(json!({"ejected_ms": 0, "failures": 0, "weight": 1_000}), "good");
    }
}
