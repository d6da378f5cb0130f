//! Ethernet frames with one TCP packet: built with whole checksums, and read back with every checksum verified.
//!
//! Owns: an implementation of the headers that shares nothing with the programs in the kernel, so that a mistake is not
//! made twice. Goes in: fields. Comes out: bytes, or fields from bytes. Does not do: fragments, other protocols; tests make
//! those by changing bytes.

mod trouble;

pub use trouble::{Trouble, requote};

use std::net::{IpAddr, SocketAddr};

/// Flags of TCP.
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;
/// See [`FIN`].
pub const URG: u8 = 0x20;

/// Length of the Ethernet header.
pub const ETHERNET: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of an IPv6 header.
pub const IPV6: usize = 40;

const TCP: u8 = 6;

/// A TCP packet in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Ethernet address of the receiver.
    pub mac_dst: [u8; 6],
    /// Ethernet address of the sender.
    pub mac_src: [u8; 6],
    /// Source; its family is that of the packet.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// Type of service, or traffic class.
    pub class: u8,
    /// Identification of IPv4, or flow label of IPv6.
    pub id: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Options of IPv4, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// Extension headers of IPv6: kind, and content without the two bytes that each begins with.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// [`FIN`] and so on.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options of TCP, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
    /// Bytes after the packet, to fill a short frame.
    pub padding: Vec<u8>,
}

