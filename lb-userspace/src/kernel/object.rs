//! The eBPF object that this binary carries, and loading it.
//!
//! Owns: the bytes (`build.rs` finds them) and the hand-over to aya. Goes in: pins of maps that exist already.
//! Comes out: the loaded program and its maps. Does not do: attaching, pinning what is new.

use super::{Unavailable, unavailable};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, SockMap};
use aya::programs::SkLookup;
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::lookup::{Listener, ListenerKey};
use lb_common::maps;
use std::io;
use std::path::Path;

/// Empty when the binary was built without `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The eBPF object that this binary carries; empty when it was built without.
#[must_use]
pub fn object() -> &'static [u8] {
    OBJECT
}

/// Maps of the look-up.
pub(super) const OF_LOOKUP: [&str; 4] = [maps::LISTENERS, maps::SOCKETS, maps::COUNTERS, maps::LOGS];

/// Maps of the splice.
pub(super) const OF_SPLICE: [&str; 5] = [maps::FLOWS, maps::CONNS, maps::SPLICE_COUNTERS, maps::EVENTS, maps::PORTS];

/// A loaded object.
pub(super) struct Loaded {
    /// Holds the program and the ring of log records.
    pub ebpf: Ebpf,
    pub maps: Maps,
}

/// The maps, typed.
pub(super) struct Maps {
    pub listeners: HashMap<MapData, ListenerKey, Listener>,
    pub sockets: SockMap<MapData>,
    pub counters: PerCpuArray<MapData, u64>,
}

/// Loads the object into the kernel. Maps that are pinned in `pins` are used, others are made and pinned there.
pub(super) fn load(object: &[u8], pins: &Path) -> Result<Loaded, Unavailable> {
    let mut loader = EbpfLoader::new();
    for name in OF_LOOKUP {
        loader.map_pin_path(name, pins.join(name));
    }
    shrink(&mut loader, &OF_SPLICE);
    let mut ebpf = loader.load(object).map_err(|e| Unavailable::from_aya("make maps", e))?;
    OF_SPLICE.iter().for_each(|name| drop(ebpf.take_map(name)));
    program(&mut ebpf)?.load().map_err(|e| Unavailable::from_aya("load a program", e))?;
    let maps = Maps {
        listeners: typed(take(&mut ebpf, maps::LISTENERS)?)?,
        sockets: typed(take(&mut ebpf, maps::SOCKETS)?)?,
        counters: typed(take(&mut ebpf, maps::COUNTERS)?)?,
    };
    Ok(Loaded { ebpf, maps })
}

/// Loads program and maps as [`load`] does, names nothing, and drops them.
pub(super) fn try_load(object: &[u8]) -> Result<(), Unavailable> {
    if object.is_empty() {
        return Err(Unavailable::ObjectMissing);
    }
    unavailable::check_kernel()?;
    let mut loader = EbpfLoader::new();
    shrink(&mut loader, &OF_SPLICE);
    let mut ebpf = loader.load(object).map_err(|e| Unavailable::from_aya("make maps", e))?;
    program(&mut ebpf)?.load().map_err(|e| Unavailable::from_aya("load a program", e))
}

/// aya makes all maps of an object, whoever uses them. Those that the caller does not use get one element (a ring, one
/// page), unpinned, so that look-up and splice share one object and not each other's memory.
pub(super) fn shrink(loader: &mut EbpfLoader<'_>, maps: &[&'static str]) {
    for name in maps {
        loader.map_max_entries(name, 1);
    }
}

/// The program of a loaded object.
pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut SkLookup, Unavailable> {
    let program = ebpf.program_mut(maps::LOOKUP_PROGRAM).ok_or_else(|| absent(maps::LOOKUP_PROGRAM))?;
    program.try_into().map_err(|e| Unavailable::from_aya("load a program", EbpfError::ProgramError(e)))
}

pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Unavailable> {
    ebpf.take_map(name).ok_or_else(|| absent(name))
}

pub(super) fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(map: Map) -> Result<T, Unavailable> {
    T::try_from(map).map_err(|e| Unavailable::from_aya("use a map", e))
}

pub(super) fn absent(name: &str) -> Unavailable {
    let source = io::Error::new(io::ErrorKind::NotFound, format!("{name} is not in the eBPF object"));
    Unavailable::Failed { action: "use the eBPF object".to_owned(), source }
}
