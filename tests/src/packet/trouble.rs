//! Errors of ICMP in frames: built with whole checksums, and read back with each verified.
//!
//! Owns: an implementation of its own, like [`Packet`](super::Packet). Goes in: fields and what is quoted. Comes out: bytes, or
//! fields from bytes. Does not do: headers of IP with options; tests make those by changing bytes.

use super::{ETHERNET, IPV4, IPV6, number16, number32, sum};
use std::net::IpAddr;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An error in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Ethernet address of the receiver.
    pub mac_dst: [u8; 6],
    /// Ethernet address of the sender.
    pub mac_src: [u8; 6],
    /// Who reports; its family is that of the packet.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes that follow the checksum: in the last of them, or in all, the size that fits.
    pub more: u32,
    /// The packet that it is about, from its header of IP on, or the beginning of it.
    pub quoted: Vec<u8>,
}

impl Trouble {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let icmp = self.icmp();
        let mut bytes = [self.mac_dst, self.mac_src].concat();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut ip = vec![0x45, 0xc0];
                ip.extend(((IPV4 + icmp.len()) as u16).to_be_bytes());
                ip.extend([0x12, 0x34, 0, 0, self.ttl, ICMP, 0, 0]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                let sum = !sum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend([0x08, 0x00]);
                bytes.extend(ip);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend((icmp.len() as u16).to_be_bytes());
                bytes.extend([ICMPV6, self.ttl]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            _ => panic!("a packet has one family: {self:?}"),
        }
        bytes.extend(icmp);
        bytes
    }

    /// Reads a frame that [`Self::bytes`] could have made.
    ///
    /// # Panics
    /// When it could not, or a checksum is wrong.
    #[must_use]
    pub fn read(frame: &[u8]) -> Self {
        let (ethernet, ip) = frame.split_at(ETHERNET);
        let mac = |at: usize| -> [u8; 6] { ethernet[at..at + 6].try_into().expect("six bytes") };
        let (src, dst, ttl, icmp) = if ethernet[12..] == [0x08, 0x00] {
            assert_eq!((ip[0], ip[9], sum(&ip[..IPV4])), (0x45, ICMP, 0xffff), "the header of IPv4");
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).expect("four bytes"));
            (address(12), address(16), ip[8], &ip[IPV4..])
        } else {
            assert_eq!((ip[0] >> 4, ip[6]), (6, ICMPV6), "the header of IPv6");
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("sixteen bytes"));
            (address(8), address(24), ip[7], &ip[IPV6..])
        };
        let whole = sum(&[&pseudo(src, dst, icmp.len()), icmp].concat());
        assert_eq!(whole, 0xffff, "the checksum of ICMP is wrong: {icmp:x?}");
        let (more, quoted) = (number32(&icmp[4..]), icmp[8..].to_vec());
        Self { mac_dst: mac(0), mac_src: mac(6), src, dst, ttl, kind: icmp[0], code: icmp[1], more, quoted }
    }

    fn icmp(&self) -> Vec<u8> {
        let mut icmp = vec![self.kind, self.code, 0, 0];
        icmp.extend(self.more.to_be_bytes());
        icmp.extend(&self.quoted);
        let sum = !sum(&[&pseudo(self.src, self.dst, icmp.len()), &icmp[..]].concat());
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        icmp
    }
}

/// What a quoted packet of TCP is once its ends and its number are others: the header of IP has its checksum anew, that of TCP
/// keeps the old one, which nobody checks.
#[must_use]
pub fn requote(quoted: &[u8], src: std::net::SocketAddr, dst: std::net::SocketAddr, seq: u32) -> Vec<u8> {
    let mut bytes = quoted.to_vec();
    let head = match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes[12..16].copy_from_slice(&src.octets());
            bytes[16..20].copy_from_slice(&dst.octets());
            bytes[10..12].copy_from_slice(&[0, 0]);
            let sum = !sum(&bytes[..IPV4]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            IPV4
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            bytes[8..24].copy_from_slice(&src.octets());
            bytes[24..40].copy_from_slice(&dst.octets());
            IPV6
        }
        _ => panic!("a packet has one family: {src} {dst}"),
    };
    bytes[head..head + 2].copy_from_slice(&src.port().to_be_bytes());
    bytes[head + 2..head + 4].copy_from_slice(&dst.port().to_be_bytes());
    bytes[head + 4..head + 8].copy_from_slice(&seq.to_be_bytes());
    assert_eq!(number16(&bytes[head..]), src.port());
    bytes
}

/// The header that the checksum of ICMPv6 covers and nobody sends (RFC 4443 section 2.3); that of ICMP covers none.
fn pseudo(src: IpAddr, dst: IpAddr, length: usize) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            [&src.octets()[..], &dst.octets(), &(length as u32).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat()
        }
        _ => Vec::new(),
    }
}
