//! `sluice run`: arguments become a valid [`Config`] before a socket is opened; every fault is listed, exit code 64.

use super::admission::AdmissionArgs;
use super::cluster::{ClassArgs, SourceArgs};
use super::edge::EdgeArgs;
use super::external::ExternalArgs;
use super::limits::LimitArgs;
use super::report::ReportArgs;
use super::splice::SpliceArgs;
use super::{EXIT_USAGE, PIN_DIR, RUN_DIR};
use crate::config::{AccessLogFormat, Config, Objects, Source, SteeringMode};
use clap::{Args, ValueEnum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// More workers than this is a slip of the pen.
const WORKERS_MAX: usize = 1_024;
/// Longest drain: an hour.
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// Kubernetes takes an endpoint out within a second or two; balancers outside look every few seconds.
const SHUTDOWN_DELAY_SECONDS: u64 = 5;
/// Longest path of a Unix socket, bytes (unix(7): `sun_path` is 108 with its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Arguments of `sluice run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Address and port for plain HTTP; may be given several times. Default: port 80 of every address.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Vec<SocketAddr>,
    /// Address and port for HTTPS; may be given several times. Default: port 443 of every address.
    #[arg(long, value_name = "ADDR:PORT")]
    https: Vec<SocketAddr>,
    /// Whether sk_lookup brings connections to the listeners: try it, leave it, or insist on it.
    #[arg(long, env = "SLUICE_STEERING", value_enum, default_value_t = SteeringMode::Auto)]
    steering: SteeringMode,
    /// Worker threads, 1 to 1024. Default: one for each core that we may use.
    #[arg(long, env = "SLUICE_WORKERS", value_name = "N")]
    workers: Option<usize>,
    /// Address and port for /healthz, /readyz, /metrics and the dashboard.
    #[arg(long, env = "SLUICE_ADMIN", value_name = "ADDR:PORT", default_value = "127.0.0.1:9180")]
    admin: SocketAddr,
    /// Directory for the control socket and the lock.
    #[arg(long, env = "SLUICE_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
    /// Directory under a bpffs for pinned maps and links.
    #[arg(long, env = "SLUICE_PIN_DIR", default_value = PIN_DIR)]
    pin_dir: PathBuf,
    /// Form of the access log on standard output.
    #[arg(long, env = "SLUICE_ACCESS_LOG", value_enum, default_value_t = AccessLogFormat::Text)]
    access_log: AccessLogFormat,
    /// Form of the agent's own log on standard error.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// How long everything goes on after SIGTERM, but for readiness, seconds, at most 3600: the time until whoever sends
    /// connections here has noticed. A second signal ends it. Default: 5 for a cluster, 0 for a directory.
    #[arg(long, env = "SLUICE_SHUTDOWN_DELAY_SECONDS", value_name = "SECONDS")]
    shutdown_delay_seconds: Option<u64>,
    /// How long requests in flight may take after that, seconds, at most 3600.
    #[arg(long, env = "SLUICE_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
    /// Name of this node, for endpoints that prefer a node.
    #[arg(long, env = "SLUICE_NODE_NAME")]
    node_name: Option<String>,
    /// Zone of this node. Default: the label of its Node object.
    #[arg(long, env = "SLUICE_ZONE")]
    zone: Option<String>,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    class: ClassArgs,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    splice: SpliceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    admission: AdmissionArgs,
}

/// Form of the agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the agent cannot start or stops on a fault of its own.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    match args.config() {
        Ok(config) => {
            start_log(args.log_format);
            crate::app::run(config)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            for fault in &faults {
                eprintln!("sluice: {fault}");
            }
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
}

