//! What happens to a connection before its first request: the header of a balancer in front, and the TLS handshake.
//!
//! Goes in: an accepted connection. Comes out: a [`Client`] with what is known of it, or a connection whose TLS does not end
//! here. One limit bounds all of it in time.

use super::client::Client;
use super::clock::Deadline;
use super::facts::{Arrival, Facts, Session};
use super::identity::Identity;
use super::listener::Protocol;
use super::passthrough::{Passing, Seen, look};
use super::proxy_protocol;
use super::worker::{Serving, Worker};
use lb_core::model::{RouteId, host};
use rustls::pki_types::UnixTime;
use rustls::server::Acceptor;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

/// A connection that is prepared.
pub enum Prepared {
    /// Requests are read from it.
    Requests(Client, Facts),
    /// It goes on as it is.
    Passing(Box<Passing>),
}

/// Prepares a connection from `peer` that was accepted where `served` is; `None` when nothing came of it.
pub async fn prepare(
    worker: &Worker,
    tcp: TcpStream,
    deadline: &Deadline,
    peer: SocketAddr,
    served: (SocketAddr, Protocol),
) -> Option<Prepared> {
    deadline.set(worker.limits.handshake_ms_max);
    let announced = announced(worker, &tcp, deadline, peer).await?;
    let arrival = Arrival::new(peer, local_address(&tcp, served.0), announced);
    if served.1 == Protocol::Http {
        return Some(Prepared::Requests(Client::Plain(tcp), Facts::new(arrival, None)));
    }
    // In a box: it is larger than a connection that waits, and gone by then.
    match Box::pin(secure(worker, tcp, deadline, arrival)).await {
        Ok(prepared) => Some(prepared),
        Err(error) => {
            worker.counters.handshakes_failed.add(1);
            tracing::debug!(peer = %arrival.peer, %error, "a TLS handshake failed");
            None
        }
    }
}

/// The address that a client connected to: a listener on every address knows the port only.
fn local_address(tcp: &TcpStream, served: SocketAddr) -> SocketAddr {
    let bound = if served.ip().is_unspecified() { tcp.local_addr().ok() } else { None };
    bound.map_or(served, |bound| SocketAddr::new(bound.ip(), served.port()))
}

/// What a balancer in front says of the connection: it must say something, and others are not listened to.
async fn announced(
    worker: &Worker,
    tcp: &TcpStream,
    deadline: &Deadline,
    peer: SocketAddr,
) -> Option<Option<proxy_protocol::Addresses>> {
    let ip = peer.ip().to_canonical();
    if !worker.in_front.iter().any(|network| network.contains(&ip)) {
        return Some(None);
    }
    match proxy_protocol::read(tcp, deadline).await {
        Ok(announced) => Some(announced),
        Err(error) => {
            worker.counters.proxy_protocol_refused.add(1);
            tracing::debug!(%peer, %error, "a connection without the PROXY protocol header that must be there");
            None
        }
    }
}

async fn secure(worker: &Worker, tcp: TcpStream, deadline: &Deadline, arrival: Arrival) -> io::Result<Prepared> {
    let mut acceptor = Acceptor::default();
    if !worker.serving().snapshot.passthrough.is_empty() {
        match look(&tcp, deadline, |name| passes(worker, name)).await? {
            Seen::Wanted(hello, name, route) => {
                return Ok(Prepared::Passing(Box::new(Passing { client: tcp, arrival, hello, name, route })));
            }
            Seen::Other(taken) => feed(&mut acceptor, &taken)?,
        }
    }
    let hello = in_time(deadline, LazyConfigAcceptor::new(acceptor, tcp)).await?;
    let name: Option<Box<str>> = hello.client_hello().server_name().map(|name| host::normalize(name).as_ref().into());
    let serving = worker.serving();
    let auth = name.as_deref().and_then(|name| serving.snapshot.client_auth.find(name));
    let asking = auth.map(|auth| worker.tls.asking(auth, &serving));
    drop(serving);
    let config = asking.as_ref().and_then(|asking| asking.config()).unwrap_or_else(|| worker.tls.open());
    let tls = in_time(deadline, hello.into_stream(config.clone())).await?;
    let judge = |asking| Box::new(Identity::judge(asking, tls.get_ref().1.peer_certificates(), UnixTime::now()));
    let identity = asking.as_deref().map(judge);
    let facts = Facts::new(arrival, Some(Session { name, identity }));
    Ok(Prepared::Requests(Client::Tls(Box::new(tls)), facts))
}

/// The route of a server name that is passed through, with what serves.
fn passes(worker: &Worker, name: &str) -> Option<(Rc<Serving>, RouteId)> {
    let serving = worker.serving();
    let route = serving.snapshot.passthrough.find(name)?;
    Some((serving, route))
}

/// Gives what was taken off the connection to who would have read it there.
fn feed(acceptor: &mut Acceptor, mut taken: &[u8]) -> io::Result<()> {
    while !taken.is_empty() {
        acceptor.read_tls(&mut taken)?;
    }
    Ok(())
}

async fn in_time<T>(deadline: &Deadline, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    deadline.bound(work).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}
