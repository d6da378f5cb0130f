//! What this node has of what an agent needs: the kernel's part, the listeners' and that of files, in one list.
//!
//! Goes in: a [`Node`]. Comes out: [`Check`]s, and for the log what is not as it should be. Does not do: printing a table.

mod files;
mod listeners;

use crate::config::{Config, Limits, Splice, SpliceInterfaces, SpliceMode, SteeringMode, Xdp};
use crate::kernel::Interfaces;
use crate::kernel::doctor::{self, Asked, Check, State, Want};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What an agent would be told, as far as the node matters.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it would serve.
    pub listeners: Vec<SocketAddr>,
    /// Directory of control socket and lock.
    pub run_dir: PathBuf,
    /// Directory of the pins.
    pub pin_dir: PathBuf,
    /// Whether `sk_lookup` is to steer.
    pub steering: SteeringMode,
    /// Whether and how connections are to be carried.
    pub splice: Splice,
    /// Bounds of the request path.
    pub limits: Limits,
    /// Whether the programs are loaded and dropped, which takes some 200 ms.
    pub loads: bool,
}

impl Node {
    /// As an agent with this configuration wants it. The programs are not loaded: it loads them itself.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            listeners: config.http.iter().chain(&config.https).copied().collect(),
            run_dir: config.run_dir.clone(),
            pin_dir: config.pin_dir.clone(),
            steering: config.steering,
            splice: config.splice.clone(),
            limits: config.limits.clone(),
            loads: false,
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            pin_dir: self.pin_dir.clone(),
            steering: match self.steering {
                SteeringMode::Off => Want::Off,
                SteeringMode::Auto => Want::Auto,
                SteeringMode::Required => Want::Required,
            },
            splice: match self.splice.mode {
                SpliceMode::Off => Want::Off,
                SpliceMode::Auto => Want::Auto,
                SpliceMode::Required => Want::Required,
            },
            interfaces: match &self.splice.interfaces {
                SpliceInterfaces::Auto { except } => Interfaces::Auto { except: except.clone() },
                SpliceInterfaces::Named(names) => Interfaces::Named(names.clone()),
            },
            ports: self.splice.ports.clone(),
            xdp: self.splice.xdp == Xdp::Native,
            loads: self.loads,
        }
    }
}

/// Asks everything.
#[must_use]
pub fn examine(node: &Node) -> Vec<Check> {
    let mut checks = doctor::examine(&node.asked());
    let steers = node.steering != SteeringMode::Off && checks.iter().filter(|check| is_of_steering(check)).all(is_ok);
    checks.extend(listeners::checks(&node.listeners, steers));
    checks.extend(files::checks(&node.run_dir, &node.limits));
    checks
}

/// What an agent that cannot have it cannot steer without.
fn is_of_steering(check: &Check) -> bool {
    let names = ["kernel", "bpf system call", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "bpffs", "program sk_lookup"];
    names.contains(&check.name.as_str())
}

fn is_ok(check: &Check) -> bool {
    check.state == State::Ok
}

/// Says once at the start what is not as it should be; `sluice doctor` says the rest.
pub fn log(checks: &[Check]) {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    for Check { name, state, found, needed_for, remedy } in checks.iter().filter(|check| !is_ok(check)) {
        let (state, remedy) = (state.name(), remedy.as_deref().unwrap_or_default());
        tracing::info!(check = name, state, found, needed_for, remedy, "this node");
    }
    let (ok, degraded, missing) = (count(State::Ok), count(State::Degraded), count(State::Missing));
    tracing::info!(ok, degraded, missing, "this node was looked at; `sluice doctor` shows the table");
}

/// The nearest directory above a path, or itself, that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"))
}
