//! A TCP packet: where its headers are and what they say.
//!
//! Goes in: a frame. Comes out: the 4-tuple and the [`Packet`], or why there is none. Does not do: fragments (only the
//! first has ports), other protocols, other encapsulations; they go on as without us.

use super::frame::{ETHERNET, Ethernet, Frame, IPV4, IPV6, Ipv4, Ipv6, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Tcp};
use super::pairs::Key;

/// Bytes that hold every header that is read here, with options: 14 + 60 + 60, and 64 of IPv6 extension headers.
pub const HEADERS_MAX: u32 = 198;

/// Most extension headers of IPv6 that are stepped over: each kind that may precede TCP comes once (RFC 8200
/// section 4.1), and destination options twice.
const EXTENSIONS_MAX: usize = 3;

const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_DESTINATION: u8 = 60;

/// A whole TCP header, and how much follows it.
#[derive(Clone, Copy)]
pub struct Packet {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Offset of the TCP header in the frame.
    pub tcp: usize,
    /// Length of the TCP header with its options.
    pub head: usize,
    /// Bytes of payload.
    pub payload: u32,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; means something with [`TCP_ACK`] only.
    pub ack: u32,
    /// `TCP_…`.
    pub flags: u8,
}

/// Why a frame is no [`Packet`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NoPacket {
    /// It is something else.
    Other,
    /// The bounds end before the headers do.
    Short,
}

impl Packet {
    #[inline(always)]
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Asks for a new connection.
    #[inline(always)]
    pub fn is_bare_syn(&self) -> bool {
        self.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN) == TCP_SYN
    }

    /// Sequence number after this packet: a FIN counts one (RFC 9293 section 3.4).
    #[inline(always)]
    pub fn seq_end(&self) -> u32 {
        self.seq.wrapping_add(self.payload).wrapping_add(u32::from(self.has(TCP_FIN)))
    }
}

/// Reads a frame of `length` bytes, of which those in `frame` can be touched.
#[inline(always)]
pub fn read(frame: Frame, length: u32) -> Result<(Key, Packet), NoPacket> {
    let ethernet = frame.at::<Ethernet>(0).ok_or(NoPacket::Other)?;
    // SAFETY: `at` checked the bounds; so for all pointers of it below.
    match unsafe { (*ethernet).kind } {
        IPV4 => v4(frame, length),
        IPV6 => v6(frame, length),
        _ => Err(NoPacket::Other),
    }
}

#[inline(always)]
fn v4(frame: Frame, length: u32) -> Result<(Key, Packet), NoPacket> {
    // Fragments: the flag "more" or an offset.
    const FRAGMENT: u16 = 0x3fff_u16.to_be();
    let ip = frame.at::<Ipv4>(ETHERNET).ok_or(NoPacket::Short)?;
    // SAFETY: see `read`.
    let (version_words, [_, protocol], fragment, total, src, dst) =
        unsafe { ((*ip).version_words, (*ip).ttl_protocol, (*ip).fragment, (*ip).length, (*ip).src, (*ip).dst) };
    let head = usize::from(version_words & 0xf) * 4;
    if version_words >> 4 != 4 || head < size_of::<Ipv4>() || protocol != PROTOCOL_TCP || fragment & FRAGMENT != 0 {
        return Err(NoPacket::Other);
    }
    let end = ip_end(u32::from(u16::from_be(total)), length);
    let (ports, packet) = tcp(frame, ETHERNET + head, end, length, false)?;
    Ok((Key::new(Key::v4(src), Key::v4(dst), ports), packet))
}

#[inline(always)]
fn v6(frame: Frame, length: u32) -> Result<(Key, Packet), NoPacket> {
    let ip = frame.at::<Ipv6>(ETHERNET).ok_or(NoPacket::Short)?;
    // SAFETY: see `read`.
    let (payload, [mut next, _], src, dst) = unsafe { ((*ip).payload, (*ip).next_limit, (*ip).src, (*ip).dst) };
    let mut offset = ETHERNET + size_of::<Ipv6>();
    for _ in 0..EXTENSIONS_MAX {
        if next != PROTOCOL_HOP_BY_HOP && next != PROTOCOL_DESTINATION {
            break;
        }
        // Next header, and the length in units of 8 bytes without the first.
        let extension = frame.at::<[u8; 2]>(offset).ok_or(NoPacket::Short)?;
        // SAFETY: see `read`.
        let [after, units] = unsafe { *extension };
        if units > 7 {
            return Err(NoPacket::Other);
        }
        next = after;
        offset += (usize::from(units) + 1) * 8;
    }
    if next != PROTOCOL_TCP {
        return Err(NoPacket::Other);
    }
    let payload = u32::from(u16::from_be(payload));
    let total = if payload == 0 { 0 } else { payload + size_of::<Ipv6>() as u32 };
    let (ports, packet) = tcp(frame, offset, ip_end(total, length), length, true)?;
    Ok((Key::new(src, dst, ports), packet))
}

/// Where the IP packet ends in the frame. Segments that were joined to more than 64 KB say 0 (kernel 5.19, 6.3).
#[inline(always)]
fn ip_end(total: u32, length: u32) -> u32 {
    if total == 0 { length } else { total + ETHERNET as u32 }
}

#[inline(always)]
fn tcp(frame: Frame, offset: usize, end: u32, length: u32, v6: bool) -> Result<([u16; 2], Packet), NoPacket> {
    let tcp = frame.at::<Tcp>(offset).ok_or(NoPacket::Short)?;
    // SAFETY: see `read`.
    let (ports, seq, ack, words, flags) = unsafe { ((*tcp).ports, (*tcp).seq, (*tcp).ack, (*tcp).words, (*tcp).flags) };
    let head = usize::from(words >> 4) * 4;
    let start = (offset + head) as u32;
    if head < size_of::<Tcp>() || start > end || end > length {
        return Err(NoPacket::Other);
    }
    if frame.start + offset + head > frame.end {
        return Err(NoPacket::Short);
    }
    let packet =
        Packet { v6, tcp: offset, head, payload: end - start, seq: u32::from_be(seq), ack: u32::from_be(ack), flags };
    Ok((ports, packet))
}
