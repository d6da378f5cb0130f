//! `cargo xtask demo [--keep] [--json] [--release]`: the load balancer at work, in network namespaces of its own.
//!
//! Owns: the story. Goes in: `deploy/examples`. Comes out: a table of requests with what became of each, the steering
//! counters as proof that the kernel did its part, what a connection costs that the kernel carries ([`carry`]), and an error when anything is not as expected. The network and the
//! processes are made by [`network`] and removed with everything else however the demo ends; [`requests`] has what is
//! asked and what is right.
//!
//! It builds without optimisation, because that takes a quarter of the time: the latencies are those of a debug build.
//! `--release` waits for the other.

mod carry;
mod network;
mod requests;

use crate::build::{root, target_dir, this_program};
use anyhow::{Context, Result, bail, ensure};
use carry::Comparison;
use network::{ADDRESS, HOST_ROUTE, Network};
use requests::{REQUESTS, Row, ask};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the agent may take to be ready: loading and verifying eBPF programs on a busy machine.
const READY_MAX: Duration = Duration::from_secs(30);

/// Where the agent's metrics are, in its namespace.
const METRICS: &str = "http://127.0.0.1:9180/metrics";

/// The metric that counts connections which `sk_lookup` gave to the agent.
const STEERED: &str = "sluice_lookup_total{outcome=\"steered\"}";

/// What the command line asked for.
#[derive(Debug, Default)]
struct Options {
    keep: bool,
    json: bool,
    release: bool,
}

/// What the counters say.
struct Steering {
    before: u64,
    after: u64,
    /// Sockets in the load balancer's namespace that listen on port 80.
    bound: usize,
}

/// Plays the demo.
pub fn run(args: &[&str]) -> Result<()> {
    let options = Options::read(args)?;
    step(&options, &["setup"])?;
    step(&options, if options.release { &["build", "--release"] } else { &["build"] })?;
    let binaries = target_dir().join(if options.release { "release" } else { "debug" });
    let mut network = Network::new(&binaries)?;
    prepare_manifests(&root().join("deploy/examples"), &network)?;
    network.start_backends()?;
    network.start_agent()?;
    wait_ready(&mut network)?;

    let before = steered(&network)?;
    let rows: Vec<Row> = REQUESTS.iter().map(|request| ask(&network, request)).collect::<Result<_>>()?;
    let after = steered(&network)?;
    let steering = Steering { before, after, bound: network.sockets_on_port_80()? };
    let comparison = carry::compare(&network)?;
    let faults = [judge(&rows, &steering), comparison.faults()].concat();
    if options.json {
        println!("{:#}", report(&rows, &steering, &comparison, &faults));
    } else {
        print(&rows, &steering, &comparison, options.release);
    }
    ensure!(faults.is_empty(), "not as expected:\n  {}\n{}", faults.join("\n  "), network.agent_log_tail());
    if options.keep {
        network.admit_the_host()?;
        say_how_to_reach(&network, options.json);
        network.wait_for_the_agent()?;
        bail!("the agent ended\n{}", network.agent_log_tail());
    }
    if !options.json {
        println!("Next: `cargo xtask demo --keep` leaves all this running for you to try, and prints the URLs.");
        println!("      deploy/examples/ holds the manifests, docs/ what else there is.");
    }
    Ok(())
}

impl Options {
    fn read(args: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--keep" => options.keep = true,
                "--json" => options.json = true,
                "--release" => options.release = true,
                other => bail!("{other} is not understood; usage: cargo xtask demo [--keep] [--json] [--release]"),
            }
        }
        Ok(options)
    }
}

/// Runs another verb of this program; what it prints goes to standard error, so that `--json` stays JSON.
fn step(options: &Options, verb: &[&str]) -> Result<()> {
    if !options.json {
        println!("== {} ==", verb.join(" "));
    }
    let mut command = Command::new(this_program());
    command.args(verb);
    if options.json {
        command.stdout(Stdio::from(std::io::stderr()));
    }
    let status = command.status().with_context(|| format!("cannot run xtask {verb:?}"))?;
    ensure!(status.success(), "`cargo xtask {}` failed", verb.join(" "));
    Ok(())
}

