//! A pair of TCP connections that the kernel joins packet by packet: what userspace fixes at the hand-off and what the
//! programs keep.
//!
//! Owns: key and value of the maps [`FLOWS`](crate::maps::FLOWS) and [`CONNS`](crate::maps::CONNS), the states of a
//! record, and the events of the ring. Goes in: nothing. Comes out: types for both sides.
//! Does not do: the arithmetic of a hand-off (`lb_core::handoff`), the translation (`lb-ebpf`).
//!
//! One record holds both directions of a pair. Two keys lead to it: the 4-tuple of packets that arrive from the client,
//! and that of packets that arrive from the backend. Sequence numbers count modulo 2^32 (RFC 9293 section 3.4).

use crate::abi;
use crate::abi::Plain;
use crate::addr::Addr;

/// The packet came from the client.
pub const UP: u32 = 0;
/// The packet came from the backend.
pub const DOWN: u32 = 1;

/// No pair; what a packet finds that read its key just before it was taken out.
pub const FREE: u32 = 0;
/// Entries are in place, and both connections still are the local stack's: the first payload of the backend decides.
pub const WAITING: u32 = 1;
/// Something happened that only userspace can carry on with; packets are the local stack's for good.
pub const DIRTY: u32 = 2;
/// Packets are translated.
pub const ACTIVE: u32 = 3;
/// Packets are translated, and both sides have said that they send no more, or one has reset: the record goes soon.
pub const CLOSING: u32 = 4;

/// Any payload of the backend with the right numbers activates.
pub const ANY_ANSWER: u32 = 0;
/// The payload must begin with `HTTP/1.1 101`; another leaves both connections to userspace.
pub const SWITCH_ANSWER: u32 = 1;

/// Flag of [`Direction::flags`]: a FIN of this direction has passed.
pub const FIN: u32 = 1;
/// A RST of this direction has passed.
pub const RST: u32 = 2;

/// Bytes that are kept of the first payload of the backend: as far as the status of `HTTP/1.1 200`.
pub const FIRST_BYTES: usize = 16;

abi! {
    /// The 4-tuple of an arriving TCP packet.
    FlowKey, 40 {
        /// Source address.
        src: Addr,
        /// Destination address.
        dst: Addr,
        /// Source port in the byte order of the machine.
        src_port: u16,
        /// Destination port in the byte order of the machine.
        dst_port: u16,
        /// Zero.
        reserved: [u8; 4],
    }
}

abi! {
    /// What a [`FlowKey`] leads to.
    FlowRef, 8 {
        /// Index into [`CONNS`](crate::maps::CONNS), less than [`CONNS_MAX`](crate::maps::CONNS_MAX).
        conn: u32,
        /// [`UP`] or [`DOWN`].
        direction: u32,
    }
}

/// Bytes of a cache line of the processors that we know: what CPUs pass on to one another when one of them writes.
pub const CACHE_LINE_BYTES: usize = 64;

abi! {
    /// One direction of a pair: how its packets leave, and how far it is.
    ///
    /// The first cache line is written at the hand-off and seldom after, and is read with packets of both directions. The
    /// second is written with each packet, and belongs to the CPU that this direction's packets come to.
    Direction, 128 {
        /// Source address of packets when they leave: ours.
        src: Addr,
        /// Destination address of packets when they leave.
        dst: Addr,
        /// Source port when they leave, byte order of the machine.
        src_port: u16,
        /// Destination port when they leave, byte order of the machine.
        dst_port: u16,
        /// Added to the sequence number.
        seq_delta: u32,
        /// Added to the acknowledgement number and to both edges of every SACK block (RFC 2018).
        ack_delta: u32,
        /// Our timestamp clock (RFC 7323) on the connection that packets leave by, milliseconds, at [`Conn::begun_ns`].
        clock_base: u32,
        /// Added to TSval, subtracted from TSecr of the other direction; 0: not known yet. Kept by the programs.
        clock_offset: u32,
        /// Window of the sender is in units of `1 << window_left`…
        window_left: u8,
        /// …and leaves in units of `1 << window_right`.
        window_right: u8,
        /// Zero.
        reserved: [u8; 10],
        /// MAC address of the next hop; kept by the programs.
        hop_dst: [u8; 6],
        /// MAC address of the interface that packets leave by; kept by the programs.
        hop_src: [u8; 6],
        /// Interface that packets leave by; 0: not looked up yet. Kept by the programs.
        hop_ifindex: u32,
        /// When the next hop was looked up, `CLOCK_MONOTONIC` (coarse), nanoseconds. Kept by the programs.
        hop_ns: u64,
        /// When a packet of this direction passed last, `CLOCK_MONOTONIC` (coarse), nanoseconds.
        seen_ns: u64,
        /// Packets that left; a segment that the kernel joined (GRO) is one.
        packets: u64,
        /// Bytes of payload that left, retransmissions among them.
        bytes: u64,
        /// Where the next byte is expected, as it arrives: behind the last byte that arrived, and behind a FIN. Set at the
        /// hand-off, then kept by the programs; for the client, `activate_ack - up.seq_delta`.
        seq_next: u32,
        /// The largest acknowledgement number, as it arrived. Set at the hand-off to all that was sent to that side, the
        /// request with it, then kept by the programs.
        ack_last: u32,
        /// [`FIN`], [`RST`]. Kept by the programs.
        flags: u32,
        /// How far packets may be ahead, as they arrive, by what the other direction had acknowledged when that was last looked
        /// at. Set at the hand-off to `seq_next`, then kept by the programs.
        seq_edge: u32,
    }
}

