//! How far a pair is: where each direction stands, what passed, and whether it is over.
//!
//! Goes in: a packet that left. Comes out: the record brought up to date, and an event when both sides have finished or
//! one has reset. Does not do: removing pairs; userspace does, after a time without packets.
//!
//! Anybody may send packets with a 4-tuple that he guessed. So numbers only move on by what can be under way, a reset only
//! counts with the number that the receiver takes it by (RFC 5961 section 3.2), and a FIN only behind all that passed.

use super::atomic;
use super::event;
use super::frame::{TCP_ACK, TCP_FIN, TCP_RST};
use super::packet::Packet;
use super::pairs::Pair;
use lb_common::splice::{ACTIVE, CLOSING, Direction, EVENT_CLOSING, FIN, RST};

/// Most bytes that are under way, beyond what was acknowledged: 16 MB, more than Linux opens windows by default. Where more
/// are, the record lags behind.
const UNDER_WAY_MAX: u32 = 1 << 24;

/// Brings the record up to date.
#[inline(always)]
pub fn note(pair: &Pair, packet: &Packet, now: u64) {
    let (this, other) = (pair.this(), pair.other());
    let end = packet.seq_end();
    // SAFETY: the record is a map value, which lives as long as the program.
    unsafe {
        (*this).seen_ns = now;
        atomic::add(&raw mut (*this).packets, 1);
        atomic::add(&raw mut (*this).bytes, u64::from(packet.payload));
        if is_ahead(end, (*this).seq_next) && !packet.has(TCP_RST) && may_be_under_way(this, other, end) {
            (*this).seq_next = end;
        }
        if packet.has(TCP_ACK) && is_ahead(packet.ack, (*this).ack_last) {
            (*this).ack_last = packet.ack;
        }
    }
    if packet.has(TCP_FIN | TCP_RST) {
        note_end(pair, packet, this, end);
    }
}

/// Whether a byte is under way in the direction that packets of this one answer: passed, and not acknowledged by them.
#[inline(always)]
pub fn is_under_way(pair: &Pair, seq: u32) -> bool {
    let (this, other) = (pair.this(), pair.other());
    // SAFETY: the record is a map value, which lives as long as the program.
    let (acknowledged, passed) = unsafe { ((*this).ack_last, (*other).seq_next.wrapping_add((*other).seq_delta)) };
    let under_way = passed.wrapping_sub(acknowledged);
    under_way <= UNDER_WAY_MAX && seq.wrapping_sub(acknowledged) < under_way
}

/// Whether that much can be under way. What the other direction acknowledged is in its own cache line, which another CPU may be
/// writing all the time, so it is looked at every 16 MB.
#[inline(always)]
unsafe fn may_be_under_way(this: *mut Direction, other: *const Direction, end: u32) -> bool {
    // SAFETY: the caller's: a map value, which lives as long as the program.
    unsafe {
        if is_behind(end, (*this).seq_edge) {
            return true;
        }
        let acknowledged = (*other).ack_last.wrapping_sub((*this).seq_delta);
        let edge = acknowledged.wrapping_add(UNDER_WAY_MAX);
        (*this).seq_edge = edge;
        is_behind(end, edge)
    }
}

/// Whether a number lies at another or before it.
#[inline(always)]
fn is_behind(number: u32, of: u32) -> bool {
    (of.wrapping_sub(number) as i32) >= 0
}

/// Whether a number lies after another, by what can be under way.
#[inline(always)]
fn is_ahead(number: u32, of: u32) -> bool {
    number.wrapping_sub(of).wrapping_sub(1) < UNDER_WAY_MAX
}

#[inline(always)]
fn note_end(pair: &Pair, packet: &Packet, this: *mut Direction, end: u32) {
    // SAFETY: as above.
    let (seq_next, delta, flags, peer, peer_flags) = unsafe {
        let other = pair.other();
        ((*this).seq_next, (*this).seq_delta, &raw mut (*this).flags, (*other).ack_last, &raw mut (*other).flags)
    };
    let is_reset = packet.has(TCP_RST) && (packet.seq == seq_next || packet.seq.wrapping_add(delta) == peer);
    let is_end = packet.has(TCP_FIN) && !packet.has(TCP_RST) && end == seq_next;
    if is_reset {
        atomic::fetch_or(flags, RST);
    } else if is_end {
        atomic::fetch_or(flags, FIN);
        // Of two FINs that pass at once on two CPUs, at least the later sees the other: the operation above is ordered.
        if atomic::fetch_or(peer_flags, 0) & FIN == 0 {
            return;
        }
    } else {
        return;
    }
    if pair.exchange_state(ACTIVE, CLOSING) == ACTIVE {
        event::tell(pair, EVENT_CLOSING);
    }
}
