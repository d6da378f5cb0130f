//! The options of a TCP header that name sequence numbers or clocks: SACK (RFC 2018) and timestamps (RFC 7323).
//!
//! Goes in: a packet and its pair. Comes out: the options as they leave. Does not do: options of a SYN, and whatever
//! follows an option that makes no sense: the receiver stops reading there too.

use super::clock;
use super::frame::{Frame, TCP_ACK};
use super::packet::Packet;
use super::pairs::Pair;
use super::sum::Difference;
use core::mem::MaybeUninit;
use core::ptr::{read_volatile, write_volatile};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

const TIMESTAMPS_BYTES: usize = 10;
/// Kind, length, and two edges for each block.
const SACK_HEAD: usize = 2;
const SACK_BLOCK: usize = 8;
const SACK_BLOCKS_MAX: usize = 4;

/// Length of the TCP header without options, and the most that they have.
const TCP: usize = 20;
const OPTIONS_MAX: usize = 40;
/// Most options that are read, padding among them; stacks send six.
const READ_MAX: usize = 16;
/// More than every offset of a TCP header in a frame.
const FRAME: usize = 0xff;
/// More than every offset in a TCP header.
const OFFSET: usize = 0x3f;

/// Timestamps behind two bytes of padding, as every stack sends them.
const USUAL: [u8; 4] = [NO_OPERATION, NO_OPERATION, TIMESTAMPS, TIMESTAMPS_BYTES as u8];
const USUAL_BYTES: usize = 12;

/// Rewrites the options. Those that come as every stack sends them need no loop.
#[inline(always)]
pub fn write(frame: Frame, packet: &Packet, pair: &Pair, fields: &mut Difference) -> Option<()> {
    if packet.head == TCP {
        return Some(());
    }
    let mut at = TCP;
    if packet.head >= TCP + USUAL_BYTES && head_of(frame, packet, TCP)? == USUAL {
        timestamps(frame, packet.tcp + TCP + 4, packet, pair, fields)?;
        at += USUAL_BYTES;
        if packet.head == at {
            return Some(());
        }
        if let [NO_OPERATION, NO_OPERATION, SACK, length @ 10..=255] = head_of(frame, packet, at)?
            && usize::from(length) + 2 == packet.head - at
        {
            return blocks(frame, packet.tcp + at + 4, usize::from(length) - SACK_HEAD, pair, fields);
        }
    }
    let packet = &Packet { tcp: forget(packet.tcp) & FRAME, head: forget(packet.head) & OFFSET, ..*packet };
    let found = find(frame, packet, packet.head - at)?;
    let (at, blocks_at, bytes) = (found & OFFSET, (found >> 8) & OFFSET, (found >> 16) & OFFSET);
    if at != 0 {
        timestamps(frame, packet.tcp + at, packet, pair, fields)?;
    }
    if blocks_at != 0 {
        blocks(frame, packet.tcp + blocks_at, bytes, pair, fields)?;
    }
    Some(())
}

/// Four bytes of the TCP header; as stacks send them: twice padding, the kind of an option, its length.
#[inline(always)]
fn head_of(frame: Frame, packet: &Packet, at: usize) -> Option<[u8; 4]> {
    // SAFETY: `at` checked the bounds; so for all pointers of it below.
    Some(unsafe { *frame.at::<u32>(packet.tcp + at)? }.to_ne_bytes())
}

/// Looks for options in any order and at any offset, in the last `left` bytes of the header. Answers where in the header
/// the content of timestamps begins, in the next byte where that of SACK does, and in the next the length of that; 0 for
/// none. Of two of a kind the last counts, as it does for Linux.
#[inline(always)]
fn find(frame: Frame, packet: &Packet, mut left: usize) -> Option<usize> {
    let mut found = 0;
    for _ in 0..READ_MAX {
        (left, found) = (forget(left), forget(found));
        if left == 0 || left > OPTIONS_MAX {
            break;
        }
        let at = (packet.head - left) & OFFSET;
        // SAFETY: see `write`.
        let kind = unsafe { *frame.at::<u8>(packet.tcp + at)? };
        if kind == NO_OPERATION {
            left -= 1;
            continue;
        }
        if kind == END || left < SACK_HEAD {
            break;
        }
        // SAFETY: see `write`.
        let length = usize::from(unsafe { *frame.at::<u8>(packet.tcp + at + 1)? });
        if length < SACK_HEAD || length > left {
            break;
        }
        if kind == TIMESTAMPS && length == TIMESTAMPS_BYTES {
            found = (found & !0xff) | (at + SACK_HEAD);
        }
        if kind == SACK {
            found = (found & 0xff) | (at + SACK_HEAD) << 8 | (length - SACK_HEAD) << 16;
        }
        left -= length;
    }
    Some(forget(found))
}

/// The same number, of which the verifier no longer knows anything. So it walks through the loop above once, and not once
/// for each order that options may have: it takes all of a stack slot for unknown of which it saw one byte overwritten.
#[inline(always)]
fn forget(number: usize) -> usize {
    let mut slot = MaybeUninit::<usize>::uninit();
    // SAFETY: the slot is written before it is read; its first byte in memory is the lowest of the number.
    unsafe {
        write_volatile(slot.as_mut_ptr(), number);
        write_volatile(slot.as_mut_ptr().cast(), number as u8);
        read_volatile(slot.as_ptr())
    }
}

#[inline(always)]
fn timestamps(frame: Frame, at: usize, packet: &Packet, pair: &Pair, fields: &mut Difference) -> Option<()> {
    let stamps = frame.at::<[u32; 2]>(at)?;
    // SAFETY: see `write`.
    let [old_value, old_echo] = unsafe { *stamps };
    let value = clock::value(pair, u32::from_be(old_value)).to_be();
    // Without an acknowledgement the echo means nothing (RFC 7323 section 3.2).
    let echo = if packet.has(TCP_ACK) { clock::echo(pair, u32::from_be(old_echo)).to_be() } else { old_echo };
    fields.field_at(at - packet.tcp, old_value, value);
    fields.field_at(at - packet.tcp, old_echo, echo);
    // SAFETY: see `write`.
    unsafe { *stamps = [value, echo] };
    Some(())
}

/// Edges of blocks are acknowledgement numbers.
#[inline(always)]
fn blocks(frame: Frame, at: usize, length: usize, pair: &Pair, fields: &mut Difference) -> Option<()> {
    if length % SACK_BLOCK != 0 {
        return Some(());
    }
    // SAFETY: the record is a map value, which lives as long as the program.
    let delta = unsafe { (*pair.this()).ack_delta };
    for block in 0..SACK_BLOCKS_MAX {
        if block * SACK_BLOCK >= length {
            break;
        }
        let at = at + block * SACK_BLOCK;
        let edges = frame.at::<[u32; 2]>(at)?;
        // SAFETY: see `write`.
        let old = unsafe { *edges };
        let new = old.map(|edge| u32::from_be(edge).wrapping_add(delta).to_be());
        fields.field_at(at, old[0], new[0]);
        fields.field_at(at, old[1], new[1]);
        // SAFETY: see `write`.
        unsafe { *edges = new };
    }
    Some(())
}