impl RunArgs {
    /// Checks everything and names every fault.
    fn config(&self) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let http = or_every_address(&self.http, 80);
        let https = or_every_address(&self.https, 443);
        self.check_addresses(&http, &https, &mut faults);
        self.check_paths(&mut faults);
        if self.drain_seconds > DRAIN_SECONDS_MAX {
            faults.push(format!("--drain-seconds {} is more than {DRAIN_SECONDS_MAX}", self.drain_seconds));
        }
        let source = self.source.source(&mut faults);
        let shutdown_delay_seconds = self.shutdown_delay_seconds.unwrap_or(match source {
            Source::Cluster(_) => SHUTDOWN_DELAY_SECONDS,
            Source::Directory(_) => 0,
        });
        if shutdown_delay_seconds > DRAIN_SECONDS_MAX {
            faults.push(format!("--shutdown-delay-seconds {shutdown_delay_seconds} is more than {DRAIN_SECONDS_MAX}"));
        }
        let tls = self.edge.tls(&mut faults);
        let (limits, defaults) = (self.limits.limits(&mut faults), self.limits.defaults(&mut faults));
        let external_names = self.external.external_names(&mut faults);
        let (node, zone) = (self.node_name.clone(), self.zone.clone());
        let objects = Objects { defaults, node, zone, external_names, ..self.class.objects(&source, &mut faults) };
        let proxy_protocol_from = self.edge.proxy_protocol_from(&mut faults);
        let mut listeners: Vec<SocketAddr> = http.iter().chain(&https).chain([&self.admin]).copied().collect();
        let admission = self.admission.admission(&source, &listeners, &mut faults);
        listeners.extend(self.admission.address());
        let splice = self.splice.splice(&listeners, &mut faults);
        let report = self.report.report(&mut faults);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = self.workers.unwrap_or(cores);
        let workers = NonZeroUsize::new(workers).filter(|n| n.get() <= WORKERS_MAX);
        let Some(workers) = workers.filter(|_| faults.is_empty()) else {
            if workers.is_none() {
                faults.push(format!("--workers must be 1 to {WORKERS_MAX}"));
            }
            return Err(faults);
        };
        Ok(Config {
            source,
            http,
            https,
            steering: self.steering,
            workers,
            pin_dir: self.pin_dir.clone(),
            run_dir: self.run_dir.clone(),
            admin: self.admin,
            access_log: self.access_log,
            shutdown_delay_ms: shutdown_delay_seconds * 1_000,
            drain_ms_max: self.drain_seconds * 1_000,
            objects,
            limits,
            tls,
            proxy_protocol_from,
            splice,
            report,
            admission,
        })
    }

    fn check_addresses(&self, http: &[SocketAddr], https: &[SocketAddr], faults: &mut Vec<String>) {
        let all: Vec<SocketAddr> = http.iter().chain(https).copied().collect();
        for (i, address) in all.iter().enumerate() {
            if address.port() == 0 {
                faults.push(format!("listener {address}: port 0 is no port that clients can use; name one"));
            }
            if all[..i].contains(address) {
                faults
                    .push(format!("listener {address} is given twice: give each address to one of --http and --https"));
            }
            if *address == self.admin {
                faults.push(format!("--admin {address} is also a listener: give administration an address of its own"));
            }
        }
    }

    fn check_paths(&self, faults: &mut Vec<String>) {
        let socket = crate::app::control_socket(&self.run_dir);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let shown = self.run_dir.display();
            faults.push(format!("--run-dir {shown} is too long for a Unix socket ({SOCKET_PATH_BYTES_MAX} bytes)"));
        }
        if !self.pin_dir.is_absolute() {
            faults.push(format!("--pin-dir {} is not absolute: name a path under a bpffs", self.pin_dir.display()));
        }
    }
}

/// What was given, else every address: IPv4, and IPv6 where this kernel has it.
pub(super) fn or_every_address(given: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let mut every = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)];
    if Path::new("/proc/net/if_inet6").exists() {
        every.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    every
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parse(arguments: &[&str]) -> Result<Config, Vec<String>> {
        let all = ["run"].iter().chain(arguments);
        Just::try_parse_from(all).expect("arguments parse").args.config()
    }

    #[test]
    fn every_fault_is_listed() {
        let faults = parse(&[
            "--directory=/nonexistent",
            "--http=127.0.0.1:80",
            "--https=127.0.0.1:80",
            "--http=127.0.0.1:0",
            "--admin=127.0.0.1:80",
            "--workers=0",
            "--drain-seconds=99999",
            "--shutdown-delay-seconds=99999",
            "--pin-dir=relative",
        ])
        .expect_err("faulty");
        let all = faults.join("\n");
        for word in [
            "/nonexistent",
            "given twice",
            "port 0",
            "--admin",
            "--workers",
            "--drain-seconds",
            "--shutdown-delay",
            "--pin-dir",
        ] {
            assert!(all.contains(word), "{word} in {all}");
        }
    }

    #[test]
    fn defaults_serve_every_address() {
        let config = parse(&["--directory=/tmp"]).expect("valid");
        assert_eq!(config.http[0], "0.0.0.0:80".parse().expect("address"));
        assert_eq!(config.https[0], "0.0.0.0:443".parse().expect("address"));
        assert_eq!(config.shutdown_delay_ms, 0);
        assert_eq!(parse(&["--cluster"]).expect("valid").shutdown_delay_ms, 5_000);
    }
}
