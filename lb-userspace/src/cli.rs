//! The command line: nouns show, verbs change; every command has `--output json`.
//!
//! Goes in: arguments. Comes out: an exit code: 0 done, 1 failed, 64 bad configuration (`EX_USAGE` of sysexits.h).

pub mod admission;
mod check;
pub mod cluster;
pub mod doctor;
pub mod edge;
pub mod external;
pub mod flows;
pub mod limits;
#[cfg(test)]
mod reference;
pub mod report;
pub mod run;
pub mod show;
pub mod splice;
pub mod table;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of a configuration that cannot be served.
pub const EXIT_USAGE: u8 = 64;

/// Where a running agent keeps its control socket, unless told otherwise.
pub const RUN_DIR: &str = "/run/sluice";
/// Where maps and links are pinned, unless told otherwise.
pub const PIN_DIR: &str = "/sys/fs/bpf/sluice";

#[derive(Debug, Parser)]
#[command(name = "sluice", version, about = "An L7 load balancer that reads Ingresses and steers with eBPF")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: read manifests, listen, route.
    Run(Box<run::RunArgs>),
    /// Read a directory of manifests and list every fault; exit code 64 when there is one.
    Check(check::CheckArgs),
    /// Say what would happen to a request, and why.
    Explain(check::ExplainArgs),
    /// The routing table of a running agent.
    Routes(ShowArgs),
    /// Services with the endpoints that take requests.
    Backends(ShowArgs),
    /// Server names with their certificates.
    Certs(ShowArgs),
    /// Connections that the kernel carries, and their end.
    Flows(flows::FlowsArgs),
    /// Addresses that are served, and how connections get there.
    Listeners(ShowArgs),
    /// Faults and notes of the configuration that serves.
    Problems(ShowArgs),
    /// The state of a running agent.
    Status(ShowArgs),
    /// What this node has of what an agent needs: kernel, privileges, interfaces, ports. Exit code 1 when something is missing.
    Doctor(Box<doctor::DoctorArgs>),
    /// Remove everything that Sluice pinned under bpffs, and so detach it from the kernel.
    Unpin(UnpinArgs),
}

/// Arguments of the commands that ask a running agent.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Which agent is asked.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Directory of the agent's control socket.
    #[arg(long, env = "SLUICE_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

impl AgentArgs {
    fn socket(&self) -> PathBuf {
        crate::app::control_socket(&self.run_dir)
    }
}

/// Form of the answer.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Arguments of `sluice unpin`.
#[derive(Debug, Args)]
pub struct UnpinArgs {
    /// Directory of the pins.
    #[arg(long, env = "SLUICE_PIN_DIR", default_value = PIN_DIR)]
    pin_dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
            return if error.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => check::explain(&args),
        Command::Routes(args) => show::show(show::Noun::Routes, &args),
        Command::Backends(args) => show::show(show::Noun::Backends, &args),
        Command::Certs(args) => show::show(show::Noun::Certs, &args),
        Command::Flows(args) => flows::flows(&args),
        Command::Listeners(args) => show::show(show::Noun::Listeners, &args),
        Command::Problems(args) => show::show(show::Noun::Problems, &args),
        Command::Status(args) => show::show(show::Noun::Status, &args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Unpin(args) => unpin(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("sluice: {error:#}");
        ExitCode::FAILURE
    })
}

fn unpin(args: &UnpinArgs) -> anyhow::Result<ExitCode> {
    let removed = crate::kernel::unpin(&args.pin_dir)?;
    if args.output.output == Output::Json {
        println!("{}", serde_json::to_string(&removed)?);
    } else if removed.is_empty() {
        println!("Nothing is pinned under {}.", args.pin_dir.display());
    } else {
        for path in removed {
            println!("removed {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_but_run_has_output_json() {
        for command in Cli::command().get_subcommands().filter(|c| c.get_name() != "run") {
            assert!(command.get_arguments().any(|a| a.get_id() == "output"), "{}", command.get_name());
        }
    }
}
