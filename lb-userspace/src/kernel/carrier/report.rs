//! What is in the kernel so that connections are carried, for people and scripts.
//!
//! Owns: the shape of the report. Goes in: a [`Carrier`]. Comes out: a [`CarrierReport`], which serialises.
//! Does not do: the carried pairs themselves (`splice`), counters, printing.

use super::super::report::{MapReport, Origin, ProgramReport, bytes};
use super::super::unavailable::release;
use super::{AttachBy, Carrier, locked};
use lb_common::maps;
use serde::Serialize;
use std::path::PathBuf;

/// What is in the kernel so that connections are carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CarrierReport {
    /// The kernel's release; empty when it cannot be read.
    pub kernel: String,
    /// Version of the contract between kernel and userspace about carried pairs.
    pub abi_version: u32,
    /// Where programs and maps came from when this agent started.
    pub origin: Origin,
    /// How programs are attached.
    pub attached_by: AttachBy,
    /// The programs: on the way in, on the way out, in XDP.
    pub programs: Vec<ProgramReport>,
    /// Interfaces that run them, or should.
    pub interfaces: Vec<InterfaceReport>,
    /// Directory of the pins.
    pub pins: PathBuf,
    /// The maps.
    pub maps: Vec<MapReport>,
    /// Sets of pins that an agent of another version left and that still carry.
    pub others: Vec<OtherSet>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether new pairs may be carried there.
    pub covered: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Numbers of the links that attach the programs, as `bpftool link show id` takes them; none for filters.
    pub links: Vec<u32>,
    /// Whether the program runs in XDP.
    pub xdp: bool,
    /// Why not, if it should; or why frames do not leave by this interface in XDP, but by tc.
    pub xdp_reason: Option<String>,
}

/// Pins of another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherSet {
    /// Their directory.
    pub path: PathBuf,
    /// Keys in use, two a pair.
    pub keys: usize,
}

/// Something that a kernel can do or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// What.
    pub name: &'static str,
    /// Whether.
    pub present: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl Ability {
    pub(super) fn new(name: &'static str, lack: Option<String>) -> Self {
        Self { name, present: lack.is_none(), reason: lack }
    }
}

/// Reports on what is attached.
pub(super) fn report(carrier: &Carrier) -> CarrierReport {
    let map = |name, entries, entries_max| {
        let bytes = bytes(&carrier.dir.join(name));
        MapReport { name, entries, entries_max, bytes }
    };
    // The other locks are taken one after the other: a report need not be of one moment.
    let (interfaces, attached_by) = {
        let attachments = locked(&carrier.attachments);
        (attachments.report(), attachments.by)
    };
    CarrierReport {
        kernel: release().unwrap_or_default(),
        abi_version: maps::SPLICE_ABI_VERSION,
        origin: carrier.origin,
        attached_by,
        programs: carrier.programs.all().map(|program| program.report.clone()).collect(),
        interfaces,
        pins: carrier.dir.clone(),
        maps: vec![
            map(maps::FLOWS, carrier.flows.count().ok(), maps::FLOWS_MAX),
            map(maps::CONNS, None, maps::CONNS_MAX),
            map(maps::SPLICE_COUNTERS, None, maps::SPLICE_COUNTERS_MAX),
            map(maps::EVENTS, None, maps::EVENTS_BYTES),
            map(maps::PORTS, None, maps::PORTS_MAX),
        ],
        others: locked(&carrier.others).report(),
    }
}
