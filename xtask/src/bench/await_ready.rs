//! A tool in the client's namespace that waits until something serves.
//!
//! Goes in: an address, and a path or `-`. Comes out: success when a connection (or an answer of 200) was had, and the
//! time it took in milliseconds on standard output.

use super::client::{Client, request_path};
use anyhow::{Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long it waits in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts: what a start-up time may be wrong by.
const PAUSE: Duration = Duration::from_millis(1);

/// The tool: `await-ready ADDRESS PATH`.
pub fn run_tool(address: &str, path: &str) -> Result<()> {
    let target: SocketAddr = address.parse()?;
    let start = Instant::now();
    let mut last = String::new();
    while start.elapsed() < PATIENCE {
        match attempt(target, path) {
            Ok(()) => {
                println!("{}", start.elapsed().as_secs_f64() * 1e3);
                return Ok(());
            }
            Err(error) => last = format!("{error:#}"),
        }
        std::thread::sleep(PAUSE);
    }
    bail!("{address} does not serve within {PATIENCE:?}: {last}")
}

fn attempt(target: SocketAddr, path: &str) -> Result<()> {
    if path == "-" {
        TcpStream::connect_timeout(&target, PATIENCE)?;
        return Ok(());
    }
    let answer = Client::new(target).exchange(&request_path("localhost", path))?;
    if answer.status != 200 {
        bail!("status {}", answer.status);
    }
    Ok(())
}
