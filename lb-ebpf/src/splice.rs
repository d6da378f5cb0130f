//! The splice: two TCP connections of ours are joined packet by packet, and the ends do everything else.
//!
//! Goes in: a packet on its way in. Comes out: an outcome, and the packet as it leaves, with its way out chosen. Does not
//! do: deciding which connections are joined; userspace does, and writes the pair.
//!
//! Read in this order: [`packet`] says what the packet is, [`pairs`] to which pair it belongs, [`activate`] whether it is
//! translated, [`hop`] where it goes, [`translate`] (with [`options`], [`clock`], [`sum`]) what it becomes, and [`close`]
//! what is kept of it. [`silence`] is the way out of the local stack, [`native`] the same translation in XDP, and [`trouble`]
//! what routers report about packets that were translated.

mod activate;
mod atomic;
mod clock;
mod close;
mod event;
mod frame;
mod hop;
mod native;
mod options;
mod packet;
mod pairs;
mod silence;
mod sum;
mod translate;
mod trouble;

pub use native::carry;
pub use silence::silence;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_PSEUDO_HDR;
use aya_ebpf::helpers::generated::{bpf_csum_update, bpf_l4_csum_replace, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use core::mem::offset_of;
use frame::{Frame, Tcp};
use hop::Hop;
use lb_common::outcome::SpliceOutcome;
use packet::{HEADERS_MAX, NoPacket, Packet};
use pairs::{Key, Pair};
use translate::Changes;

/// `skb->pkt_type` of a packet that is addressed to the interface.
const PACKET_HOST: u32 = 0;

/// Decides what becomes of a packet on its way in.
#[inline(always)]
pub fn splice(ctx: &TcContext) -> SpliceOutcome {
    if !is_for_us(ctx) {
        return SpliceOutcome::PassedProtocol;
    }
    match pass(ctx) {
        SpliceOutcome::PassedProtocol => trouble::carry(ctx),
        outcome => outcome,
    }
}

/// Decides what becomes of a packet of TCP. A function of its own like [`trouble::carry`], because a program has 512 bytes of
/// stack: each takes more than half of them, and they are not needed at once.
#[inline(never)]
fn pass(ctx: &TcContext) -> SpliceOutcome {
    let Some((key, packet)) = read(ctx) else { return SpliceOutcome::PassedProtocol };
    let Some(pair) = pairs::find(&key) else { return SpliceOutcome::PassedUnknown };
    let outcome = match activate::admit(ctx, &key, &pair, &packet) {
        Ok(outcome) => outcome,
        Err(outcome) => return outcome,
    };
    let (this, now) = (pair.this(), hop::now());
    let Some(hop) = hop::choose(ctx, packet.v6, this, now) else { return SpliceOutcome::NoHop };
    if write(ctx, &packet, &pair, hop).is_none() {
        return SpliceOutcome::Unwritable;
    }
    close::note(&pair, &packet, now);
    outcome
}

/// What is for another machine, or for an interface above this one, comes by again where it belongs.
#[inline(always)]
fn is_for_us(ctx: &TcContext) -> bool {
    // SAFETY: the context is the program's.
    let (pkt_type, vlan) = unsafe { ((*ctx.skb.skb).pkt_type, (*ctx.skb.skb).vlan_present) };
    pkt_type == PACKET_HOST && vlan == 0
}

/// Reads the packet, after its headers were made one piece where they are not.
#[inline(always)]
fn read(ctx: &TcContext) -> Option<(Key, Packet)> {
    match packet::read(frame(ctx), ctx.len()) {
        Ok(read) => return Some(read),
        Err(NoPacket::Other) => return None,
        Err(NoPacket::Short) => {}
    }
    let length = if ctx.len() < HEADERS_MAX { ctx.len() } else { HEADERS_MAX };
    // SAFETY: the context is the program's; pointers into the packet are taken anew afterwards.
    if unsafe { bpf_skb_pull_data(ctx.skb.skb, length) } != 0 {
        return None;
    }
    packet::read(frame(ctx), ctx.len()).ok()
}

/// Rewrites the packet.
#[inline(always)]
fn write(ctx: &TcContext, packet: &Packet, pair: &Pair, hop: Hop) -> Option<()> {
    let frame = frame(ctx);
    if hop == Hop::Known {
        hop::address(frame, pair.this())?;
    }
    let changes = translate::write(frame, packet, pair)?;
    mend(ctx, packet.v6, packet.tcp + offset_of!(Tcp, checksum), &changes)
}

#[inline(always)]
fn frame(ctx: &TcContext) -> Frame {
    Frame { start: ctx.data(), end: ctx.data_end() }
}

/// Mends the checksum of TCP, or of ICMP. Only the kernel knows whether it is whole, or that of the pseudo header for the driver to
/// complete, or comes with a sum of the whole packet that must stay true.
#[inline(always)]
fn mend(ctx: &TcContext, v6: bool, offset: usize, changes: &Changes) -> Option<()> {
    let offset = offset as u32;
    let fields = u64::from(changes.fields.folded());
    let addresses = u64::from(changes.addresses.folded());
    let skb = ctx.as_ptr().cast();
    // SAFETY: the context is the program's; the helpers check the bounds.
    unsafe {
        if bpf_l4_csum_replace(skb, offset, 0, fields, 0) != 0 {
            return None;
        }
        if bpf_l4_csum_replace(skb, offset, 0, addresses, u64::from(BPF_F_PSEUDO_HDR)) != 0 {
            return None;
        }
        if v6 {
            // The helper above takes it that the addresses are covered by a checksum of the IP header.
            let _no_sum = bpf_csum_update(skb, changes.uncovered.folded());
        }
    }
    Some(())
}
