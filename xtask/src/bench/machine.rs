//! What machine and which versions a result belongs to.
//!
//! Goes in: `/proc` and the programs. Comes out: a JSON object that is printed, written and put into the document.

use super::lab::CONGESTION_CONTROL;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;

/// How processes are placed, in words.
const PLACEMENT: &str = "client and backend on CPU 0, the proxy on CPU 1; with two workers all of them on both CPUs; where the \
                         kernel carries connections, client on CPU 0, backend on CPU 1, the proxy on either";

/// Control groups, where the proxies have a quota.
const QUOTA: &str = "of a core for each worker of a proxy in scenarios of throughput and handshakes";

/// Describes this machine.
pub fn describe(sluice: Option<&Path>, rounds: usize, seconds: u64, share: u32) -> Result<Map<String, Value>> {
    let cpu_info = read("/proc/cpuinfo")?;
    let field = |name: &str| cpu_info.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(": "));
    let memory = read("/proc/meminfo")?;
    let kilobytes: u64 = memory.split_whitespace().nth(1).context("no MemTotal")?.parse()?;
    let cores = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg")?;
    let mut machine = Map::new();
    machine.insert("cpu".into(), json!(field("model name").map_or("unknown", |(_, name)| name)));
    machine.insert("cores".into(), json!(cores));
    machine.insert("memory_bytes".into(), json!(kilobytes * 1024));
    machine.insert("kernel".into(), json!(read("/proc/sys/kernel/osrelease")?.trim()));
    machine.insert("load_average_before".into(), json!(load.split(' ').next().and_then(|n| n.parse::<f64>().ok())));
    machine.insert("placement".into(), json!(PLACEMENT));
    machine.insert("congestion_control".into(), json!(CONGESTION_CONTROL));
    machine.insert("quota".into(), json!(format!("{share} % {QUOTA}")));
    machine.insert("rounds".into(), json!(rounds));
    machine.insert("seconds".into(), json!(seconds));
    let mut versions = Map::new();
    if let Some(sluice) = sluice {
        let commit = version(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
        versions
            .insert("sluice".into(), json!(format!("{} ({commit})", version(Command::new(sluice).arg("--version"))?)));
    }
    for (name, option) in
        [("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v"), ("h2load", "--version"), ("openssl", "version")]
    {
        versions.insert(name.into(), json!(version(Command::new(name).arg(option))?));
    }
    machine.insert("versions".into(), versions.into());
    Ok(machine)
}

/// The first line that a program prints, on either output.
fn version(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = [output.stdout, output.stderr].concat();
    let line =
        String::from_utf8_lossy(&text).lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    Ok(line.split(" Copyright").next().unwrap_or_default().trim().to_owned())
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
