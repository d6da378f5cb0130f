//! A tool in the client's namespace that changes a configuration again and again and waits until each is served.
//!
//! Goes in: the file that changes and a pattern of its content. Comes out: JSON with p50 and p99 of the
//! time from the rename of the file to the first answer at the new path, and requests that failed meanwhile. Each change
//! serves a path that was never served before, so no earlier state can be taken for the new one.

use super::client::{Client, request_path};
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

/// Stands in the pattern for the path that a change serves; served itself before the first change.
pub const PATH: &str = "/the-path";

/// The tool: `change TARGET COUNT FILE PATTERN [PID TO HANG UP]`.
pub fn run_tool(args: &[&str]) -> Result<()> {
    let [target, count, file, pattern, reload @ ..] = args else { bail!("change wants four words") };
    let count: usize = count.parse()?;
    let pattern = std::fs::read_to_string(pattern)?;
    let mut client = Client::new(target.parse()?);
    let (mut times, mut failed) = (Vec::new(), 0);
    for number in 0..count {
        // The mark at the end keeps 1 from being the beginning of 10, which nginx would serve as well.
        let path = format!("/change-{number}-");
        let start = Instant::now();
        replace(Path::new(file), &pattern.replace(PATH, &path))?;
        if let Some(pid) = reload.first() {
            ensure!(Command::new("kill").args(["-HUP", pid]).status()?.success(), "cannot reload");
        }
        failed += wait_until_served(&mut client, &path, start)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!("{}", json!({"p50_ms": p50, "p99_ms": p99, "failed": failed}));
    Ok(())
}

/// Asks on a new connection each time, as the old one may belong to a worker that retires; answers failed requests.
fn wait_until_served(client: &mut Client, path: &str, start: Instant) -> Result<u64> {
    let request = request_path("changed.bench", path);
    let mut failed = 0;
    loop {
        client.close();
        match client.exchange(&request) {
            Ok(answer) if answer.status == 200 => return Ok(failed),
            // The state before the change.
            Ok(answer) if answer.status == 404 => {}
            Ok(_) | Err(_) => failed += 1,
        }
        ensure!(start.elapsed() < PATIENCE, "a change is not served after {PATIENCE:?}");
    }
}

fn replace(file: &Path, content: &str) -> Result<()> {
    // A hidden name, which a watcher of manifests passes over.
    let new = file.with_file_name(".change");
    std::fs::write(&new, content)?;
    std::fs::rename(&new, file).with_context(|| format!("cannot change {}", file.display()))
}
