//! Which socket may serve which address.
//!
//! Owns: the key of a served address, and the rules for its socket. Goes in: an address and a socket. Comes out: a key,
//! or the reason why the kernel would refuse connections. Does not do: opening sockets (`proxy`), maps (`apply`).

use lb_common::addr;
use lb_common::lookup::ListenerKey;
use socket2::{Domain, SockRef};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// Why a socket cannot serve an address.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is not a listening TCP socket.
    #[error("the socket does not listen for TCP connections")]
    NotListening,
    /// An IPv4 address, and the socket takes only IPv6.
    #[error("the socket takes only IPv6; use an IPv4 socket, or an IPv6 one without IPV6_V6ONLY")]
    TakesOnlyV6,
    /// An IPv6 address, and the socket takes only IPv4.
    #[error("the socket takes only IPv4; use an IPv6 socket")]
    TakesOnlyV4,
    /// The socket could not be looked at.
    #[error("cannot read the options of the socket: {0}")]
    Unreadable(#[from] std::io::Error),
}

/// The key of a served address. `::ffff:a.b.c.d` and `a.b.c.d` are one.
pub(super) fn key(addr: SocketAddr) -> ListenerKey {
    ListenerKey::tcp(addr::from_ip(addr.ip()), addr.port())
}

/// Checks that the kernel will give the connections of `addr` to this socket.
///
/// `bpf_sk_assign` takes an IPv4 packet for an IPv4 socket or an IPv6 one without `IPV6_V6ONLY`, and an IPv6 packet
/// for an IPv6 socket (kernel 5.9, `net/core/filter.c`).
pub(super) fn check(addr: SocketAddr, socket: BorrowedFd<'_>) -> Result<(), Refused> {
    let socket = SockRef::from(&socket);
    if socket.protocol()? != Some(socket2::Protocol::TCP) || !socket.is_listener()? {
        return Err(Refused::NotListening);
    }
    match (addr.ip().to_canonical().is_ipv4(), socket.domain()?) {
        (true, Domain::IPV6) if socket.only_v6()? => Err(Refused::TakesOnlyV6),
        (false, Domain::IPV4) => Err(Refused::TakesOnlyV4),
        _ => Ok(()),
    }
}
