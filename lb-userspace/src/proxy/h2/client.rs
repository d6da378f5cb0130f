//! Connections to endpoints that speak HTTP/2: each is shared by many exchanges of its worker.
//!
//! Goes in: a connection that stands, requests. Comes out: a [`ClientStream`] for each. Does not connect and does not
//! choose endpoints. A connection lives as long as it is kept here or has streams.

use super::client_builder;
use super::stream::Body;
use crate::proxy::clock::Clock;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::response::Parts;
use http::{Request, Response};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

/// Streams on one connection to an endpoint, whatever more it allows: beyond them another connection spreads the work over
/// the endpoint's threads.
const STREAMS_MAX: usize = 100;

/// A stream that we opened at an endpoint.
#[derive(Debug)]
pub struct ClientStream {
    response: ResponseFuture,
    /// Content.
    pub body: Body,
    _slot: Rc<()>,
}

/// A connection that takes another stream.
#[derive(Debug, Clone)]
pub struct Slot {
    send: SendRequest<Bytes>,
    /// Held by every stream: how many there are.
    streams: Rc<()>,
}

/// Connections of one worker, by what tells them apart.
#[derive(Debug)]
pub struct Shared<K> {
    clock: Rc<Clock>,
    by_key: RefCell<HashMap<K, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    connections: Vec<Slot>,
    used_ms: u64,
    /// Held by who connects, so that the others wait for that connection rather than make one each.
    connecting: Rc<Mutex<()>>,
}

impl<K: Hash + Eq + Clone> Shared<K> {
    /// No connection yet.
    pub fn new(clock: Rc<Clock>) -> Self {
        Self { clock, by_key: RefCell::default() }
    }

    /// A connection with room for another stream.
    pub fn take(&self, key: &K) -> Option<Slot> {
        let mut by_key = self.by_key.borrow_mut();
        let entry = by_key.get_mut(key)?;
        entry.used_ms = self.clock.now_ms();
        entry.connections.retain_mut(|connection| !connection.is_over());
        entry.connections.iter().find(|connection| connection.has_room()).cloned()
    }

    /// What whoever connects to it holds meanwhile.
    pub fn connecting(&self, key: &K) -> Rc<Mutex<()>> {
        self.by_key.borrow_mut().entry(key.clone()).or_default().connecting.clone()
    }

    /// Begins HTTP/2 on a connection, and keeps it.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn start<T>(&self, key: &K, io: T) -> Result<Slot, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let slot = self.alone(io).await?;
        let mut by_key = self.by_key.borrow_mut();
        let entry = by_key.entry(key.clone()).or_default();
        entry.used_ms = self.clock.now_ms();
        entry.connections.push(slot.clone());
        Ok(slot)
    }

    /// Begins HTTP/2 on a connection that nobody else may use.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn alone<T>(&self, io: T) -> Result<Slot, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (send, connection) = client_builder().handshake(io).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ends");
            }
        });
        Ok(Slot { send, streams: Rc::default() })
    }

    /// Lets go of connections that are over, were not used for `idle_ms_max`, or are not wanted any more. Streams on them
    /// end by themselves.
    pub fn sweep(&self, idle_ms_max: u64, wanted: impl Fn(&K) -> bool) {
        let oldest_ms = self.clock.now_ms().saturating_sub(idle_ms_max);
        self.by_key.borrow_mut().retain(|key, entry| {
            entry.connections.retain_mut(|connection| !connection.is_over());
            let busy = Rc::strong_count(&entry.connecting) > 1 || entry.connections.iter().any(|c| c.streams() > 0);
            wanted(key) && (busy || (entry.used_ms >= oldest_ms && !entry.connections.is_empty()))
        });
    }
}

impl Slot {
    /// It has failed, or the endpoint has said goodbye.
    fn is_over(&mut self) -> bool {
        matches!(self.send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    fn streams(&self) -> usize {
        Rc::strong_count(&self.streams) - 1
    }

    fn has_room(&self) -> bool {
        self.streams() < self.send.current_max_send_streams().min(STREAMS_MAX)
    }
}

impl ClientStream {
    /// Sends a head; `ends`: no content follows.
    ///
    /// # Errors
    /// What the connection says; nothing was sent then.
    pub fn open(mut slot: Slot, head: Request<()>, ends: bool) -> Result<Self, h2::Error> {
        let (response, send) = slot.send.send_request(head, ends)?;
        Ok(Self { response, body: Body::new(None, (!ends).then_some(send)), _slot: slot.streams })
    }

    /// The next head: an interim one, or the final one; with whether content follows.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Parts, bool), h2::Error>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let (head, ()) = interim?.into_parts();
            return Poll::Ready(Ok((head, false)));
        }
        let response: Response<RecvStream> = ready!(Pin::new(&mut self.response).poll(cx))?;
        let (head, receive) = response.into_parts();
        let follows = !receive.is_end_stream();
        self.body.receive_from(follows.then_some(receive));
        Poll::Ready(Ok((head, follows)))
    }
}

/// Whether the endpoint says that it did not look at the request, so that it can be sent again whatever its method
/// (RFC 9113 section 8.7).
pub fn is_untouched(error: &h2::Error) -> bool {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => true,
        Some(Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    }
}
