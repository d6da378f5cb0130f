//! The translation in XDP: packets that go from driver to driver.
//!
//! Owns: the map `PORTS`. Goes in: a frame in a driver's ring. Comes out: an outcome. Does not do: whatever is not the
//! steady state of a carried pair; tc does that, and looks up the next hop, which must be fresh for this.

use super::frame::{Frame, TCP_SYN, Tcp};
use super::pairs::{self, Pair};
use super::{activate, close, hop, packet, translate};
use aya_ebpf::bindings::xdp_action::XDP_REDIRECT;
use aya_ebpf::macros::map;
use aya_ebpf::maps::DevMapHash;
use aya_ebpf::programs::XdpContext;
use lb_common::maps::PORTS_MAX;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{ACTIVE, CLOSING, FREE};

#[map]
static PORTS: DevMapHash = DevMapHash::with_max_entries(PORTS_MAX, 0);

/// Decides what becomes of a frame.
#[inline(always)]
pub fn carry(ctx: &XdpContext) -> SpliceOutcome {
    let frame = Frame { start: ctx.data(), end: ctx.data_end() };
    let length = (frame.end - frame.start) as u32;
    let Ok((key, packet)) = packet::read(frame, length) else { return SpliceOutcome::PassedProtocol };
    let Some(pair) = pairs::find(&key) else { return SpliceOutcome::PassedUnknown };
    match pair.state() {
        ACTIVE | CLOSING if !packet.has(TCP_SYN) => {}
        FREE => return SpliceOutcome::PassedUnknown,
        _ => return SpliceOutcome::LeftForTc,
    }
    let now = hop::now();
    if !hop::is_fresh(pair.this(), now) {
        return SpliceOutcome::LeftForTc;
    }
    let Some(ifindex) = port(&pair) else { return SpliceOutcome::LeftForTc };
    if write(frame, &packet, &pair).is_none() || PORTS.redirect(ifindex, 0) != Ok(XDP_REDIRECT) {
        return SpliceOutcome::Unwritable;
    }
    close::note(&pair, &packet, now);
    activate::translated(&pair)
}

/// The interface that packets leave by, if its driver takes frames.
#[inline(always)]
fn port(pair: &Pair) -> Option<u32> {
    // SAFETY: the record is a map value, which lives as long as the program.
    let ifindex = unsafe { (*pair.this()).hop_ifindex };
    PORTS.get_ifindex(ifindex).map(|_| ifindex)
}

#[inline(always)]
fn write(frame: Frame, packet: &packet::Packet, pair: &Pair) -> Option<()> {
    hop::address(frame, pair.this())?;
    let mut changes = translate::write(frame, packet, pair)?;
    changes.fields.add(changes.addresses);
    let tcp = frame.at::<Tcp>(packet.tcp)?;
    // SAFETY: `at` checked the bounds.
    unsafe { (*tcp).checksum = changes.fields.apply((*tcp).checksum) };
    Some(())
}
