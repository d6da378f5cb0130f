//! Connections to endpoints: what tells them apart, new ones, and idle ones.
//!
//! Goes in: an endpoint, and how it is spoken to. Comes out: a connection, or why there is none. Does not choose endpoints,
//! and does not know requests.

pub mod announce;
pub mod connect;
pub mod pool;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// What tells connections apart: only those with the same key can stand for one another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Address of the endpoint.
    pub endpoint: SocketAddr,
    /// Which way of TLS; 0 is none.
    pub way: u32,
    /// Name that is asked for, where it is that of the request.
    pub name: Option<Rc<str>>,
}

/// Why an endpoint could not be reached.
#[derive(Debug)]
pub enum Unreachable {
    /// Refused, no route, no local port.
    Failed(io::Error),
    /// No agreement on TLS or HTTP/2: the endpoint does not speak it, or is not whom we want.
    Disagreed(io::Error),
    /// No answer in time.
    Slow,
    /// So many requests wait for a connection to it that it was not even tried.
    Crowded,
}
