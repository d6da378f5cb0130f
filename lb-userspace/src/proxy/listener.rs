//! Listening sockets: for each worker its own, in one `SO_REUSEPORT` group, so that the kernel spreads connections.
//!
//! Goes in: the address that is served. Comes out: sockets, bound to it, or to a loopback port to which `sk_lookup`
//! brings its connections. Does not accept.

use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;

/// Connections that may wait to be accepted, for each worker. The kernel cuts it to `net.core.somaxconn`, which is
/// 4096 since Linux 5.4.
const BACKLOG_MAX: i32 = 4_096;

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// How connections come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindMode {
    /// The served address itself is bound.
    Direct,
    /// An ephemeral loopback port of the same family is bound; `sk_lookup` brings the connections.
    Steered,
}

/// The sockets of one served address.
#[derive(Debug)]
pub struct Listener {
    /// The address that clients connect to.
    pub served: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    bound: SocketAddr,
    sockets: Vec<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (to serve {served}): {cause}. {remedy}")]
pub struct BindError {
    /// The address that was to be bound.
    pub address: SocketAddr,
    /// The address that was to be served.
    pub served: SocketAddr,
    /// What the kernel says.
    pub cause: io::Error,
    /// What can be done.
    pub remedy: &'static str,
}

/// Binds one socket for each worker.
///
/// # Errors
/// [`BindError`] names the address, the cause and what can be done.
pub fn bind(
    served: SocketAddr,
    protocol: Protocol,
    workers: NonZeroUsize,
    mode: BindMode,
) -> Result<Listener, BindError> {
    let mut address = match (mode, served) {
        (BindMode::Direct, _) => served,
        (BindMode::Steered, SocketAddr::V4(_)) => (Ipv4Addr::LOCALHOST, 0).into(),
        (BindMode::Steered, SocketAddr::V6(_)) => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let mut sockets = Vec::with_capacity(workers.get());
    for _ in 0..workers.get() {
        let fault = |cause: io::Error| BindError { address, served, remedy: remedy(&cause), cause };
        let socket = listen(address).map_err(fault)?;
        // The first one gets a port where none was asked for, and the others join it there.
        address = socket.local_addr().map_err(fault)?;
        sockets.push(socket);
    }
    let served = if mode == BindMode::Direct { address } else { served };
    Ok(Listener { served, protocol, bound: address, sockets })
}

impl Listener {
    /// The sockets, one for each worker.
    #[must_use]
    pub fn sockets(&self) -> &[TcpListener] {
        &self.sockets
    }

    /// Asks clients that connect from now on to send segments of at most so many bytes (`TCP_MAXSEG`, inherited by
    /// connections; RFC 9293 section 3.7.1).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn limit_segments(&self, bytes: u16) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| SockRef::from(socket).set_tcp_mss(bytes.into()))
    }

    /// The address that is bound.
    #[must_use]
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it: a response leaves when it is written.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX)?;
    Ok(socket.into())
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "Stop the program that holds the port (`ss -ltnp` names it), or serve another address."
        }
        io::ErrorKind::AddrNotAvailable => "Give the address to an interface of this host, or serve another one.",
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need CAP_NET_BIND_SERVICE; add it, or serve a higher port."
        }
        _ => "Check the address, and the limit on open files (`ulimit -n`).",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> NonZeroUsize {
        NonZeroUsize::new(2).expect("two")
    }

    #[test]
    fn workers_share_a_port() {
        for served in ["127.0.0.1:0", "[::1]:0"] {
            let served: SocketAddr = served.parse().expect("address");
            let listener = bind(served, Protocol::Http, two(), BindMode::Direct).expect("bound");
            let ports: Vec<_> = listener.sockets().iter().filter_map(|s| s.local_addr().ok()).collect();
            assert_eq!(ports, [listener.bound(); 2]);
            assert_eq!(listener.served, listener.bound());
        }
    }

    #[test]
    fn a_steered_listener_serves_another_address_than_it_binds() {
        let served: SocketAddr = "192.0.2.1:80".parse().expect("address");
        let listener = bind(served, Protocol::Https, two(), BindMode::Steered).expect("bound");
        assert_eq!(listener.served, served);
        assert!(listener.bound().ip().is_loopback() && listener.bound().port() != 0);
    }

    #[test]
    fn connections_inherit_the_limit_of_segments() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let listener = bind(any, Protocol::Http, NonZeroUsize::MIN, BindMode::Direct).expect("bound");
        listener.limit_segments(1_000).expect("limited");
        let client = std::net::TcpStream::connect(listener.bound()).expect("connected");
        // What is left of it beside the timestamps of each segment.
        assert_eq!(SockRef::from(&client).tcp_mss().expect("told"), 1_000 - 12);
    }

    #[test]
    fn an_address_of_another_host_is_an_error_with_a_remedy() {
        let served: SocketAddr = "192.0.2.1:8080".parse().expect("address");
        let error = bind(served, Protocol::Http, two(), BindMode::Direct).expect_err("not ours").to_string();
        assert!(error.contains("192.0.2.1:8080") && error.contains("interface"), "{error}");
    }
}
