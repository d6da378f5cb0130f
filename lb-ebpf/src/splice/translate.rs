//! The translation: a packet of one connection becomes one of the other.
//!
//! Goes in: a packet and its pair. Comes out: the packet as it leaves, and by how much its TCP checksum is off. Does not
//! do: the TCP checksum itself, which tc and XDP mend differently; the Ethernet header.
//!
//! The time to live starts anew, as it does for what our own stack sends. Differentiated services, congestion marks, the
//! identification and the urgent pointer stay as they are.

use super::frame::{ETHERNET, Frame, Ipv4, Ipv6, TCP_ACK, TCP_SYN, Tcp};
use super::options;
use super::packet::Packet;
use super::pairs::Pair;
use super::sum::Difference;
use lb_common::splice::Direction;

/// What `net.ipv4.ip_default_ttl` is unless somebody changed it.
const TIME_TO_LIVE: u8 = 64;

/// By how much the checksum of TCP is off.
#[derive(Clone, Copy)]
pub struct Changes {
    /// Fields that only the pseudo header has: the addresses.
    pub addresses: Difference,
    /// Fields of the TCP header.
    pub fields: Difference,
    /// Fields of the IP header that no checksum of its own covers.
    pub uncovered: Difference,
}

impl Changes {
    pub const NONE: Self = Self { addresses: Difference::NONE, fields: Difference::NONE, uncovered: Difference::NONE };
}

/// Rewrites the packet, except for the checksum of TCP.
#[inline(always)]
pub fn write(frame: Frame, packet: &Packet, pair: &Pair) -> Option<Changes> {
    let this = pair.this();
    let mut changes = Changes::NONE;
    ip(frame, packet.v6, this, &mut changes)?;
    tcp(frame, packet, this, &mut changes.fields)?;
    if !packet.has(TCP_SYN) {
        options::write(frame, packet, pair, &mut changes.fields)?;
    }
    Some(changes)
}

/// Rewrites the header of IP.
#[inline(always)]
pub fn ip(frame: Frame, is_v6: bool, this: *const Direction, changes: &mut Changes) -> Option<()> {
    if is_v6 { v6(frame, this, changes) } else { v4(frame, this, changes) }
}

#[inline(always)]
fn v4(frame: Frame, this: *const Direction, changes: &mut Changes) -> Option<()> {
    let ip = frame.at::<Ipv4>(ETHERNET)?;
    // SAFETY: `at` checked the bounds of the packet; the record is a map value, whose addresses lie at multiples of 8.
    unsafe {
        let ([_, _, _, src], [_, _, _, dst]) = addresses(this);
        changes.addresses.field((*ip).src, src);
        changes.addresses.field((*ip).dst, dst);
        let mut covered = changes.addresses;
        let [ttl, protocol] = (*ip).ttl_protocol;
        covered.field(word([ttl, protocol]), word([TIME_TO_LIVE, protocol]));
        (*ip).ttl_protocol[0] = TIME_TO_LIVE;
        (*ip).src = src;
        (*ip).dst = dst;
        (*ip).checksum = covered.apply((*ip).checksum);
    }
    Some(())
}

#[inline(always)]
fn v6(frame: Frame, this: *const Direction, changes: &mut Changes) -> Option<()> {
    let ip = frame.at::<Ipv6>(ETHERNET)?;
    // SAFETY: as above.
    unsafe {
        let (src, dst) = addresses(this);
        for word in 0..4 {
            changes.addresses.field((*ip).src[word], src[word]);
            changes.addresses.field((*ip).dst[word], dst[word]);
            (*ip).src[word] = src[word];
            (*ip).dst[word] = dst[word];
        }
        let [next, limit] = (*ip).next_limit;
        changes.uncovered = changes.addresses;
        changes.uncovered.field(word([next, limit]), word([next, TIME_TO_LIVE]));
        (*ip).next_limit[1] = TIME_TO_LIVE;
    }
    Some(())
}

/// Source and destination of packets when they leave.
#[inline(always)]
pub unsafe fn addresses(this: *const Direction) -> ([u32; 4], [u32; 4]) {
    // SAFETY: the caller's.
    unsafe { (*(&raw const (*this).src).cast(), *(&raw const (*this).dst).cast()) }
}

#[inline(always)]
fn word(bytes: [u8; 2]) -> u32 {
    u32::from(u16::from_ne_bytes(bytes))
}

#[inline(always)]
fn tcp(frame: Frame, packet: &Packet, this: *const Direction, fields: &mut Difference) -> Option<()> {
    let tcp = frame.at::<Tcp>(packet.tcp)?;
    // SAFETY: as above.
    unsafe {
        let ports = [(*this).src_port, (*this).dst_port].map(u16::to_be);
        for end in 0..2 {
            fields.field(u32::from((*tcp).ports[end]), u32::from(ports[end]));
            (*tcp).ports[end] = ports[end];
        }
        let seq = packet.seq.wrapping_add((*this).seq_delta).to_be();
        fields.field(packet.seq.to_be(), seq);
        (*tcp).seq = seq;
        if packet.has(TCP_ACK) {
            let ack = packet.ack.wrapping_add((*this).ack_delta).to_be();
            fields.field(packet.ack.to_be(), ack);
            (*tcp).ack = ack;
        }
        if !packet.has(TCP_SYN) {
            let old = (*tcp).window;
            let new = window(u16::from_be(old), (*this).window_left, (*this).window_right).to_be();
            fields.field(u32::from(old), u32::from(new));
            (*tcp).window = new;
        }
    }
    Some(())
}

/// A window in other units. Rounded down: the sender must never believe in more room than there is.
#[inline(always)]
fn window(window: u16, left: u8, right: u8) -> u16 {
    // RFC 7323 section 2.3: a shift of more than 14 is taken for 14.
    let bytes = u32::from(window) << (left & 15);
    let units = bytes >> (right & 15);
    if units > 0xffff { 0xffff } else { units as u16 }
}
