//! The translation in XDP: packets that go from driver to driver.
//!
//! Owns: the map `PORTS`, the interfaces whose drivers take frames. Goes in: a frame in a driver's ring. Comes out: an
//! outcome. Does not do: whatever is not the steady state of a carried pair; tc does that, and looks up the next hop,
//! which must be fresh for this. What becomes of a frame behind the redirect no program sees: the driver may drop it.

use super::frame::{ETHERNET, Frame, Ipv4, Ipv6, TCP_SYN, Tcp};
use super::pairs::{self, Pair};
use super::sum::fold;
use super::{close, hop, packet, translate};
use aya_ebpf::bindings::xdp_action::XDP_REDIRECT;
use aya_ebpf::macros::map;
use aya_ebpf::maps::DevMapHash;
use aya_ebpf::programs::XdpContext;
use lb_common::maps::PORTS_MAX;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{ACTIVE, CLOSING, FREE};

#[map]
static PORTS: DevMapHash = DevMapHash::with_max_entries(PORTS_MAX, 0);

/// Number of TCP in the pseudo header.
const PROTOCOL_TCP: u16 = 6_u16.to_be();

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
    if !hop::is_fresh(pair.this(), now) || !is_summed(frame, &packet) {
        return SpliceOutcome::LeftForTc;
    }
    // Before the frame is touched, for it may still go on to tc. The kernel acts on it by the verdict.
    if !redirect(&pair) {
        return SpliceOutcome::LeftForTc;
    }
    if write(frame, &packet, &pair).is_none() {
        return SpliceOutcome::Unwritable;
    }
    close::note(&pair, &packet, now);
    if pair.is_up { SpliceOutcome::UpXdp } else { SpliceOutcome::DownXdp }
}

/// Tells the kernel by which interface the frame leaves, if its driver takes frames.
#[inline(always)]
fn redirect(pair: &Pair) -> bool {
    // SAFETY: the record is a map value, which lives as long as the program.
    let ifindex = unsafe { (*pair.this()).hop_ifindex };
    PORTS.redirect(ifindex, 0) == Ok(XDP_REDIRECT)
}

/// Whether the checksum of TCP is whole. A sender on this machine (veth, virtio) leaves it to the driver and writes only the
/// sum of the pseudo header; XDP is not told so, and no driver completes what it is given in XDP. Of the whole checksums
/// one in 65,536 looks like that, and tc knows better.
#[inline(always)]
fn is_summed(frame: Frame, packet: &packet::Packet) -> bool {
    pseudo_header(frame, packet).is_some_and(|(sum, checksum)| sum != checksum)
}

/// The sum of the pseudo header, and the checksum in the packet.
#[inline(always)]
fn pseudo_header(frame: Frame, packet: &packet::Packet) -> Option<(u16, u16)> {
    let length = packet.head as u32 + packet.payload;
    let mut sum = u64::from(PROTOCOL_TCP) + u64::from((length as u16).to_be());
    // SAFETY: `at` checked the bounds; so below.
    unsafe {
        if packet.v6 {
            let ip = frame.at::<Ipv6>(ETHERNET)?;
            for word in 0..4 {
                sum += u64::from((*ip).src[word]) + u64::from((*ip).dst[word]);
            }
        } else {
            let ip = frame.at::<Ipv4>(ETHERNET)?;
            sum += u64::from((*ip).src) + u64::from((*ip).dst);
        }
        let tcp = frame.at::<Tcp>(packet.tcp)?;
        Some((fold(sum), (*tcp).checksum))
    }
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
