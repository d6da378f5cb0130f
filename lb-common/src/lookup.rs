//! What the socket look-up asks its map: `(address, port, protocol) → slot`.
//!
//! Owns: key and value of the map [`LISTENERS`](crate::maps::LISTENERS). Goes in: a served address. Comes out: a key.
//! Does not do: deciding which keys exist (`lb_core::plan`).

use crate::abi;
use crate::addr::Addr;

/// TCP, as in the IP header (RFC 9293).
pub const TCP: u8 = 6;

abi! {
    /// An address and port that we serve.
    ListenerKey, 20 {
        /// Destination address; [`ANY_V4`](crate::addr::ANY_V4) and [`ANY`](crate::addr::ANY) are wildcards.
        addr: Addr,
        /// Destination port in the byte order of the machine.
        port: u16,
        /// Protocol number of the IP header; only [`TCP`] now.
        protocol: u8,
        /// Zero.
        reserved: u8,
    }
}

abi! {
    /// Where the socket for a [`ListenerKey`] is.
    Listener, 4 {
        /// Index into the map [`SOCKETS`](crate::maps::SOCKETS), less than
        /// [`LISTENERS_MAX`](crate::maps::LISTENERS_MAX).
        slot: u32,
    }
}

impl ListenerKey {
    /// The key of a TCP listener.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(addr: Addr, port: u16) -> Self {
        Self { addr, port, protocol: TCP, reserved: 0 }
    }
}
