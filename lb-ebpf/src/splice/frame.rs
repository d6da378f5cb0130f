//! An Ethernet frame as the program may touch it, and the headers in it.
//!
//! Owns: bounds. Goes in: where the bytes begin and end. Comes out: pointers that the verifier takes, because the bounds
//! were checked in front of it. Does not do: meaning.
//!
//! Fields are read and written whole although a frame begins at any even address: the machines that this runs on
//! (x86-64, arm64) do that, and the verifier refuses it on those that do not.

use core::arch::asm;

/// Length of the Ethernet header, where the IP header begins.
pub const ETHERNET: usize = 14;

/// The bytes that a program may touch.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Address of the first byte.
    pub start: usize,
    /// Address after the last byte.
    pub end: usize,
}

impl Frame {
    /// Where a `T` lies, if all of it is within the bounds.
    #[inline(always)]
    pub fn at<T>(self, offset: usize) -> Option<*mut T> {
        let place = hide(self.start + offset);
        if place + size_of::<T>() > self.end {
            return None;
        }
        Some(place as *mut T)
    }
}

/// Hides from the compiler how an address came about. It would otherwise work out the same address twice, once for the
/// check of its bounds and once for its use, and the verifier takes them for two.
#[inline(always)]
fn hide(address: usize) -> usize {
    let mut hidden = address;
    // SAFETY: it changes nothing. Without an instruction the kernel would refuse the program's line numbers.
    unsafe { asm!("{0} = {0}", inout(reg) hidden, options(pure, nomem, preserves_flags, nostack)) };
    hidden
}

/// EtherTypes in network order.
pub const IPV4: u16 = 0x0800_u16.to_be();
/// See [`IPV4`].
pub const IPV6: u16 = 0x86dd_u16.to_be();

/// IEEE 802.3.
#[repr(C)]
pub struct Ethernet {
    pub dst: [u16; 3],
    pub src: [u16; 3],
    pub kind: u16,
}

/// RFC 791, without options. Numbers are in network order.
#[repr(C)]
pub struct Ipv4 {
    pub version_words: u8,
    pub tos: u8,
    pub length: u16,
    pub id: u16,
    pub fragment: u16,
    pub ttl_protocol: [u8; 2],
    pub checksum: u16,
    pub src: u32,
    pub dst: u32,
}

/// RFC 8200. Numbers are in network order.
#[repr(C)]
pub struct Ipv6 {
    pub flow: u32,
    pub payload: u16,
    pub next_limit: [u8; 2],
    pub src: [u32; 4],
    pub dst: [u32; 4],
}

/// RFC 9293, without options. Numbers are in network order.
#[repr(C)]
pub struct Tcp {
    pub ports: [u16; 2],
    pub seq: u32,
    pub ack: u32,
    pub words: u8,
    pub flags: u8,
    pub window: u16,
    pub checksum: u16,
    pub urgent: u16,
}

/// RFC 792, RFC 4443: what errors begin with.
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
    pub more: u32,
}

/// What an error quotes of a TCP header at least (RFC 792). Numbers are in network order.
#[repr(C)]
pub struct Quote {
    pub ports: [u16; 2],
    pub seq: u32,
}

/// Flags of TCP.
pub const TCP_FIN: u8 = 0x01;
/// See [`TCP_FIN`].
pub const TCP_SYN: u8 = 0x02;
/// See [`TCP_FIN`].
pub const TCP_RST: u8 = 0x04;
/// See [`TCP_FIN`].
pub const TCP_ACK: u8 = 0x10;
