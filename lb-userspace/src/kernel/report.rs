//! What is in the kernel on our behalf, for people and scripts.
//!
//! Owns: the shape of the report. Goes in: [`Attached`]. Comes out: a [`Report`], which serialises.
//! Does not do: counters (they change at every packet), printing.

use super::attach::Attached;
use super::pins;
use super::unavailable::release;
use aya::maps::MapData;
use lb_common::maps;
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// What is in the kernel on our behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The kernel's release; empty when it cannot be read.
    pub kernel: String,
    /// Version of the contract between kernel and userspace.
    pub abi_version: u32,
    /// Where program and maps came from when this agent started.
    pub origin: Origin,
    /// The program.
    pub program: ProgramReport,
    /// Number of the link that attaches it; stays the same when an agent adopts it.
    pub link_id: u32,
    /// Names of all objects in the bpffs.
    pub pins: Vec<PathBuf>,
    /// The maps.
    pub maps: Vec<MapReport>,
}

/// Where program and maps came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Loaded and attached by this agent.
    Fresh,
    /// An earlier agent's, all of it.
    Adopted,
    /// An earlier agent's link and maps with our program.
    Updated,
}

impl Origin {
    /// As in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Adopted => "adopted",
            Self::Updated => "updated",
        }
    }
}

/// A program in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramReport {
    /// Its name.
    pub name: String,
    /// Its number, as `bpftool prog show id` takes it.
    pub id: u32,
    /// A digest of its instructions, as `bpftool` prints it.
    pub tag: String,
}

/// A map in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MapReport {
    /// Its name.
    pub name: &'static str,
    /// Entries in use; none for maps that do not tell (sockets, counters, log).
    pub entries: Option<usize>,
    /// Capacity in entries; bytes for the log.
    pub entries_max: u32,
    /// Kernel memory in bytes, as `/proc/PID/fdinfo` says; none when it does not tell.
    pub bytes: Option<u64>,
}

/// Reports on what is attached.
pub(super) fn report(attached: &Attached) -> Report {
    let in_use = attached.maps.listeners.keys().filter(Result::is_ok).count();
    let map =
        |name, entries, entries_max| MapReport { name, entries, entries_max, bytes: bytes(&attached.set.join(name)) };
    Report {
        kernel: release().unwrap_or_default(),
        abi_version: maps::ABI_VERSION,
        origin: attached.origin,
        program: attached.program.clone(),
        link_id: attached.link_id,
        pins: pins::NAMES.iter().map(|name| attached.set.join(name)).collect(),
        maps: vec![
            map(maps::LISTENERS, Some(in_use), maps::LISTENERS_MAX),
            map(maps::SOCKETS, None, maps::LISTENERS_MAX),
            map(maps::COUNTERS, None, maps::COUNTERS_MAX),
            map(maps::LOGS, None, maps::LOGS_BYTES),
        ],
    }
}

/// The line `memlock:` of the descriptor's information.
pub(super) fn bytes(pin: &Path) -> Option<u64> {
    let map = MapData::from_pin(pin).ok()?;
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}
