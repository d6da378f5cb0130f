//! Errors of ICMP about translated packets: they go on to who sent the packet, as if it had been in the other connection.
//!
//! Goes in: a packet on its way in that is not TCP. Comes out: an outcome, and the error as it leaves. Does not do: errors
//! about packets of our own stack, headers of IP with options, other messages; they go on as without us.
//!
//! The message that matters is "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201): without it a sender goes on
//! with packets that are too large for a router on the other side. It names the 4-tuple of the other connection, so only here
//! is it known whom it is about. It leaves from the address that the sender knows, whatever router it came from.
//!
//! Anybody may send an error. So it must quote a byte that is under way (RFC 5927 section 4.1), which who does not see
//! the connection has to guess among all numbers.

use super::close;
use super::frame::{ETHERNET, Ethernet, Frame, IPV4, IPV6, Icmp, Ipv4, Ipv6, Quote};
use super::hop::{self, Hop};
use super::pairs::{self, Key, Pair};
use super::sum::Difference;
use super::translate::{self, Changes};
use super::{frame, mend};
use aya_ebpf::helpers::generated::bpf_skb_pull_data;
use aya_ebpf::programs::TcContext;
use core::mem::offset_of;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{ACTIVE, CLOSING, Direction, FREE};

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMPV6: u8 = 58;

/// Destination unreachable, with every code; "fragmentation needed" is one of them (RFC 792).
const UNREACHABLE: u8 = 3;
/// Destination unreachable, and packet too big (RFC 4443).
const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;

/// Version 4 and a header without options.
const PLAIN: u8 = 0x45;
const VERSION_V6: u8 = 6;

/// Where the parts of an error lie in the frame: its own header, the quoted one of IP, the quoted one of TCP, the end.
struct Places {
    icmp: usize,
    ip: usize,
    tcp: usize,
    end: usize,
}

const V4: Places = places(size_of::<Ipv4>());
const V6: Places = places(size_of::<Ipv6>());

const fn places(ip: usize) -> Places {
    let icmp = ETHERNET + ip;
    let quoted = icmp + size_of::<Icmp>();
    Places { icmp, ip: quoted, tcp: quoted + ip, end: quoted + ip + size_of::<Quote>() }
}

/// What an error quotes.
struct Quoted {
    /// 4-tuple of packets that answer the quoted one.
    answers: Key,
    /// Sequence number.
    seq: u32,
}

/// Decides what becomes of a packet that is not TCP.
#[inline(never)]
pub fn carry(ctx: &TcContext) -> SpliceOutcome {
    match is_v6(frame(ctx)) {
        Some(false) => go_on(ctx, false, &V4),
        Some(true) => go_on(ctx, true, &V6),
        None => SpliceOutcome::PassedProtocol,
    }
}

/// The family, when it is ICMP without options before it.
#[inline(always)]
fn is_v6(frame: Frame) -> Option<bool> {
    // SAFETY: `at` checked the bounds; so for all pointers of it below.
    match unsafe { (*frame.at::<Ethernet>(0)?).kind } {
        IPV4 => {
            // Neither a fragment nor one of more.
            const FRAGMENT: u16 = 0x3fff_u16.to_be();
            let ip = frame.at::<Ipv4>(ETHERNET)?;
            // SAFETY: see above.
            let (version_words, [_, protocol], fragment) =
                unsafe { ((*ip).version_words, (*ip).ttl_protocol, (*ip).fragment) };
            let is_icmp = version_words == PLAIN && protocol == PROTOCOL_ICMP && fragment & FRAGMENT == 0;
            if is_icmp { Some(false) } else { None }
        }
        IPV6 => {
            let ip = frame.at::<Ipv6>(ETHERNET)?;
            // SAFETY: see above.
            let [next, _] = unsafe { (*ip).next_limit };
            if next == PROTOCOL_ICMPV6 { Some(true) } else { None }
        }
        _ => None,
    }
}

#[inline(always)]
fn go_on(ctx: &TcContext, v6: bool, places: &Places) -> SpliceOutcome {
    let needed = places.end as u32;
    // SAFETY: the context is the program's; pointers into the packet are taken anew afterwards.
    if ctx.len() < needed || unsafe { bpf_skb_pull_data(ctx.skb.skb, needed) } != 0 {
        return SpliceOutcome::PassedProtocol;
    }
    let quoted = if v6 { read_v6(frame(ctx), places) } else { read_v4(frame(ctx), places) };
    let Some(quoted) = quoted else { return SpliceOutcome::PassedProtocol };
    let Some(pair) = pairs::find(&quoted.answers) else { return SpliceOutcome::PassedUnknown };
    match pair.state() {
        ACTIVE | CLOSING => {}
        FREE => return SpliceOutcome::PassedUnknown,
        _ => return SpliceOutcome::PassedWaiting,
    }
    if !close::is_under_way(&pair, quoted.seq) {
        return SpliceOutcome::IcmpDoubted;
    }
    let Some(hop) = hop::choose(ctx, v6, pair.this(), hop::now()) else { return SpliceOutcome::NoHop };
    if write(ctx, v6, places, &pair, hop).is_some() { SpliceOutcome::IcmpCarried } else { SpliceOutcome::Unwritable }
}

