//! `sluice doctor`: what this node has of what an agent with these flags needs. Exit code 1 when something is missing.
//!
//! Goes in: the flags of `sluice run` that matter to the node. Comes out: a table, or JSON. It asks no agent, and changes
//! nothing that stays.

use super::run::or_every_address;
use super::splice::SpliceArgs;
use super::table::table;
use super::{EXIT_USAGE, Output, OutputArgs, PIN_DIR, RUN_DIR};
use crate::app::doctor::{self, Node};
use crate::config::{Limits, SteeringMode};
use crate::kernel::doctor::{Check, State};
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Most client connections that are asked for at once, a bound as in `sluice run`.
const CONNECTIONS_MAX: u64 = 10_000_000;

/// Arguments of `sluice doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Address and port for plain HTTP; may be given several times. Default: port 80 of every address.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Vec<SocketAddr>,
    /// Address and port for HTTPS; may be given several times. Default: port 443 of every address.
    #[arg(long, value_name = "ADDR:PORT")]
    https: Vec<SocketAddr>,
    /// Whether sk_lookup is to bring connections to the listeners: where it is `required`, what it lacks is missing.
    #[arg(long, env = "SLUICE_STEERING", value_enum, default_value_t = SteeringMode::Auto)]
    steering: SteeringMode,
    /// Directory of the agent's control socket and lock.
    #[arg(long, env = "SLUICE_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
    /// Directory under a bpffs for pinned maps and links.
    #[arg(long, env = "SLUICE_PIN_DIR", default_value = PIN_DIR)]
    pin_dir: PathBuf,
    /// Most client connections at once, for the limit on open files.
    #[arg(
        long, env = "SLUICE_LIMIT_CONNECTIONS", value_name = "N",
        default_value_t = Limits::default().connections_max as u64,
        value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX)
    )]
    limit_connections: u64,
    #[command(flatten)]
    splice: SpliceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks at the node and prints what it found.
///
/// # Errors
/// When the answer cannot be written as JSON.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let listeners = [or_every_address(&args.http, 80), or_every_address(&args.https, 443)].concat();
    let mut faults = Vec::new();
    let splice = args.splice.splice(&listeners, &mut faults);
    if !args.pin_dir.is_absolute() {
        faults.push(format!("--pin-dir {} is not absolute: name a path under a bpffs", args.pin_dir.display()));
    }
    if !faults.is_empty() {
        faults.iter().for_each(|fault| eprintln!("sluice: {fault}"));
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let connections_max = usize::try_from(args.limit_connections).unwrap_or(usize::MAX);
    let checks = doctor::examine(&Node {
        listeners,
        run_dir: args.run_dir.clone(),
        pin_dir: args.pin_dir.clone(),
        steering: args.steering,
        splice,
        limits: Limits { connections_max, ..Limits::default() },
        loads: true,
    });
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (ok, degraded, missing) = (count(State::Ok), count(State::Degraded), count(State::Missing));
    if args.output.output == Output::Json {
        let answer = json!({ "checks": checks, "ok": ok, "degraded": degraded, "missing": missing });
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
        print!("{}", table(&["CHECK", "RESULT", "FOUND", "NEEDED FOR / REMEDY"], &rows));
        println!("{ok} ok, {degraded} degraded, {missing} missing");
    }
    Ok(if missing > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// On one line, whatever the kernel says.
fn row(check: &Check) -> Vec<String> {
    let why = match &check.remedy {
        Some(remedy) => format!("{}. Remedy: {remedy}", check.needed_for),
        None => check.needed_for.to_owned(),
    };
    let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![cell(&check.name), check.state.name().to_owned(), cell(&check.found), cell(&why)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line() {
        let check =
            Check::ok("program", "refused", "steering").but(State::Degraded, "report this:\n12: r0 = 0\n13: exit");
        let row = row(&check);
        assert_eq!(row[..2], ["program", "degraded"]);
        assert_eq!(row[3], "steering. Remedy: report this: 12: r0 = 0 13: exit");
    }
}
