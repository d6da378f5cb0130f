//! What a connection through a proxy costs in memory, the kernel's included: thousands of WebSockets are held open.
//!
//! Goes in: nothing. Comes out: bytes of a connection: what the machine's slabs, its pages of processes and kernel stacks and
//! page tables grew by, less the same for as many by the bare way, so that client and server cancel out. The maps of the
//! programs are allocated whole before there is a connection; the part of each in them is added. Page cache is not counted.

use super::Bench;
use super::echo;
use super::lab::{CLIENT_CPUS, Room};
use super::measure::{Better, Goal, Metric, SUBJECT};
use super::peer::{CARRIED, Kind, Peer, WEBSOCKET_HOST};
use super::websocket::{CONTENDERS, handed_over, target};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

const CONNECTIONS: u32 = 4_000;

/// Growth of `/proc/meminfo` that belongs to connections.
const FIELDS: [&str; 6] = ["Slab", "AnonPages", "KernelStack", "PageTables", "Percpu", "VmallocUsed"];

/// Measures it in interleaved rounds, each with new processes.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let mut metric = Metric::new(
        scenario,
        "memory of a connection, kernel and proxy",
        "bytes",
        Better::Lower,
        Some(Goal::Ratio(2.0)),
    );
    let mut whole = Metric::new(scenario, "of which client and server have", "bytes", Better::Neither, None);
    let mut maps = Metric::new(scenario, "of which in the programs' maps", "bytes", Better::Neither, None);
    for _ in 0..bench.rounds {
        let mut direct = 0.0;
        for kind in bench.kinds(CONTENDERS) {
            let held = hold_once(bench, kind).with_context(|| format!("connections by {}", kind.name()))?;
            if kind == Kind::Direct {
                direct = held.grown;
                whole.push(kind.name(), direct);
                continue;
            }
            metric.push(kind.name(), held.grown - direct + held.maps);
            if kind == Kind::Sluice {
                maps.push(SUBJECT, held.maps);
            }
        }
    }
    Ok(vec![metric, whole, maps])
}

/// Bytes of each connection.
struct Held {
    grown: f64,
    maps: f64,
}

fn hold_once(bench: &Bench, kind: Kind) -> Result<Held> {
    let mut server = echo::start(&bench.lab, CLIENT_CPUS)?;
    let mut peer = Peer::start(bench, kind, CARRIED)?;
    let handed = handed_over(bench, &peer)?;
    // What the first connections leave behind is no part of those that are held.
    echo::measure(&bench.lab, &target(kind), WEBSOCKET_HOST, 1)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = used_bytes()?;
    let args = ["hold", &target(kind), WEBSOCKET_HOST, &CONNECTIONS.to_string()];
    let mut command = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?;
    let mut holder =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the clients")?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("the clients have an output")?).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the clients could not open all connections");
    // A proxy that sheds buffers when idle may do so.
    std::thread::sleep(Duration::from_secs(2));
    let grown = (used_bytes()? - before) / f64::from(CONNECTIONS);
    server.ensure_running()?;
    peer.ensure_running()?;
    let carried = handed_over(bench, &peer)? - handed;
    let maps = match peer.process() {
        Some(process) if kind == Kind::Sluice => {
            ensure!(carried >= f64::from(CONNECTIONS), "the kernel carried {carried} of {CONNECTIONS}");
            map_bytes(process.pid())?
        }
        _ => 0.0,
    };
    // The end of its input is the sign to look at each connection once more, and to end.
    drop(holder.stdin.take());
    ensure!(holder.wait()?.success(), "connections were lost while they were held");
    Ok(Held { grown, maps })
}

/// Memory in use that connections can be the reason of.
fn used_bytes() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kilobytes = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let word =
            line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("meminfo has no {name}"))?;
        Ok(word.parse()?)
    };
    FIELDS.iter().map(|name| kilobytes(name)).sum::<Result<f64>>().map(|sum| sum * 1024.0)
}

/// The part of a connection in the maps that the agent holds: a record, and a key for each direction. The keys' map is the
/// largest hash (type 1) with small values, which holds two for each record (proc_pid_fdinfo(5)); that of the records is the
/// largest that is mapped (proc_pid_maps(5)).
fn map_bytes(pid: u32) -> Result<f64> {
    let (mut keys, mut keys_bytes) = (0.0, 0.0);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        // A descriptor may be closed while the list is read.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<f64>().ok())
        };
        if let (Some(1.0), Some(bytes), Some(entries)) = (field("map_type"), field("memlock"), field("max_entries"))
            && bytes > keys_bytes
        {
            (keys, keys_bytes) = (entries, bytes);
        }
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let records_bytes =
        maps.lines().filter(|line| line.contains("bpf-map")).filter_map(mapping_bytes).fold(0.0, f64::max);
    ensure!(keys > 0.0 && records_bytes > 0.0, "the agent holds no maps of connections");
    let (record, key) = (records_bytes / (keys / 2.0), keys_bytes / keys);
    Ok(record + 2.0 * key)
}

/// `from-to …` in hexadecimal digits.
fn mapping_bytes(line: &str) -> Option<f64> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(to)? - address(from)?) as f64)
}