/// Copies the examples, and adds the Secret that tls.yaml names: no private key lies in the repository.
fn prepare_manifests(examples: &Path, network: &Network) -> Result<()> {
    let manifests = network.manifests();
    for entry in std::fs::read_dir(examples).with_context(|| format!("cannot read {}", examples.display()))? {
        let entry = entry?;
        std::fs::copy(entry.path(), manifests.join(entry.file_name()))?;
    }
    let (certificate, key) = (network.certificate(), network.directory().join("tls.key"));
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 -subj /CN=secure.example \
                 -addext subjectAltName=DNS:secure.example";
    let mut openssl = Command::new("openssl");
    openssl.args(words.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    network::output(&mut openssl)?;
    let base64 = |file: &Path| network::output(Command::new("openssl").args(["base64", "-A", "-in"]).arg(file));
    let secret = format!(
        "# Made by the demo.\napiVersion: v1\nkind: Secret\nmetadata: {{name: secure-example}}\ntype: kubernetes.io/tls\n\
         data:\n  tls.crt: {}\n  tls.key: {}\n",
        base64(&certificate)?.trim(),
        base64(&key)?.trim()
    );
    std::fs::write(manifests.join("secret.yaml"), secret)?;
    Ok(())
}

fn wait_ready(network: &mut Network) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        let mut curl = network.balancer("curl");
        curl.args(["--silent", "--output", "/dev/null", "--fail", "http://127.0.0.1:9180/readyz"]);
        if curl.status().context("cannot run curl")?.success() {
            return Ok(());
        }
        if let Some(status) = network.agent_ended()? {
            bail!("the agent ended before it was ready ({status})\n{}", network.agent_log_tail());
        }
        ensure!(Instant::now() < deadline, "the agent was not ready in time\n{}", network.agent_log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn steered(network: &Network) -> Result<u64> {
    let text = network::output(network.balancer("curl").args(["--silent", "--show-error", METRICS]))?;
    value(&text, STEERED)
}

/// The value of a metric; 0 when there is none.
fn value(metrics: &str, name: &str) -> Result<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or("0").trim().parse().with_context(|| format!("the value of {name}"))
}

/// Everything that is not as it should be.
fn judge(rows: &[Row], steering: &Steering) -> Vec<String> {
    let mut faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    let connections = rows.len() as u64;
    let grown = steering.after.saturating_sub(steering.before);
    if grown < connections {
        faults.push(format!("{connections} connections were made, but {STEERED} grew by {grown}"));
    }
    if steering.bound > 0 {
        faults.push(format!("{} sockets are bound to port 80, which steering makes needless", steering.bound));
    }
    let pods = |service: &str| {
        let mut pods: Vec<&str> = rows.iter().filter(|r| r.service() == service).map(Row::pod).collect();
        pods.sort_unstable();
        pods.dedup();
        pods.len()
    };
    if pods("nginx") != 3 {
        faults.push(format!("{} of the 3 pods of nginx answered", pods("nginx")));
    }
    faults
}

fn print(rows: &[Row], steering: &Steering, comparison: &Comparison, release: bool) {
    let header = ["REQUEST", "INGRESS AND RULE", "ANSWER", "BACKEND", "PROTOCOL", "CLASS", "LATENCY"];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    print_table(&lines);
    println!("\nWhy a class:");
    let mut reasons: Vec<String> = rows.iter().filter_map(Row::reason).collect();
    reasons.sort();
    reasons.dedup();
    reasons.iter().for_each(|reason| println!("  {reason}"));
    let grown = steering.after.saturating_sub(steering.before);
    println!("\nSteering: {} connections were made, and sk_lookup gave {grown} to the agent", rows.len());
    println!("  {STEERED}: {} before, {} after", steering.before, steering.after);
    println!("  sockets bound to port 80 in the load balancer's namespace: {}", steering.bound);
    print_table(&comparison.table());
    comparison.notes().iter().for_each(|note| println!("  {note}"));
    let build = if release { "release" } else { "debug" };
    println!("\nLatency is curl's, connection included, with a {build} build.\n");
}

/// Columns as wide as their widest cell, after an empty line.
fn print_table<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    println!();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn report(rows: &[Row], steering: &Steering, comparison: &Comparison, faults: &[String]) -> Value {
    json!({
        "ok": faults.is_empty(),
        "faults": faults,
        "requests": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "steering": {
            "connections": rows.len(),
            "steered_before": steering.before,
            "steered_after": steering.after,
            "sockets_on_port_80": steering.bound,
        },
        "carrying": comparison.json(),
    })
}

fn say_how_to_reach(network: &Network, json: bool) {
    let directory = network.directory().display();
    let text = format!(
        "The demo keeps running. From this machine ({HOST_ROUTE}):\n\
         \x20 curl --connect-to ::{ADDRESS}: http://localhost/cart\n\
         \x20 curl --connect-to ::{ADDRESS}: http://shop.example/api/orders\n\
         \x20 curl --connect-to ::{ADDRESS}: --cacert {directory}/tls.crt https://secure.example/\n\
         Edit a manifest below {manifests} and ask again: it is served at once.\n\
         \x20 {sluice} routes --run-dir {directory}/run\n\
         \x20 {sluice} explain GET http://shop.example/api/orders --run-dir {directory}/run\n\
         To stop it and remove everything: Ctrl-C here, or `kill {pid}`.",
        manifests = network.manifests().display(),
        sluice = network.sluice().display(),
        pid = std::process::id(),
    );
    if json { eprintln!("{text}") } else { println!("{text}") }
}
