//! What is known of a client's connection before its first request, and shared by all of its requests.
//!
//! Goes in: where a connection came from and what TLS told of it. Comes out: [`Facts`].

use super::identity::Identity;
use super::proxy_protocol::Addresses;
use std::net::SocketAddr;

/// The port of HTTPS: a balancer in front that says that it was connected to there has ended TLS.
const HTTPS_PORT: u16 = 443;

/// What is known of a client's connection.
#[derive(Debug)]
pub struct Facts {
    /// Who it is.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// The client spoke TLS: to us, or to the balancer in front.
    pub secure: bool,
    /// TLS that ends here.
    pub tls: Option<Session>,
    /// Fields that are the same for all requests, as lines.
    pub lines: Box<[u8]>,
}

/// TLS of a connection.
#[derive(Debug, Default)]
pub struct Session {
    /// The server name that was asked for, in normal form.
    pub name: Option<Box<str>>,
    /// Who the client is, where the host of that name asks.
    pub identity: Option<Box<Identity>>,
}

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Who it is.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// A balancer in front says so.
    pub announced: bool,
}

impl Arrival {
    /// What a balancer in front says, or else what we see.
    pub fn new(peer: SocketAddr, local: SocketAddr, announced: Option<Addresses>) -> Self {
        match announced {
            Some(Addresses { source, destination }) => Self { peer: source, local: destination, announced: true },
            None => Self { peer, local, announced: false },
        }
    }
}

impl Facts {
    /// Facts of a connection.
    pub fn new(arrival: Arrival, tls: Option<Session>) -> Self {
        let Arrival { peer, local, announced } = arrival;
        let port = local.port();
        let secure = tls.is_some() || (announced && port == HTTPS_PORT);
        let (ip, scheme) = (peer.ip().to_canonical(), scheme(secure));
        let text = format!(
            "X-Real-IP: {ip}\r\nX-Forwarded-For: {ip}\r\nX-Forwarded-Port: {port}\r\nX-Forwarded-Proto: {scheme}\r\n\
             X-Forwarded-Scheme: {scheme}\r\nX-Scheme: {scheme}\r\n"
        );
        Self { peer, local, secure, tls, lines: text.into_bytes().into() }
    }
}

/// `https` or `http`.
pub fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}