#[inline(always)]
fn read_v4(frame: Frame, places: &Places) -> Option<Quoted> {
    const LATER_FRAGMENT: u16 = 0x1fff_u16.to_be();
    let (outer, icmp) = (frame.at::<Ipv4>(ETHERNET)?, frame.at::<Icmp>(places.icmp)?);
    let ip = frame.at::<Ipv4>(places.ip)?;
    // SAFETY: `at` checked the bounds.
    let (kind, length, to) = unsafe { ((*icmp).kind, (*outer).length, (*outer).dst) };
    // SAFETY: as above.
    let (version_words, [_, protocol], fragment, src, dst) =
        unsafe { ((*ip).version_words, (*ip).ttl_protocol, (*ip).fragment, (*ip).src, (*ip).dst) };
    let is_whole = usize::from(u16::from_be(length)) >= places.end - ETHERNET;
    let is_tcp = version_words == PLAIN && protocol == PROTOCOL_TCP && fragment & LATER_FRAGMENT == 0;
    // Who sent a packet is told what became of it, and nobody else.
    if kind != UNREACHABLE || !is_whole || !is_tcp || src != to {
        return None;
    }
    quoted(frame, places, Key::v4(src), Key::v4(dst))
}

#[inline(always)]
fn read_v6(frame: Frame, places: &Places) -> Option<Quoted> {
    let (outer, icmp) = (frame.at::<Ipv6>(ETHERNET)?, frame.at::<Icmp>(places.icmp)?);
    let ip = frame.at::<Ipv6>(places.ip)?;
    // SAFETY: `at` checked the bounds.
    let (kind, length, to) = unsafe { ((*icmp).kind, (*outer).payload, (*outer).dst) };
    // SAFETY: as above.
    let (flow, [next, _], src, dst) = unsafe { ((*ip).flow, (*ip).next_limit, (*ip).src, (*ip).dst) };
    let is_whole = usize::from(u16::from_be(length)) >= places.end - ETHERNET - size_of::<Ipv6>();
    let is_tcp = flow.to_ne_bytes()[0] >> 4 == VERSION_V6 && next == PROTOCOL_TCP;
    if kind != UNREACHABLE_V6 && kind != TOO_BIG_V6 || !is_whole || !is_tcp || src != to {
        return None;
    }
    quoted(frame, places, src, dst)
}

#[inline(always)]
fn quoted(frame: Frame, places: &Places, src: [u32; 4], dst: [u32; 4]) -> Option<Quoted> {
    let quote = frame.at::<Quote>(places.tcp)?;
    // SAFETY: `at` checked the bounds.
    let ([src_port, dst_port], seq) = unsafe { ((*quote).ports, (*quote).seq) };
    Some(Quoted { answers: Key::new(dst, src, [dst_port, src_port]), seq: u32::from_be(seq) })
}

/// Rewrites the error: it goes where answers go, and quotes what the sender sent.
#[inline(always)]
fn write(ctx: &TcContext, v6: bool, places: &Places, pair: &Pair, hop: Hop) -> Option<()> {
    let (frame, this) = (frame(ctx), pair.this());
    if hop == Hop::Known {
        hop::address(frame, this)?;
    }
    let mut changes = Changes::NONE;
    translate::ip(frame, v6, this, &mut changes)?;
    if v6 {
        quote_v6(frame, places, this, &mut changes.fields)?;
    } else {
        // Nothing of the header of IP is in the checksum of ICMP.
        changes = Changes::NONE;
        quote_v4(frame, places, this)?;
    }
    quote_tcp(frame, places, this, &mut changes.fields)?;
    mend(ctx, v6, places.icmp + offset_of!(Icmp, checksum), &changes)
}

/// The quoted header's own checksum takes up what changes in it, so that of ICMP over both stays.
#[inline(always)]
fn quote_v4(frame: Frame, places: &Places, this: *const Direction) -> Option<()> {
    let ip = frame.at::<Ipv4>(places.ip)?;
    // SAFETY: `at` checked the bounds of the packet; the record is a map value, whose addresses lie at multiples of 8.
    unsafe {
        let ([_, _, _, answers_src], [_, _, _, answers_dst]) = translate::addresses(this);
        let mut covered = Difference::NONE;
        covered.field((*ip).src, answers_dst);
        covered.field((*ip).dst, answers_src);
        (*ip).src = answers_dst;
        (*ip).dst = answers_src;
        (*ip).checksum = covered.apply((*ip).checksum);
    }
    Some(())
}

#[inline(always)]
fn quote_v6(frame: Frame, places: &Places, this: *const Direction, fields: &mut Difference) -> Option<()> {
    let ip = frame.at::<Ipv6>(places.ip)?;
    // SAFETY: as above.
    unsafe {
        let (answers_src, answers_dst) = translate::addresses(this);
        for word in 0..4 {
            fields.field((*ip).src[word], answers_dst[word]);
            fields.field((*ip).dst[word], answers_src[word]);
            (*ip).src[word] = answers_dst[word];
            (*ip).dst[word] = answers_src[word];
        }
    }
    Some(())
}

#[inline(always)]
fn quote_tcp(frame: Frame, places: &Places, this: *const Direction, fields: &mut Difference) -> Option<()> {
    let quote = frame.at::<Quote>(places.tcp)?;
    // SAFETY: as above.
    unsafe {
        let ports = [(*this).dst_port, (*this).src_port].map(u16::to_be);
        for end in 0..2 {
            fields.field(u32::from((*quote).ports[end]), u32::from(ports[end]));
            (*quote).ports[end] = ports[end];
        }
        let seq = u32::from_be((*quote).seq).wrapping_add((*this).ack_delta).to_be();
        fields.field((*quote).seq, seq);
        (*quote).seq = seq;
    }
    Some(())
}