impl Plain for Direction {}

abi! {
    /// A pair of connections. Its last cache line is read with every packet, and written when the state changes.
    Conn, 320 {
        /// From the client to the backend.
        up: Direction,
        /// From the backend to the client.
        down: Direction,
        /// [`FREE`], [`WAITING`], [`DIRTY`], [`ACTIVE`] or [`CLOSING`]; changed by compare-and-swap.
        state: u32,
        /// [`ANY_ANSWER`] or [`SWITCH_ANSWER`].
        answer: u32,
        /// The backend's first payload acknowledges this, in its own packets: all of the request.
        activate_ack: u32,
        /// The backend's first payload has this sequence number.
        activate_seq: u32,
        /// Counts the pairs that had this record, so that a late event is not taken for one of another pair.
        generation: u32,
        /// How many bytes of `first` are there.
        first_len: u32,
        /// When userspace read the clocks of the hand-off, `CLOCK_MONOTONIC`, nanoseconds.
        begun_ns: u64,
        /// The first bytes of the backend's answer.
        first: [u8; FIRST_BYTES],
        /// Which service it belongs to, as a hash of its name; 0: nobody said. Userspace alone reads and writes it.
        service: u64,
        /// Zero.
        reserved: [u8; 8],
    }
}

/// Kind of an [`Event`]: the kernel carries the pair.
pub const EVENT_ACTIVATED: u32 = 1;
/// The pair stays in userspace: [`DIRTY`].
pub const EVENT_REFUSED: u32 = 2;
/// Both sides have finished or one has reset: [`CLOSING`].
pub const EVENT_CLOSING: u32 = 3;
/// A SYN came on the 4-tuple of a closing pair; its key was taken out by the program.
pub const EVENT_REUSED: u32 = 4;

abi! {
    /// What the programs tell userspace at once. Losing one costs time only: a sweep finds the same in the record.
    Event, 16 {
        /// `EVENT_…`.
        kind: u32,
        /// Index of the record.
        conn: u32,
        /// [`Conn::generation`].
        generation: u32,
        /// Zero.
        reserved: u32,
    }
}

/// Whether a sequence number lies behind another: by less than half of all there are (RFC 9293 section 3.4).
#[inline(always)]
#[must_use]
pub const fn is_beyond(number: u32, other: u32) -> bool {
    let distance = number.wrapping_sub(other);
    distance != 0 && distance < 1 << 31
}

impl FlowKey {
    /// A key of these ends.
    #[inline(always)]
    #[must_use]
    pub const fn new(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Self {
        Self { src, dst, src_port, dst_port, reserved: [0; 4] }
    }
}

const _: () = assert!(core::mem::offset_of!(Direction, hop_dst) == CACHE_LINE_BYTES);
const _: () = assert!(size_of::<Direction>().is_multiple_of(CACHE_LINE_BYTES));
const _: () = assert!(size_of::<Conn>().is_multiple_of(CACHE_LINE_BYTES));

impl Direction {
    /// Whether a timestamp has passed, and so how the sender's clock leaves.
    #[must_use]
    pub const fn is_clock_known(&self) -> bool {
        self.clock_offset != 0
    }

    /// Nothing.
    pub const ZERO: Self = Self {
        src: [0; 16],
        dst: [0; 16],
        src_port: 0,
        dst_port: 0,
        seq_delta: 0,
        ack_delta: 0,
        clock_base: 0,
        clock_offset: 0,
        window_left: 0,
        window_right: 0,
        reserved: [0; 10],
        hop_dst: [0; 6],
        hop_src: [0; 6],
        hop_ifindex: 0,
        hop_ns: 0,
        seen_ns: 0,
        packets: 0,
        bytes: 0,
        seq_next: 0,
        ack_last: 0,
        flags: 0,
        seq_edge: 0,
    };
}

impl Conn {
    /// A record of no pair.
    pub const ZERO: Self = Self {
        up: Direction::ZERO,
        down: Direction::ZERO,
        state: FREE,
        answer: ANY_ANSWER,
        activate_ack: 0,
        activate_seq: 0,
        generation: 0,
        first_len: 0,
        begun_ns: 0,
        first: [0; FIRST_BYTES],
        service: 0,
        reserved: [0; 8],
    };

    /// When a packet of either direction passed last, `CLOCK_MONOTONIC` (coarse), nanoseconds.
    #[must_use]
    pub const fn seen_ns(&self) -> u64 {
        if self.up.seen_ns > self.down.seen_ns { self.up.seen_ns } else { self.down.seen_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::is_beyond;

    #[test]
    fn numbers_are_ordered_on_a_circle() {
        for other in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let check = |distance: u32, expected| {
                assert_eq!(is_beyond(other.wrapping_add(distance), other), expected, "{distance:#x} from {other:#x}");
            };
            check(0, false);
            check(1, true);
            check(0x7fff_ffff, true);
            check(0x8000_0000, false);
            check(u32::MAX, false);
        }
    }
}
