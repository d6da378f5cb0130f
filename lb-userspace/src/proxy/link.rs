//! A link to an endpoint for one request: an idle connection, a new one, or a stream of a shared one.
//!
//! Goes in: a request's place at an endpoint, and how that is spoken to. Comes out: a [`Link`], or why there is none. Does not choose endpoints.

use super::body::Length;
use super::client::Client;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::h2::client::{ClientStream, Slot};
use super::plan::Forward;
use super::select::Seat;
use super::splice::offer::Offer;
use super::splice::pass::{self, Dial, Dialled, Wait};
use super::upstream::connect::{Wanted, connect};
use super::upstream::{Key, Unreachable, announce, tls};
use std::io;
use std::net::SocketAddr;

/// A connection to an endpoint, or a share in one.
pub struct Link {
    /// What tells it apart; `None`: nobody else may use it.
    pub key: Option<Key>,
    /// The connection.
    pub stream: Endpoint,
    /// It was there before; a new one otherwise.
    pub reused: bool,
    /// Whether the kernel carries it, which is not decided yet.
    pub wait: Option<Wait>,
}

/// Opens a link. `fresh`: an idle connection was dead, so a new one is made.
///
/// # Errors
/// [`Unreachable`], when there is none within the limit for connecting.
pub async fn open(
    conn: &Connection,
    forward: &Forward,
    seat: &Seat,
    fresh: bool,
    offer: &mut Option<Offer>,
) -> Result<Link, Unreachable> {
    let endpoint = seat.endpoint();
    if offer.is_some()
        && let Some(link) = Box::pin(offered(conn, forward, seat, offer)).await?
    {
        return Ok(link);
    }
    let key = key(conn, forward, endpoint)?;
    if let Some(head) = &forward.h2_head {
        let (slot, reused) = Box::pin(slot(conn, forward, seat, key.as_ref())).await?;
        let ends = forward.length == Length::None;
        let stream = ClientStream::open(slot, (**head).clone(), ends).map_err(failed)?;
        return Ok(Link { key: None, stream: Endpoint::Stream(Box::new(stream)), reused, wait: None });
    }
    if let Some(key) = key.as_ref().filter(|_| !fresh)
        && let Some(stream) = conn.worker.pool.take(key)
    {
        return Ok(Link { key: Some(key.clone()), stream, reused: true, wait: None });
    }
    let _waiting = seat.wait().ok_or(Unreachable::Crowded)?;
    // In a box, as below: most requests find a connection, and wait in a smaller task then.
    let stream = Box::pin(stream(conn, forward, endpoint)).await?;
    Ok(Link { key, stream, reused: false, wait: None })
}

/// A link that the kernel may come to carry. Its source port is lent, so it is kept for nobody else, joined or not.
async fn offered(
    conn: &Connection,
    forward: &Forward,
    seat: &Seat,
    offer: &mut Option<Offer>,
) -> Result<Option<Link>, Unreachable> {
    let Client::Plain(client) = &conn.client else { return Ok(None) };
    let facts = &conn.facts;
    let announce = |version| announce::header(version, facts.peer, facts.local);
    let dial = Dial {
        worker: &conn.worker,
        client,
        deadline: &conn.deadline,
        seat,
        connect_ms_max: forward.policy().connect_ms_max.into(),
        ahead: &forward.upstream().proxy_protocol.map(announce).unwrap_or_default(),
    };
    let dialled = pass::dial(dial, offer).await?;
    Ok(dialled.map(|Dialled { tcp, wait }| Link { key: None, stream: Endpoint::Tcp(tcp), reused: false, wait }))
}

/// What tells connections of this route apart; `None` when each client connection needs its own.
fn key(conn: &Connection, forward: &Forward, endpoint: SocketAddr) -> Result<Option<Key>, Unreachable> {
    let upstream = forward.upstream();
    if upstream.proxy_protocol.is_some() {
        return Ok(None);
    }
    let Some(tls) = &upstream.tls else { return Ok(Some(Key { endpoint, way: 0, name: None })) };
    let way = conn.worker.ways.get(tls).map_err(Unreachable::Disagreed)?.id;
    let name = tls::follows_host(tls).then(|| forward.host.as_str().into());
    Ok(Some(Key { endpoint, way, name }))
}

async fn stream(conn: &Connection, forward: &Forward, endpoint: SocketAddr) -> Result<Endpoint, Unreachable> {
    let wanted = Wanted { endpoint, upstream: forward.upstream(), host: &forward.host, facts: &conn.facts };
    let (ms_max, worker) = (forward.policy().connect_ms_max.into(), &conn.worker);
    connect(wanted, &worker.ways, ms_max, &conn.deadline, &worker.counters).await
}

/// Room for a stream on a shared connection, and whether the connection was there before.
async fn slot(
    conn: &Connection,
    forward: &Forward,
    seat: &Seat,
    key: Option<&Key>,
) -> Result<(Slot, bool), Unreachable> {
    let endpoint = seat.endpoint();
    let (shared, counters) = (&conn.worker.shared, &conn.worker.counters);
    let Some(key) = key else {
        let _waiting = seat.wait().ok_or(Unreachable::Crowded)?;
        let stream = stream(conn, forward, endpoint).await?;
        return Ok((conn.deadline.bound(shared.alone(stream)).await.ok_or(Unreachable::Slow)?.map_err(failed)?, false));
    };
    let taken = || shared.take(key).inspect(|_| counters.upstream_reuses.add(1));
    if let Some(slot) = taken() {
        return Ok((slot, true));
    }
    let _waiting = seat.wait().ok_or(Unreachable::Crowded)?;
    let connecting = shared.connecting(key);
    conn.deadline.set(forward.policy().connect_ms_max.into());
    let _held = conn.deadline.bound(connecting.lock()).await.ok_or(Unreachable::Slow)?;
    if let Some(slot) = taken() {
        return Ok((slot, true));
    }
    let stream = stream(conn, forward, endpoint).await?;
    let slot = conn.deadline.bound(shared.start(key, stream)).await.ok_or(Unreachable::Slow)?.map_err(failed)?;
    Ok((slot, false))
}

fn failed(error: h2::Error) -> Unreachable {
    Unreachable::Failed(io::Error::other(error))
}
