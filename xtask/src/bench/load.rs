//! Load from outside: `wrk` and `h2load`, started in the client's namespace, and what they print.
//!
//! Goes in: a URL, connections, seconds. Comes out: what was done. A request that failed is an error.

use super::lab::{CLIENT_CPUS, Lab, Room};
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// What a run of load did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Done {
    /// Requests that were answered with success.
    pub requests: u64,
    /// Measured time, seconds.
    pub seconds: f64,
    /// Bytes of bodies that the client read; for `wrk` with their heads.
    pub bytes: f64,
}

/// How `wrk` asks.
#[derive(Debug, Clone, Copy)]
pub struct Wrk<'a> {
    /// What is asked for.
    pub url: &'a str,
    /// Connections at the same time, each with one request in flight.
    pub connections: u32,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// How long.
    pub seconds: u64,
    /// CPUs of the client.
    pub cpus: &'a str,
}

/// Runs `wrk` with one thread.
pub fn wrk(lab: &Lab, wrk: &Wrk) -> Result<Done> {
    let mut command = lab.command(Room::Client, wrk.cpus, "wrk");
    command.args(["-t1", "--timeout", "10s"]);
    command.arg(format!("-c{}", wrk.connections)).arg(format!("-d{}s", wrk.seconds));
    if wrk.close {
        command.args(["-H", "Connection: close"]);
    }
    let text = output(command.arg(wrk.url))?;
    parse_wrk(&text).with_context(|| format!("wrk to {}:\n{text}", wrk.url))
}

/// How `h2load` asks over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// Name of the contender.
    pub host: &'a str,
    /// Connections at the same time.
    pub connections: u32,
    /// Streams of each at the same time, each with one request in flight.
    pub streams: u32,
    /// How long.
    pub seconds: u64,
    /// Bytes of a body.
    pub body: u64,
}

/// Runs `h2load` over TLS and HTTP/2. Another protocol than HTTP/2, or a body of another size, is an error.
pub fn streams(lab: &Lab, load: &Streams) -> Result<Done> {
    let mut command = lab.command(Room::Client, CLIENT_CPUS, "h2load");
    // Connections and their handshakes are made before the measurement begins.
    command.args(["--warm-up-time", "1", "--npn-list", "h2", "-D", &load.seconds.to_string()]);
    command.arg(format!("-c{}", load.connections)).arg(format!("-m{}", load.streams));
    let text = output(command.arg(format!("https://{}/", load.host)))?;
    let parse = || {
        ensure!(text.contains("Application protocol: h2"), "the connection is not HTTP/2");
        let done = parse_h2load(&text)?;
        ensure_bodies(&done, load.body)?;
        Ok(done)
    };
    parse().with_context(|| format!("h2load to {}:\n{text}", load.host))
}

/// An error unless the bytes that were read hold a whole body for each request. A hundredth is forgiven, since `wrk`
/// prints three digits; a proxy that answers with something shorter is far below.
pub fn ensure_bodies(done: &Done, body: u64) -> Result<()> {
    let mean = done.bytes / done.requests as f64;
    ensure!(mean >= body as f64 * 0.99, "answers have {mean:.0} bytes in the mean where bodies of {body} are due");
    Ok(())
}

/// Opens `connections` TLS connections as fast as they are taken, one request on each, no session resumed.
pub fn full_handshakes(lab: &Lab, name: &str, connections: u32) -> Result<Done> {
    let mut command = lab.command(Room::Client, CLIENT_CPUS, "h2load");
    let count = connections.to_string();
    command.args(["--h1", "-c", &count, "-n", &count]).arg(format!("https://{name}/"));
    let text = output(&mut command)?;
    parse_h2load(&text).with_context(|| format!("h2load to {name}:\n{text}"))
}

/// Reads what `wrk` prints; its fault lines are errors.
pub fn parse_wrk(text: &str) -> Result<Done> {
    for fault in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(line) = text.lines().map(str::trim).find(|line| line.starts_with(fault)) {
            bail!("requests failed: {line}");
        }
    }
    let line = text.lines().find(|line| line.contains(" requests in ")).context("no line `requests in`")?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [requests, "requests", "in", seconds, bytes, "read"] = words.as_slice() else { bail!("`{line}` is unknown") };
    let rate = line_value(text, "Requests/sec:")?;
    let transfer = line_value(text, "Transfer/sec:")?;
    let done = Done {
        requests: requests.parse()?,
        seconds: scaled(seconds.trim_end_matches(','), &TIMES)?,
        bytes: scaled(bytes, &SIZES)?,
    };
    ensure!(done.requests > 0, "no request was answered");
    // The rates have more digits than the sums.
    let seconds = done.requests as f64 / rate.parse::<f64>()?;
    Ok(Done { requests: done.requests, seconds, bytes: scaled(transfer, &SIZES)? * seconds })
}

/// Reads what `h2load` prints; a request without success is an error.
pub fn parse_h2load(text: &str) -> Result<Done> {
    let finished = line_value(text, "finished in ")?.trim_end_matches(',');
    let requests = text.lines().find(|line| line.starts_with("requests: ")).context("no line `requests:`")?;
    let count = |what: &str| -> Result<u64> {
        let words: Vec<&str> = requests.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|word| *word == what).with_context(|| format!("no `{what}`"))?;
        Ok(words.get(place.wrapping_sub(1)).context("no number")?.parse()?)
    };
    // A measurement of some seconds ends with requests on their way: begun, but not done.
    ensure!(count("succeeded")? == count("done")? && count("done")? > 0, "requests failed: {requests}");
    let failed = count("failed")? + count("errored")? + count("timeout")?;
    ensure!(failed == 0, "requests failed: {requests}");
    let codes = text.lines().find(|line| line.starts_with("status codes: ")).context("no line `status codes:`")?;
    ensure!(codes.contains(&format!(" {} 2xx,", count("succeeded")?)), "answers without success: {codes}");
    let traffic = text.lines().find(|line| line.starts_with("traffic: ")).context("no line `traffic:`")?;
    let data = traffic.strip_suffix(") data").and_then(|rest| rest.rsplit('(').next()).context("no `data`")?;
    Ok(Done { requests: count("succeeded")?, seconds: scaled(finished, &TIMES)?, bytes: data.parse()? })
}

/// Units of time, the longest suffix first.
const TIMES: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Units of size: both programs count in powers of 1,024.
const SIZES: [(&str, f64); 4] = [("KB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("B", 1.0)];

fn scaled(word: &str, units: &[(&str, f64)]) -> Result<f64> {
    let found = units.iter().find_map(|(unit, factor)| Some(word.strip_suffix(unit)?.parse::<f64>().ok()? * factor));
    found.with_context(|| format!("`{word}` has no known unit"))
}

/// The first word after `start` on the line that begins with it.
fn line_value<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(start));
    line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("no line `{start}`"))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot start the load")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
