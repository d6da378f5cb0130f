//! The shape of the maps of the splice: what is pinned must be what this version would make.
//!
//! Owns: the shapes. Goes in: the directory of a set. Comes out: nothing, or [`Unavailable::Foreign`].
//! Does not do: judging what is inside.
//!
//! A map of another shape is never used: we would take its bytes for others than they are. That it is pinned under the
//! name of our version means that somebody forgot to raise
//! [`SPLICE_ABI_VERSION`](lb_common::maps::SPLICE_ABI_VERSION), or that it is not ours at all.

use super::super::syscall::{self, MapInfo};
use super::super::{Unavailable, elements};
use lb_common::maps;
use lb_common::splice::{Conn, FlowKey, FlowRef};
use std::os::fd::AsFd;
use std::path::Path;

/// `enum bpf_map_type`.
const PERCPU_ARRAY: u32 = 6;
const DEVMAP_HASH: u32 = 25;
const RINGBUF: u32 = 27;

/// `BPF_F_…` of `linux/bpf.h`.
const MMAPABLE: u32 = 1 << 10;
/// The kernel adds it to every devmap.
const RDONLY_PROG: u32 = 1 << 7;

/// Of a map.
struct Shape {
    name: &'static str,
    kind: u32,
    key_size: u32,
    /// More than one where kernels differ.
    value_sizes: &'static [u32],
    max_entries: u32,
    flags: u32,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: maps::FLOWS,
        kind: elements::HASH,
        key_size: size_of::<FlowKey>() as u32,
        value_sizes: &[size_of::<FlowRef>() as u32],
        max_entries: maps::FLOWS_MAX,
        flags: 0,
    },
    Shape {
        name: maps::CONNS,
        kind: elements::ARRAY,
        key_size: 4,
        value_sizes: &[size_of::<Conn>() as u32],
        max_entries: maps::CONNS_MAX,
        flags: MMAPABLE,
    },
    Shape {
        name: maps::SPLICE_COUNTERS,
        kind: PERCPU_ARRAY,
        key_size: 4,
        value_sizes: &[8],
        max_entries: maps::SPLICE_COUNTERS_MAX,
        flags: 0,
    },
    Shape {
        name: maps::EVENTS,
        kind: RINGBUF,
        key_size: 0,
        value_sizes: &[0],
        max_entries: maps::EVENTS_BYTES,
        flags: 0,
    },
    Shape {
        name: maps::PORTS,
        kind: DEVMAP_HASH,
        key_size: 4,
        // An index, and since 5.8 a program.
        value_sizes: &[4, 8],
        max_entries: maps::PORTS_MAX,
        flags: RDONLY_PROG,
    },
];

/// Compares every map of a set.
pub(super) fn check(set: &Path) -> Result<(), Unavailable> {
    for shape in &SHAPES {
        let pin = set.join(shape.name);
        let read = || syscall::map_info(syscall::open_pin(&pin)?.as_fd());
        let info = read().map_err(|e| Unavailable::from_io(format!("read {}", pin.display()), e))?;
        if !shape.fits(&info) {
            return Err(Unavailable::Foreign { path: pin, found: said(&info), expected: said(&shape.info()) });
        }
    }
    Ok(())
}

impl Shape {
    fn fits(&self, info: &MapInfo) -> bool {
        let same = (self.kind, self.key_size, self.max_entries, self.flags);
        same == (info.kind, info.key_size, info.max_entries, info.flags) && self.value_sizes.contains(&info.value_size)
    }

    fn info(&self) -> MapInfo {
        let value_size = self.value_sizes.last().copied().unwrap_or_default();
        let (kind, key_size, max_entries, flags) = (self.kind, self.key_size, self.max_entries, self.flags);
        MapInfo { kind, id: 0, key_size, value_size, max_entries, flags }
    }
}

fn said(info: &MapInfo) -> String {
    let MapInfo { kind, key_size, value_size, max_entries, flags, .. } = info;
    format!("type {kind}, key {key_size} bytes, value {value_size} bytes, {max_entries} entries, flags {flags:#x}")
}
