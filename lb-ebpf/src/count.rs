//! Counters by outcome, one number a CPU, so that no CPU waits for another.
//!
//! Owns: the maps `COUNTERS` and `SPLICE_COUNTERS`. Goes in: an outcome. Comes out: nothing, or now and then a log record.
//! Does not do: sums; userspace adds the CPUs up.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use lb_common::maps::{COUNTERS_MAX, SPLICE_COUNTERS_MAX};
use lb_common::outcome::{LookupOutcome, SpliceOutcome};

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_MAX, 0);

#[map]
static SPLICE_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SPLICE_COUNTERS_MAX, 0);

/// Counts an outcome of the splice. A process that sends may be interrupted on its way out by a packet that comes in,
/// between reading and writing; a count in a million million that is lost then is nobody's.
#[inline(always)]
pub fn splice(outcome: SpliceOutcome) {
    if let Some(counter) = SPLICE_COUNTERS.get_ptr_mut(outcome.index()) {
        // SAFETY: the pointer is into a map value of this CPU, checked by the verifier.
        unsafe { *counter += 1 };
    }
}

/// Counts an outcome of the socket look-up.
#[inline(always)]
pub fn lookup(outcome: LookupOutcome) {
    if let Some(counter) = COUNTERS.get_ptr_mut(outcome.index()) {
        // SAFETY: the pointer is into a map value of this CPU, checked by the verifier. An sk_lookup program is not
        // preempted by another on its CPU: it runs with migration disabled in softirq.
        unsafe { *counter += 1 };
    }
}

/// Whether the next packet with this outcome on this CPU is the 1st, 2nd, 4th, 8th and so on: 64 log records are the
/// most that one CPU can ever write about one outcome, without a clock.
#[inline(always)]
pub fn is_rare(outcome: LookupOutcome) -> bool {
    COUNTERS.get(outcome.index()).is_some_and(|counter| (counter + 1) & counter == 0)
}