impl Packet {
    /// An acknowledgement without options and payload.
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr) -> Self {
        Self {
            mac_dst: [0; 6],
            mac_src: [0; 6],
            src,
            dst,
            class: 0,
            id: 0,
            ttl: 64,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            seq: 0,
            ack: 0,
            flags: ACK,
            window: 500,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut bytes = [self.mac_dst, self.mac_src].concat();
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend([0x08, 0x00]);
                let head = IPV4 + self.ip_options.len();
                let mut ip = vec![0x40 | (head / 4) as u8, self.class];
                ip.extend(((head + tcp.len()) as u16).to_be_bytes());
                ip.extend((self.id as u16).to_be_bytes());
                // Do not fragment.
                ip.extend([0x40, 0, self.ttl, TCP, 0, 0]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                ip.extend(&self.ip_options);
                let sum = !sum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend(ip);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x86, 0xdd]);
                let (first, extensions) = self.extensions();
                let class = 0x6000_0000 | u32::from(self.class) << 20 | self.id & 0xf_ffff;
                bytes.extend(class.to_be_bytes());
                bytes.extend(((extensions.len() + tcp.len()) as u16).to_be_bytes());
                bytes.extend([first, self.ttl]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(extensions);
            }
            _ => panic!("a packet has one family: {self:?}"),
        }
        bytes.extend(tcp);
        bytes.extend(&self.padding);
        bytes
    }

    /// Reads a frame that [`Self::bytes`] could have made.
    ///
    /// # Panics
    /// When it could not, or a checksum is wrong.
    #[must_use]
    pub fn read(frame: &[u8]) -> Self {
        let read = Self::parse(frame).unwrap_or_else(|| panic!("another protocol: {frame:x?}"));
        let tcp = &frame[frame.len() - read.padding.len() - read.payload.len() - read.options.len() - 20..];
        let tcp = &tcp[..tcp.len() - read.padding.len()];
        let whole = sum(&[&pseudo(read.src.ip(), read.dst.ip(), tcp.len()), tcp].concat());
        assert_eq!(whole, 0xffff, "the checksum of TCP is wrong: {tcp:x?}");
        read
    }

    /// Reads a frame whose checksum of TCP may not be complete: one that was captured before it reached a driver. `None`
    /// for other protocols.
    ///
    /// # Panics
    /// When a header is cut off.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at(ETHERNET);
        let mac = |at: usize| -> [u8; 6] { ethernet[at..at + 6].try_into().expect("six bytes") };
        let mut read = match ethernet[12..] {
            [0x08, 0x00] if packet[9] == TCP => Self::read_v4(packet),
            [0x86, 0xdd] if [0, 60, TCP].contains(&packet[6]) => Self::read_v6(packet)?,
            _ => return None,
        };
        (read.mac_dst, read.mac_src) = (mac(0), mac(6));
        Some(read)
    }

    fn read_v4(ip: &[u8]) -> Self {
        assert_eq!(ip[0] >> 4, 4, "version");
        let (head, total) = (usize::from(ip[0] & 15) * 4, usize::from(number16(&ip[2..])));
        assert_eq!(sum(&ip[..head]), 0xffff, "the checksum of IPv4 is wrong: {:x?}", &ip[..head]);
        assert_eq!((ip[6], ip[7], ip[9]), (0x40, 0, TCP), "flags, offset, protocol");
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).expect("four bytes"));
        let mut read = Self::read_tcp(&ip[head..total], address(12), address(16));
        (read.class, read.id, read.ttl) = (ip[1], u32::from(number16(&ip[4..])), ip[8]);
        read.ip_options = ip[IPV4..head].to_vec();
        read.padding = ip[total..].to_vec();
        read
    }

    fn read_v6(ip: &[u8]) -> Option<Self> {
        let class = number32(ip);
        assert_eq!(class >> 28, 6, "version");
        let total = IPV6 + usize::from(number16(&ip[4..]));
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("sixteen bytes"));
        let (mut next, mut at, mut extensions) = (ip[6], IPV6, Vec::new());
        while next != TCP {
            // Multicast listeners are reported behind a hop-by-hop header.
            if ![0, 60].contains(&next) {
                return None;
            }
            let length = (usize::from(ip[at + 1]) + 1) * 8;
            extensions.push((next, ip[at + 2..at + length].to_vec()));
            (next, at) = (ip[at], at + length);
        }
        let mut read = Self::read_tcp(&ip[at..total], address(8), address(24));
        (read.class, read.id, read.ttl) = ((class >> 20) as u8, class & 0xf_ffff, ip[7]);
        read.extensions = extensions;
        read.padding = ip[total..].to_vec();
        Some(read)
    }

    fn read_tcp(tcp: &[u8], src: IpAddr, dst: IpAddr) -> Self {
        let head = usize::from(tcp[12] >> 4) * 4;
        Self {
            seq: number32(&tcp[4..]),
            ack: number32(&tcp[8..]),
            flags: tcp[13],
            window: number16(&tcp[14..]),
            urgent: number16(&tcp[18..]),
            options: tcp[20..head].to_vec(),
            payload: tcp[head..].to_vec(),
            ..Self::new(SocketAddr::new(src, number16(tcp)), SocketAddr::new(dst, number16(&tcp[2..])))
        }
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = [self.src.port().to_be_bytes(), self.dst.port().to_be_bytes()].concat();
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        assert_eq!(self.options.len() % 4, 0, "options fill words");
        tcp.extend([((20 + self.options.len()) as u8) << 2, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let sum = !sum(&[&pseudo(self.src.ip(), self.dst.ip(), tcp.len()), &tcp[..]].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        tcp
    }

    /// The kind of the first extension header, or TCP; and all of them.
    fn extensions(&self) -> (u8, Vec<u8>) {
        let kinds = self.extensions.iter().map(|(kind, _)| *kind).chain([TCP]);
        let mut bytes = Vec::new();
        for ((_, content), next) in self.extensions.iter().zip(kinds.clone().skip(1)) {
            assert_eq!((content.len() + 2) % 8, 0, "an extension header fills units of eight bytes");
            bytes.extend([next, ((content.len() + 2) / 8 - 1) as u8]);
            bytes.extend(content);
        }
        (kinds.clone().next().expect("TCP at least"), bytes)
    }
}

/// Timestamps (RFC 7323), as stacks send them: behind two bytes of padding.
#[must_use]
pub fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// SACK (RFC 2018), as stacks send it: behind two bytes of padding.
#[must_use]
pub fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut option = vec![1, 1, 5, (2 + 8 * blocks.len()) as u8];
    option.extend(blocks.iter().flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()].concat()));
    option
}

/// The header that the checksum of TCP covers and nobody sends (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo(src: IpAddr, dst: IpAddr, length: usize) -> Vec<u8> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut bytes = [address(src), address(dst)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, TCP]);
    bytes
}

/// The sum of all 16-bit words in ones' complement (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn number16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn number32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_books() {
        // RFC 1071 section 3.
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        // An IPv4 header of a real packet.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(sum(&header), 0xffff);
    }

    #[test]
    fn what_is_built_is_read() {
        for (src, dst) in [("10.0.0.1:1", "10.0.0.2:65535"), ("[fd00::1]:80", "[fd00::2]:1234")] {
            let (src, dst): (SocketAddr, SocketAddr) = (src.parse().expect("address"), dst.parse().expect("address"));
            let mut packet = Packet { payload: b"odd".to_vec(), options: timestamps(7, 8), ..Packet::new(src, dst) };
            (packet.id, packet.class, packet.urgent) = (77, 0x2e, 9);
            match src.is_ipv4() {
                true => packet.ip_options = vec![1, 1, 1, 0],
                false => packet.extensions = vec![(0, vec![1, 4, 0, 0, 0, 0]), (60, vec![0; 14])],
            }
            assert_eq!(Packet::read(&packet.bytes()), packet);
        }
    }
}
