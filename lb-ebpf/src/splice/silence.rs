//! The way out: what the local stack still has to say about a carried pair is not said.
//!
//! Goes in: a packet that leaves by an interface. Comes out: an outcome. Does not do: anything with packets that came in by
//! an interface, which are those that we redirected among others; it only reads a next hop from some.
//!
//! Told apart by `ingress_ifindex`, which is 0 for what the machine itself sends. The socket would not do: kernels before
//! 6.13 send resets over IPv6 without one.
//!
//! While a pair waits, an acknowledgement of ours may show that a byte is in our sockets of which the hand-off knows nothing:
//! it passed the way in before the keys were there. Then the pair is userspace's. So no acknowledgement of such a byte leaves
//! unless userspace has the pair, and a byte that is not acknowledged is repeated by its sender, to whoever has it by then.

use super::event;
use super::frame::{Frame, TCP_ACK, TCP_FIN, TCP_RST};
use super::hop;
use super::packet::{self, Packet};
use super::pairs::{self, Pair};
use aya_ebpf::programs::TcContext;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{ACTIVE, CLOSING, DIRTY, EVENT_REFUSED, FREE, WAITING, is_beyond};

/// Decides what becomes of a packet on its way out.
#[inline(always)]
pub fn silence(ctx: &TcContext) -> SpliceOutcome {
    // SAFETY: the context is the program's.
    let is_ours = unsafe { (*ctx.skb.skb).ingress_ifindex == 0 };
    if !is_ours && !hop::wants_reading(ctx) {
        return SpliceOutcome::PassedForwarded;
    }
    let frame = Frame { start: ctx.data(), end: ctx.data_end() };
    let Ok((key, packet)) = packet::read(frame, ctx.len()) else { return SpliceOutcome::PassedProtocol };
    let Some(pair) = pairs::find(&key.reversed()) else { return SpliceOutcome::PassedUnknown };
    let state = pair.state();
    if !is_ours {
        // The record's packets that leave here are those that answer the ones found by the reversed 4-tuple.
        hop::read(ctx, frame, pair.other(), hop::now());
        return SpliceOutcome::PassedForwarded;
    }
    match state {
        ACTIVE | CLOSING => SpliceOutcome::Silenced,
        WAITING if is_ours_to_go_on(&pair, &packet) => match pair.exchange_state(WAITING, DIRTY) {
            WAITING => {
                event::tell(&pair, EVENT_REFUSED);
                SpliceOutcome::Refused
            }
            ACTIVE | CLOSING => SpliceOutcome::Silenced,
            _ => SpliceOutcome::PassedWaiting,
        },
        FREE => SpliceOutcome::PassedUnknown,
        _ => SpliceOutcome::PassedWaiting,
    }
}

/// Whether the packet shows that only userspace can go on: our sockets close, as those of an agent that was killed, and both
/// connections with them; or one has a byte that came past us.
#[inline(always)]
fn is_ours_to_go_on(pair: &Pair, packet: &Packet) -> bool {
    packet.has(TCP_FIN | TCP_RST) || packet.has(TCP_ACK) && is_beyond(packet.ack, pair.next_expected())
}
