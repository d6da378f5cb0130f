//! The maps: names, capacities and what they cost.
//!
//! Owns: every number that sizes a map, with the arithmetic that chose it, and the version of the contract.
//! Goes in: nothing. Comes out: constants for both sides and a bound on memory that a test asserts.
//! Does not do: opening a map.

use crate::lookup::{Listener, ListenerKey};
use crate::outcome::LookupOutcome;

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

/// An upper bound of what the kernel allocates for all maps, in bytes.
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
    fn names_fit_what_the_kernel_keeps() {
        for name in [LOOKUP_PROGRAM, LISTENERS, SOCKETS, COUNTERS, LOGS] {
            assert!(name.len() < 16, "{name}: the kernel keeps 15 bytes (BPF_OBJ_NAME_LEN)");
        }
    }
}
