//! From two connections to the record that joins them, or the reason why they stay apart.
//!
//! Owns: the rules of what can be joined, and the arithmetic of sequence numbers, windows and clocks. Goes in: two
//! [`End`]s and the [`Request`]. Comes out: [`Joined`] or [`Apart`].
//! Does not do: asking the kernel, or telling which interfaces carry our programs (`lb-userspace`).

use super::{Answer, Apart};
use lb_common::addr;
use lb_common::splice::{ANY_ANSWER, Conn, Direction, FlowKey, SWITCH_ANSWER, WAITING};
use std::net::SocketAddr;

#[cfg(test)]
mod tests;

/// Bytes that the option of timestamps takes in each segment: 10, padded (RFC 7323 appendix A).
pub const TIMESTAMP_BYTES: u32 = 12;

/// Milliseconds that our clock on a connection is set ahead. The kernel clears the lowest bit of the clock that it
/// tells (6.7), and both the clock and the time since the hand-off are cut to whole milliseconds; so never less than
/// two, or a peer sees time go back and drops segments (RFC 7323 section 5.3).
const CLOCK_AHEAD_MS: u32 = 2;

/// One of our two connections, as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Our address and port.
    pub local: SocketAddr,
    /// Theirs.
    pub peer: SocketAddr,
    /// Open in both directions.
    pub established: bool,
    /// Sequence number of the next byte that we send.
    pub snd_nxt: u32,
    /// Sequence number of the next byte that they send.
    pub rcv_nxt: u32,
    /// Bytes that we sent and they did not acknowledge.
    pub unacknowledged: u32,
    /// Bytes that they sent and we did not read.
    pub unread: u32,
    /// Timestamps are in use (RFC 7323).
    pub timestamps: bool,
    /// Our timestamps count microseconds (kernel 6.7).
    pub microseconds: bool,
    /// Selective acknowledgement is in use (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification is in use (RFC 3168).
    pub ecn: bool,
    /// Something is in use that changes what the bytes mean: Multipath TCP, a signature, TLS in the kernel.
    pub special: bool,
    /// Their windows are in units of `1 << snd_scale`.
    pub snd_scale: u8,
    /// Our windows are in units of `1 << rcv_scale`.
    pub rcv_scale: u8,
    /// Largest payload that we may send.
    pub mss_out: u32,
    /// What we announced to take, without what options use.
    pub mss_in: u32,
    /// Our timestamp clock, milliseconds.
    pub clock: u32,
    /// Interface by which they are reached.
    pub ifindex: u32,
}

/// What is about to happen on the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Bytes that will be written to the backend before it answers.
    pub bytes: u32,
    /// What the backend must answer.
    pub answer: Answer,
    /// When the ends were read, `CLOCK_MONOTONIC`, nanoseconds.
    pub begun_ns: u64,
    /// Counts the pairs that had the record.
    pub generation: u32,
}

/// A record and the keys that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The record, waiting.
    pub conn: Conn,
    /// 4-tuple of packets from the client.
    pub up: FlowKey,
    /// 4-tuple of packets from the backend.
    pub down: FlowKey,
}

/// Joins the client's connection with the backend's.
///
/// # Errors
///
/// [`Apart`], when translating addresses and numbers is not enough for one to take what the other sends.
pub fn join(client: &End, backend: &End, request: &Request) -> Result<Joined, Apart> {
    check(client, backend)?;
    // Where the client's next byte lies in the numbers of the backend, and where the backend's lies in the client's.
    let activate_ack = backend.snd_nxt.wrapping_add(request.bytes);
    let seq_delta = activate_ack.wrapping_sub(client.rcv_nxt);
    let ack_delta = backend.rcv_nxt.wrapping_sub(client.snd_nxt);
    let up = Direction {
        seq_delta,
        ack_delta,
        seq_next: client.rcv_nxt,
        seq_edge: client.rcv_nxt,
        seen_ns: request.begun_ns,
        ack_last: client.snd_nxt,
        ..direction(client, backend)
    };
    let down = Direction {
        seq_delta: ack_delta.wrapping_neg(),
        ack_delta: seq_delta.wrapping_neg(),
        seq_next: backend.rcv_nxt,
        seq_edge: backend.rcv_nxt,
        seen_ns: request.begun_ns,
        ack_last: activate_ack,
        ..direction(backend, client)
    };
    let conn = Conn {
        up,
        down,
        state: WAITING,
        answer: match request.answer {
            Answer::Any => ANY_ANSWER,
            Answer::Switch => SWITCH_ANSWER,
        },
        activate_ack,
        activate_seq: backend.rcv_nxt,
        generation: request.generation,
        begun_ns: request.begun_ns,
        ..Conn::ZERO
    };
    Ok(Joined { conn, up: arriving(client), down: arriving(backend) })
}

/// What an end tells of its packets, towards the other: addresses, windows, the clock that is continued.
fn direction(from: &End, to: &End) -> Direction {
    Direction {
        src: addr::from_ip(to.local.ip()),
        dst: addr::from_ip(to.peer.ip()),
        src_port: to.local.port(),
        dst_port: to.peer.port(),
        clock_base: to.clock.wrapping_add(CLOCK_AHEAD_MS),
        window_left: from.snd_scale,
        window_right: to.rcv_scale,
        hop_ifindex: to.ifindex,
        ..Direction::ZERO
    }
}

/// The 4-tuple of packets that an end receives.
fn arriving(end: &End) -> FlowKey {
    let (src, dst) = (addr::from_ip(end.peer.ip()), addr::from_ip(end.local.ip()));
    FlowKey::new(src, end.peer.port(), dst, end.local.port())
}

fn check(client: &End, backend: &End) -> Result<(), Apart> {
    let is_v4 = |end: &End| end.local.ip().to_canonical().is_ipv4();
    let options = if client.timestamps { TIMESTAMP_BYTES } else { 0 };
    let rules = [
        (is_v4(client) != is_v4(backend), Apart::Family),
        (!client.established || !backend.established, Apart::Closing),
        (client.special || backend.special, Apart::Option),
        (client.unread > 0, Apart::Ahead),
        (backend.unread > 0, Apart::Dirty),
        (client.unacknowledged > 0 || backend.unacknowledged > 0, Apart::Unacknowledged),
        (client.timestamps != backend.timestamps, Apart::Timestamps),
        (client.timestamps && (client.microseconds || backend.microseconds), Apart::Clock),
        (client.sack != backend.sack, Apart::Sack),
        (client.ecn != backend.ecn, Apart::Ecn),
        (client.mss_in > backend.mss_out.saturating_add(options), Apart::Mss),
        (backend.mss_in > client.mss_out.saturating_add(options), Apart::Mss),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, apart)| Err(apart))
}
