//! Changes of shared memory that no other CPU, and no agent through its mapping, can come between.
//!
//! Owns: the four operations that the splice needs, as instructions. Goes in: a pointer into a map value. Comes out: what
//! was there. Does not do: loads and stores, which are whole by themselves at the sizes that the record has.
//!
//! Instructions by name, because rustc's BPF target counts as single-threaded: its atomics would become plain loads and
//! stores. Those that answer what was there are ordered before and after everything else (kernel 5.12).

use core::arch::asm;

/// Writes `to` where `from` is; answers what was there, which is `from` when it has been written.
#[inline(always)]
pub fn compare_exchange(place: *mut u32, from: u32, to: u32) -> u32 {
    let mut was = u64::from(from);
    // SAFETY: the verifier proves that the place is in a map value and aligned.
    unsafe {
        asm!(
            "w0 = cmpxchg32_32(r1 + 0, w0, w2)",
            inout("r0") was,
            in("r1") place,
            in("r2") u64::from(to),
        );
    }
    was as u32
}

/// Sets bits; answers what was there.
#[inline(always)]
pub fn fetch_or(place: *mut u32, bits: u32) -> u32 {
    let mut was = u64::from(bits);
    // SAFETY: as above.
    unsafe {
        asm!(
            "w2 = atomic_fetch_or((u32 *)(r1 + 0), w2)",
            in("r1") place,
            inout("r2") was,
        );
    }
    was as u32
}

/// Adds to a counter.
#[inline(always)]
pub fn add(place: *mut u64, count: u64) {
    // SAFETY: as above.
    unsafe {
        asm!(
            "lock *(u64 *)(r1 + 0) += r2",
            in("r1") place,
            in("r2") count,
        );
    }
}
