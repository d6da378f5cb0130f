//! Two clocks that each peer must see as one: timestamps of TCP (RFC 7323).
//!
//! Goes in: a timestamp as it arrived. Comes out: as it leaves. Does not do: clocks that do not count milliseconds;
//! such connections are not joined.
//!
//! The offset of a direction is fixed by its first timestamp: it goes on from where our own clock on the other connection
//! is at that moment. From then on the receiver sees the sender's clock, moved.

use super::atomic;
use super::pairs::Pair;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use core::ptr::read_volatile;
use lb_common::splice::Direction;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// The sender's clock, as the receiver knows it.
#[inline(always)]
pub fn value(pair: &Pair, value: u32) -> u32 {
    let this = pair.this();
    let offset = offset_of(this);
    value.wrapping_add(if offset == 0 { fix(pair, this, value) } else { offset })
}

/// The receiver's own clock, as it sent it; 0, which stacks do not use, when none of its timestamps has passed here.
#[inline(always)]
pub fn echo(pair: &Pair, echo: u32) -> u32 {
    let offset = offset_of(pair.other());
    if echo == 0 || offset == 0 { 0 } else { echo.wrapping_sub(offset) }
}

/// The offset of a direction; 0: not known yet.
#[inline(always)]
fn offset_of(direction: *const Direction) -> u32 {
    // SAFETY: the record is a map value, which lives as long as the program.
    unsafe { read_volatile(&raw const (*direction).clock_offset) }
}

/// Fixes the offset. Of two CPUs that do so at once, the first wins, and both go by it.
#[inline(always)]
fn fix(pair: &Pair, this: *mut Direction, value: u32) -> u32 {
    // SAFETY: as above; the helper only reads the clock. The precise one: what our stack sent last must not be later.
    let (now, begun, base) = unsafe { (bpf_ktime_get_ns(), (*pair.conn).begun_ns, (*this).clock_base) };
    // Rounded up, because a clock that goes back looks like an old packet (RFC 7323 section 5.3).
    let passed = if now > begun { (now - begun).div_ceil(NANOSECONDS_PER_MILLISECOND) as u32 } else { 0 };
    let offset = base.wrapping_add(passed).wrapping_sub(value);
    // 0 stands for not fixed yet; a millisecond more is as good.
    let offset = if offset == 0 { 1 } else { offset };
    // SAFETY: as above.
    let was = atomic::compare_exchange(unsafe { &raw mut (*this).clock_offset }, 0, offset);
    if was == 0 { offset } else { was }
}
