//! The maps: names, capacities and what they cost.
//!
//! Owns: every number that sizes a map, with the arithmetic that chose it, and the version of the contract.
//! Goes in: nothing. Comes out: constants for both sides and a bound on memory that a test asserts.
//! Does not do: opening a map.

use crate::lookup::{Listener, ListenerKey};
use crate::outcome::{LookupOutcome, SpliceOutcome};
use crate::splice::{Conn, FlowKey, FlowRef};

/// Version of the contract. Raise it when a key, a value, a capacity or the meaning of a field changes: pins of
/// another version are never adopted.
pub const ABI_VERSION: u32 = 1;

/// The program that is attached as `sk_lookup`.
pub const LOOKUP_PROGRAM: &str = "sluice_lookup";

/// Hash of [`ListenerKey`] to [`Listener`].
pub const LISTENERS: &str = "LISTENERS";

/// Sockets by slot (`BPF_MAP_TYPE_SOCKMAP`): one listening socket of each group.
pub const SOCKETS: &str = "SOCKETS";

/// Packets by outcome, one number a CPU.
pub const COUNTERS: &str = "COUNTERS";

/// Log records of our programs; the name is aya-log's.
pub const LOGS: &str = "AYA_LOGS";

/// Addresses and ports that may be served at once: 16 ports on each of 64 addresses.
pub const SERVED_MAX: u32 = 1024;

/// Keys and slots: a change of every address at once holds the old and the new together for a moment.
pub const LISTENERS_MAX: u32 = 2 * SERVED_MAX;

/// One counter an outcome.
pub const COUNTERS_MAX: u32 = LookupOutcome::ALL.len() as u32;

/// Size of the ring of log records in bytes; aya-log fixes it.
pub const LOGS_BYTES: u32 = 128 * 1024;

/// Version of the contract of the splice, apart from [`ABI_VERSION`]: live pairs must survive a change of the other.
pub const SPLICE_ABI_VERSION: u32 = 2;

/// The classifier on the way in (tcx, or clsact before kernel 6.6).
pub const SPLICE_PROGRAM: &str = "sluice_splice";

/// The classifier on the way out.
pub const SILENCE_PROGRAM: &str = "sluice_silence";

/// The translation in XDP.
pub const SPLICE_XDP_PROGRAM: &str = "sluice_spl_xdp";

/// Hash of [`FlowKey`] to [`FlowRef`], preallocated: never an LRU, whose eviction would break a live pair.
pub const FLOWS: &str = "FLOWS";

/// Array of [`Conn`].
pub const CONNS: &str = "CONNS";

/// Packets by [`SpliceOutcome`], one number a CPU.
pub const SPLICE_COUNTERS: &str = "SPLICE_COUNTERS";

/// Ring of [`Event`](crate::splice::Event).
pub const EVENTS: &str = "EVENTS";

/// Interfaces by index whose driver takes redirected frames in native mode (`BPF_MAP_TYPE_DEVMAP_HASH`, kernel 5.4).
pub const PORTS: &str = "PORTS";

/// Pairs that the kernel may carry at once: 16,384, half of what one source address of ours can open to one backend.
pub const CONNS_MAX: u32 = 16_384;

/// Two keys a pair.
pub const FLOWS_MAX: u32 = 2 * CONNS_MAX;

/// Size of the ring of events, bytes: 2,700 events of 24 bytes with their heads, more than a worker hands off in 50 ms.
pub const EVENTS_BYTES: u32 = 64 * 1024;

/// Interfaces of a machine that can be in [`PORTS`].
pub const PORTS_MAX: u32 = 1_024;

/// One counter an outcome.
pub const SPLICE_COUNTERS_MAX: u32 = SpliceOutcome::ALL.len() as u32;

/// Bytes that a pair costs in the kernel: its record and two elements of the hash with their share of the buckets.
#[must_use]
pub const fn pair_bytes() -> u64 {
    size_of::<Conn>() as u64 + 2 * flow_bytes()
}

const fn flow_bytes() -> u64 {
    // Head of an element, key, value, a bucket; see `memory_bytes_max`.
    48 + size_of::<FlowKey>() as u64 + size_of::<FlowRef>() as u64 + 16
}

/// An upper bound of what the kernel allocates for the maps of the splice, in bytes: records and keys are set aside for
/// all pairs at the start; what else there is, as in [`memory_bytes_max`].
#[must_use]
pub const fn splice_memory_bytes_max(cpus: u32) -> u64 {
    let conns = CONNS_MAX as u64 * size_of::<Conn>() as u64;
    let flows = (FLOWS_MAX as u64 + cpus as u64) * flow_bytes();
    let counters = SPLICE_COUNTERS_MAX as u64 * (8 + 8 * cpus as u64);
    let events = EVENTS_BYTES as u64 + 4 * 4096;
    // An element of a devmap with its head and a bucket: 128 bytes are more.
    let ports = PORTS_MAX as u64 * 128;
    conns + flows + counters + events + ports
}

/// An upper bound of what the kernel allocates for all maps of the look-up, in bytes.
///
/// Hash: an element has a head of 48 bytes (kernel 6.18, `struct htab_elem`), then key and value rounded up to 8; a
/// bucket is 16 bytes; elements are preallocated, with one more a CPU. Sockmap: a pointer a slot, and 128 bytes for
/// each socket in it (`struct sk_psock_link` and its share of `struct sk_psock` are less). Per-CPU array: 8 bytes a
/// counter and CPU, and a pointer. Ring: the data, two pages of positions, one of housekeeping, and a pointer a page.
#[must_use]
pub const fn memory_bytes_max(cpus: u32) -> u64 {
    let element = 48 + (size_of::<ListenerKey>() as u64).next_multiple_of(8) + 8;
    const { assert!(size_of::<Listener>() <= 8, "the arithmetic above has 8 bytes for a value") };
    let listeners = (LISTENERS_MAX as u64 + cpus as u64) * element + (LISTENERS_MAX as u64).next_power_of_two() * 16;
    let sockets = LISTENERS_MAX as u64 * (8 + 128);
    let counters = COUNTERS_MAX as u64 * (8 + 8 * cpus as u64);
    let logs = LOGS_BYTES as u64 + 4 * 4096;
    listeners + sockets + counters + logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_maps_together_stay_below_a_megabyte() {
        // 256 CPUs: (2048 + 256) * 80 + 2048 * 16 + 2048 * 136 + 7 * 2056 + 131072 + 16384 = 657,464 bytes.
        assert_eq!(memory_bytes_max(256), 657_464);
        assert!(memory_bytes_max(1024) < 1024 * 1024);
    }

    #[test]
    fn a_pair_costs_544_bytes() {
        assert_eq!(pair_bytes(), 544);
        // 16,384 * 320 + 32,770 * 112 + 17 * 24 + 81,920 + 131,072.
        assert_eq!(splice_memory_bytes_max(2), 9_126_520);
    }

    #[test]
    fn names_fit_what_the_kernel_keeps() {
        let of_splice =
            [SPLICE_PROGRAM, SILENCE_PROGRAM, SPLICE_XDP_PROGRAM, FLOWS, CONNS, SPLICE_COUNTERS, EVENTS, PORTS];
        for name in [LOOKUP_PROGRAM, LISTENERS, SOCKETS, COUNTERS, LOGS].into_iter().chain(of_splice) {
            assert!(name.len() < 16, "{name}: the kernel keeps 15 bytes (BPF_OBJ_NAME_LEN)");
        }
    }
}
