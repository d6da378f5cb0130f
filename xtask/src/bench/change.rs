//! A tool in the client's namespace that changes a configuration again and again and waits until each is served.
//!
//! Goes in: the file that changes and two contents for it. Comes out: JSON with the changes done, p50 and p99 of the
//! time from the rename of the file to the first answer by the new backend, and requests that failed meanwhile.

use super::client::{Client, request};
use super::measure::percentile;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Rest between two changes.
const PAUSE: Duration = Duration::from_millis(10);

/// A change that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tool: `change TARGET COUNT SECONDS FILE FIRST SECOND [PID TO HANG UP]`. The route leads to `backend` before.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [target, count, seconds, file, first, second, reload @ ..] = args else { bail!("change wants six words") };
    let (count, seconds): (usize, u64) = (count.parse()?, seconds.parse()?);
    let contents = [std::fs::read(first)?, std::fs::read(second)?];
    let bodies: [&[u8]; 2] = [b"the other answer", b"the answer"];
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut client = Client::new(target.parse()?);
    let (mut times, mut failed) = (Vec::new(), 0);
    for number in 0..count {
        // A change without load beside it would show less.
        if Instant::now() > end {
            break;
        }
        let (content, body) = (&contents[number % 2], bodies[number % 2]);
        let start = Instant::now();
        replace(Path::new(file), content)?;
        if let Some(pid) = reload.first() {
            ensure!(Command::new("kill").args(["-HUP", pid]).status()?.success(), "cannot reload");
        }
        failed += wait_until_served(&mut client, body, start)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!("{}", json!({"changes": times.len(), "p50_ms": p50, "p99_ms": p99, "failed": failed}));
    Ok(())
}

/// Asks on a new connection each time, as the old one may belong to a worker that retires; answers failed requests.
fn wait_until_served(client: &mut Client, body: &[u8], start: Instant) -> Result<u64> {
    let request = request("changed.bench");
    let mut failed = 0;
    loop {
        client.close();
        match client.exchange(&request) {
            Ok(answer) if answer.status == 200 && answer.body.starts_with(body) => return Ok(failed),
            Ok(answer) if answer.status == 200 => {}
            Ok(_) | Err(_) => failed += 1,
        }
        ensure!(start.elapsed() < PATIENCE, "a change is not served after {PATIENCE:?}");
    }
}

fn replace(file: &Path, content: &[u8]) -> Result<()> {
    // A hidden name, which a watcher of manifests passes over.
    let new = file.with_file_name(".change");
    std::fs::write(&new, content)?;
    std::fs::rename(&new, file).with_context(|| format!("cannot change {}", file.display()))
}
