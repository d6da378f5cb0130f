//! What userspace is told at once.
//!
//! Owns: the map `EVENTS`. Goes in: a pair and what happened. Comes out: a record in the ring. Does not do: retries; when
//! the ring is full the event is lost, and userspace finds the same in the pair's record.

use super::pairs::Pair;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use lb_common::maps::EVENTS_BYTES;
use lb_common::splice::Event;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// Tells of an event, `EVENT_…`.
#[inline(always)]
pub fn tell(pair: &Pair, kind: u32) {
    // SAFETY: `conn` is a map value, which lives as long as the program.
    let generation = unsafe { (*pair.conn).generation };
    let event = Event { kind, conn: pair.index, generation, reserved: 0 };
    let _full = EVENTS.output::<Event>(&event, 0);
}
