//! A link to an endpoint for one request: an idle connection, a new one, or a stream of a shared one.
//!
//! Goes in: an endpoint, and how it is spoken to. Comes out: a [`Link`], or why there is none. Does not choose endpoints.

use super::body::Length;
use super::clock::Deadline;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::exchange::Forward;
use super::h2::client::{ClientStream, Slot};
use super::upstream::{self, Unreachable};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

/// A connection to an endpoint, or a share in one.
pub struct Link {
    /// Its address.
    pub endpoint: SocketAddr,
    /// The connection.
    pub stream: Endpoint,
    /// It was there before; a new one otherwise.
    pub reused: bool,
}

/// Opens a link. `fresh`: an idle connection was dead, so a new one is made.
///
/// # Errors
/// [`Unreachable`], when there is none within the limit for connecting.
pub async fn open(
    conn: &Connection,
    forward: &Forward,
    endpoint: SocketAddr,
    fresh: bool,
) -> Result<Link, Unreachable> {
    if let Some(head) = &forward.h2_head {
        let (slot, reused) = slot(conn, forward, endpoint).await?;
        let ends = forward.length == Length::None;
        let stream = ClientStream::open(slot, head.clone(), ends).map_err(failed)?;
        return Ok(Link { endpoint, stream: Endpoint::Stream(Box::new(stream)), reused });
    }
    if !fresh && let Some(stream) = conn.worker.pool.take(endpoint) {
        return Ok(Link { endpoint, stream: Endpoint::Tcp(stream), reused: true });
    }
    let (ms_max, counters) = (forward.policy.connect_ms_max.into(), &conn.worker.counters);
    let stream = upstream::connect(endpoint, ms_max, &conn.deadline, counters).await?;
    Ok(Link { endpoint, stream: Endpoint::Tcp(stream), reused: false })
}

/// Room for a stream on a shared connection, and whether the connection was there before.
async fn slot(conn: &Connection, forward: &Forward, endpoint: SocketAddr) -> Result<(Slot, bool), Unreachable> {
    let (shared, counters) = (&conn.worker.shared, &conn.worker.counters);
    let ms_max = forward.policy.connect_ms_max.into();
    let taken = || shared.take(&endpoint).inspect(|_| counters.upstream_reuses.add(1));
    if let Some(slot) = taken() {
        return Ok((slot, true));
    }
    let connecting = shared.connecting(&endpoint);
    conn.deadline.set(ms_max);
    let _held = within(&conn.deadline, connecting.lock()).await?;
    if let Some(slot) = taken() {
        return Ok((slot, true));
    }
    let stream = upstream::connect(endpoint, ms_max, &conn.deadline, counters).await?;
    let slot = within(&conn.deadline, shared.start(&endpoint, stream)).await?.map_err(failed)?;
    Ok((slot, false))
}

async fn within<T>(deadline: &Deadline, work: impl Future<Output = T>) -> Result<T, Unreachable> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending if deadline.poll(cx) => Poll::Ready(Err(Unreachable::Slow)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

fn failed(error: h2::Error) -> Unreachable {
    Unreachable::Failed(io::Error::other(error))
}
