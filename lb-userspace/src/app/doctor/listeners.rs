//! Whether the addresses that are to be served can be had.
//!
//! Goes in: addresses, and whether `sk_lookup` brings their connections. Comes out: a check for each. A socket is bound and
//! dropped without listening, so no client meets it.

use crate::kernel::doctor::{Check, State};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

pub fn checks(addresses: &[SocketAddr], steers: bool) -> Vec<Check> {
    addresses.iter().map(|address| check(*address, steers)).collect()
}

fn check(address: SocketAddr, steers: bool) -> Check {
    let name = format!("listener {address}");
    let needed_for = "serving there";
    let error = match bind(address) {
        Ok(()) => return Check::ok(name, "free", needed_for),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            let found = "no interface of this host has the address";
            let state = if steers { State::Degraded } else { State::Missing };
            let remedy = "give the address to an interface, or route it to this host and use steering";
            Check::ok(name, found, needed_for).but(state, remedy)
        }
        // Both fall away where nothing is bound to the port.
        io::ErrorKind::AddrInUse if steers => {
            Check::ok(name, "another socket is bound; sk_lookup comes before it", needed_for)
        }
        io::ErrorKind::PermissionDenied if steers => {
            Check::ok(name, "may not be bound, and need not be: sk_lookup brings connections", needed_for)
        }
        io::ErrorKind::AddrInUse => Check::ok(name, "another program has it", needed_for)
            .but(State::Missing, "stop that program (`ss -ltnp` names it), serve another address, or use steering"),
        io::ErrorKind::PermissionDenied => Check::ok(name, "may not be bound", needed_for).but(
            State::Missing,
            "give CAP_NET_BIND_SERVICE, or serve a port from net.ipv4.ip_unprivileged_port_start on",
        ),
        _ => Check::ok(name, format!("cannot be bound: {error}"), needed_for)
            .but(State::Missing, "serve another address"),
    }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What is in TIME_WAIT is no obstacle; what listens is.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_address_that_cannot_be_served_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("any port");
        let address = taken.local_addr().expect("an address");
        let check = |address: SocketAddr, steers, want: State| {
            let found = check(address, steers);
            assert_eq!((found.state, found.remedy.is_none()), (want, want == State::Ok), "{found:?}");
        };
        check(address, false, State::Missing);
        check(address, true, State::Ok);
        check("192.0.2.1:80".parse().expect("an address"), false, State::Missing);
        check("192.0.2.1:80".parse().expect("an address"), true, State::Degraded);
        drop(taken);
        check(address, false, State::Ok);
    }
}
