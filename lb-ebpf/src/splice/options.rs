//! The options of a TCP header that name sequence numbers or clocks: SACK (RFC 2018) and timestamps (RFC 7323).
//!
//! Goes in: a packet and its pair. Comes out: the options as they leave. Does not do: options of a SYN, and whatever
//! follows an option that makes no sense: the receiver stops reading there too.

use super::clock;
use super::frame::{Frame, TCP_ACK};
use super::packet::Packet;
use super::pairs::Pair;
use super::sum::Difference;

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

/// Timestamps behind two bytes of padding, as every stack sends them.
const USUAL: u32 = u32::from_be_bytes([NO_OPERATION, NO_OPERATION, TIMESTAMPS, TIMESTAMPS_BYTES as u8]).to_be();

/// Rewrites the options.
#[inline(always)]
pub fn write(frame: Frame, packet: &Packet, pair: &Pair, fields: &mut Difference) -> Option<()> {
    if packet.head == TCP {
        return Some(());
    }
    let first = frame.at::<u32>(packet.tcp + TCP)?;
    // SAFETY: `at` checked the bounds; so for all pointers of it below.
    if packet.head == TCP + 12 && unsafe { *first } == USUAL {
        return timestamps(frame, packet.tcp + TCP + 4, packet, pair, fields);
    }
    any(frame, packet, pair, fields)
}

/// Options in any order and at any offset.
#[inline(always)]
fn any(frame: Frame, packet: &Packet, pair: &Pair, fields: &mut Difference) -> Option<()> {
    // Counted from the end of the header: the verifier then sees a range instead of a number for each path that leads
    // here, and is done with a few thousand instructions instead of a million.
    let mut left = packet.head - TCP;
    for _ in 0..OPTIONS_MAX {
        if left == 0 || left > OPTIONS_MAX {
            break;
        }
        let at = packet.tcp + ((packet.head - left) & 0x3f);
        // SAFETY: see `write`.
        let kind = unsafe { *frame.at::<u8>(at)? };
        if kind == NO_OPERATION {
            left -= 1;
            continue;
        }
        if kind == END || left < SACK_HEAD {
            break;
        }
        // SAFETY: see `write`.
        let length = usize::from(unsafe { *frame.at::<u8>(at + 1)? });
        if length < SACK_HEAD || length > left {
            break;
        }
        if kind == TIMESTAMPS && length == TIMESTAMPS_BYTES {
            timestamps(frame, at + 2, packet, pair, fields)?;
        }
        if kind == SACK {
            blocks(frame, at + 2, length - SACK_HEAD, pair, fields)?;
        }
        left -= length;
    }
    Some(())
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
