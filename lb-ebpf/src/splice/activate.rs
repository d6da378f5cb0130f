//! Whether a packet of a pair is translated or the local stack's.
//!
//! Owns: the changes of state from WAITING, and the end of a pair whose 4-tuple is wanted again. Goes in: a packet of a
//! pair. Comes out: with which outcome it is translated, or with which it passes. Does not do: the hand-off itself.
//!
//! While a pair waits, both connections are the local stack's. The first payload of the backend decides. It acknowledges
//! the whole request and begins where the answer must begin: then the kernel carries the pair, from this packet on.
//! Anything else that the local stack would have to act on makes the pair userspace's for good.

use super::event;
use super::frame::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::packet::Packet;
use super::pairs::{self, Key, Pair};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use core::hint::black_box;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{
    ACTIVE, CLOSING, DIRTY, EVENT_ACTIVATED, EVENT_REFUSED, EVENT_REUSED, FIRST_BYTES, FREE, SWITCH_ANSWER, WAITING,
    is_beyond,
};

/// What the head of an answer begins with that switches protocols.
const SWITCH: [u8; 12] = *b"HTTP/1.1 101";

/// Whether the packet is translated: `Ok` with the outcome if it is, `Err` with the outcome if it is not.
#[inline(always)]
pub fn admit(ctx: &TcContext, key: &Key, pair: &Pair, packet: &Packet) -> Result<SpliceOutcome, SpliceOutcome> {
    match pair.state() {
        ACTIVE => Ok(translated(pair)),
        CLOSING if packet.is_bare_syn() => {
            pairs::forget(key);
            event::tell(pair, EVENT_REUSED);
            Err(SpliceOutcome::Reused)
        }
        CLOSING => Ok(translated(pair)),
        WAITING if pair.is_up => wait_for_client(pair, packet),
        WAITING => wait_for_backend(ctx, pair, packet),
        FREE => Err(SpliceOutcome::PassedUnknown),
        _ => Err(SpliceOutcome::PassedWaiting),
    }
}

/// The outcome of a packet that is translated.
#[inline(always)]
fn translated(pair: &Pair) -> SpliceOutcome {
    if pair.is_up { SpliceOutcome::Up } else { SpliceOutcome::Down }
}

#[inline(always)]
fn wait_for_client(pair: &Pair, packet: &Packet) -> Result<SpliceOutcome, SpliceOutcome> {
    if is_nothing_new(packet, pair.next_expected()) { Err(SpliceOutcome::PassedWaiting) } else { refuse(pair) }
}

#[inline(always)]
fn wait_for_backend(ctx: &TcContext, pair: &Pair, packet: &Packet) -> Result<SpliceOutcome, SpliceOutcome> {
    // SAFETY: the record is a map value, which lives as long as the program.
    let (ack, seq) = unsafe { ((*pair.conn).activate_ack, pair.next_expected()) };
    if is_nothing_new(packet, seq) {
        return Err(SpliceOutcome::PassedWaiting);
    }
    let is_plain = packet.flags & (TCP_ACK | TCP_FIN | TCP_RST | TCP_SYN) == TCP_ACK;
    if !is_plain || packet.ack != ack || packet.seq != seq || !keep_first(ctx, pair, packet) {
        return refuse(pair);
    }
    match pair.exchange_state(WAITING, ACTIVE) {
        WAITING => {
            event::tell(pair, EVENT_ACTIVATED);
            Ok(SpliceOutcome::Activated)
        }
        ACTIVE | CLOSING => Ok(translated(pair)),
        _ => Err(SpliceOutcome::PassedWaiting),
    }
}

/// No more than an acknowledgement, or payload that the local stack has had already and drops.
#[inline(always)]
fn is_nothing_new(packet: &Packet, next: u32) -> bool {
    !packet.has(TCP_FIN | TCP_RST | TCP_SYN) && (packet.payload == 0 || !is_beyond(packet.seq_end(), next))
}

/// Makes the pair userspace's, unless the kernel carries it since a moment ago: then this packet is translated too.
#[inline(always)]
fn refuse(pair: &Pair) -> Result<SpliceOutcome, SpliceOutcome> {
    match pair.exchange_state(WAITING, DIRTY) {
        WAITING => {
            event::tell(pair, EVENT_REFUSED);
            Err(SpliceOutcome::Refused)
        }
        ACTIVE | CLOSING => Ok(translated(pair)),
        _ => Err(SpliceOutcome::PassedWaiting),
    }
}

/// Keeps the first bytes of the answer; whether they are what the pair waits for. They are written before the state
/// changes, so whoever sees the pair active finds them.
#[inline(always)]
fn keep_first(ctx: &TcContext, pair: &Pair, packet: &Packet) -> bool {
    let mut first = [0u8; FIRST_BYTES];
    let start = (packet.tcp + packet.head) as u32;
    if packet.payload == 0 {
        return false;
    }
    // The place of the last byte, through memory and masked, plus one: so the verifier of 6.1 knows that it is from 1 to 16.
    // That kernel follows no copies of a number and learns nothing from its not being zero.
    let last = if packet.payload < FIRST_BYTES as u32 { packet.payload - 1 } else { FIRST_BYTES as u32 - 1 };
    let length = (black_box(last) & (FIRST_BYTES as u32 - 1)) + 1;
    // SAFETY: `first` has room for `length` bytes; the helper checks the bounds of the packet.
    let loaded = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), start, first.as_mut_ptr().cast(), length) };
    if loaded != 0 {
        return false;
    }
    // SAFETY: the record is a map value, which lives as long as the program.
    unsafe {
        if (*pair.conn).answer == SWITCH_ANSWER && !begins_with_switch(&first) {
            return false;
        }
        (*pair.conn).first = first;
        (*pair.conn).first_len = length;
    }
    true
}

#[inline(always)]
fn begins_with_switch(first: &[u8; FIRST_BYTES]) -> bool {
    let mut differ = 0;
    for at in 0..SWITCH.len() {
        differ |= first[at] ^ SWITCH[at];
    }
    differ == 0
}
