//! New connections: TCP, the announcement of the client, TLS. All of it within one limit.

use super::Unreachable;
use super::announce;
use super::tls::{self, Ways};
use crate::proxy::clock::Deadline;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::facts::Facts;
use crate::telemetry::Counters;
use lb_core::model::Upstream;
use lb_core::model::upstream::Protocol;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where to.
    pub endpoint: SocketAddr,
    /// How the endpoint is spoken to.
    pub upstream: &'a Upstream,
    /// Host of the request, in normal form.
    pub host: &'a str,
    /// The client's connection.
    pub facts: &'a Facts,
}

/// Opens a connection.
///
/// # Errors
/// [`Unreachable`], when it does not stand within `connect_ms_max`.
pub async fn connect(
    wanted: Wanted<'_>,
    ways: &Ways,
    connect_ms_max: u64,
    deadline: &Deadline,
    counters: &Counters,
) -> Result<Endpoint, Unreachable> {
    in_time(establish(wanted, ways), connect_ms_max, deadline, counters).await
}

/// Opens a connection over which nothing has passed, by a socket that is not connected yet or by a new one.
///
/// # Errors
/// As [`connect`].
pub async fn dial(
    endpoint: SocketAddr,
    socket: Option<std::net::TcpStream>,
    connect_ms_max: u64,
    deadline: &Deadline,
    counters: &Counters,
) -> Result<TcpStream, Unreachable> {
    let dialled = async move {
        let tcp = match socket {
            Some(socket) => TcpSocket::from_std_stream(socket).connect(endpoint).await,
            None => TcpStream::connect(endpoint).await,
        };
        let tcp = tcp.map_err(Unreachable::Failed)?;
        tcp.set_nodelay(true).map_err(Unreachable::Failed)?;
        Ok(tcp)
    };
    in_time(dialled, connect_ms_max, deadline, counters).await
}

async fn in_time<T>(
    work: impl Future<Output = Result<T, Unreachable>>,
    connect_ms_max: u64,
    deadline: &Deadline,
    counters: &Counters,
) -> Result<T, Unreachable> {
    counters.upstream_connects.add(1);
    deadline.set(connect_ms_max);
    let done = deadline.bound(work).await.unwrap_or(Err(Unreachable::Slow));
    if done.is_err() {
        counters.upstream_connects_failed.add(1);
    }
    done
}

async fn establish(wanted: Wanted<'_>, ways: &Ways) -> Result<Endpoint, Unreachable> {
    let Wanted { endpoint, upstream, host, facts } = wanted;
    let mut tcp = TcpStream::connect(endpoint).await.map_err(Unreachable::Failed)?;
    tcp.set_nodelay(true).map_err(Unreachable::Failed)?;
    if let Some(version) = upstream.proxy_protocol {
        let header = announce::header(version, facts.peer, facts.local);
        tcp.write_all(&header).await.map_err(Unreachable::Failed)?;
    }
    let Some(tls) = &upstream.tls else { return Ok(Endpoint::Tcp(tcp)) };
    // In a box, so that a plain connection is not made in a task that is large enough for a handshake.
    Box::pin(async move {
        let http2 = upstream.protocol == Protocol::Http2;
        let name = tls::server_name(tls, host, endpoint.ip()).map_err(Unreachable::Disagreed)?;
        let config = ways.get(tls).map_err(Unreachable::Disagreed)?.config(http2);
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(Unreachable::Disagreed)?;
        if http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Unreachable::Disagreed(io::Error::other("the endpoint does not offer HTTP/2 by ALPN")));
        }
        Ok(Endpoint::Tls(Box::new(stream)))
    })
    .await
}
