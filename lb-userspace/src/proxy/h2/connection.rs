//! A client's connection that speaks HTTP/2: every stream is an exchange of its own task.
//!
//! Goes in: a connection at its preface. Comes out: nothing. Decides when the connection as a whole ends: idle, drained, or
//! abused. What streams do is [`super::super::exchange`]'s work.

use super::meter::{Count, Metered};
use super::server_builder;
use super::stream::ServerStream;
use crate::proxy::client::Client;
use crate::proxy::clock::Deadline;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::{self, After};
use crate::proxy::facts::Facts;
use crate::proxy::head::request::Follows;
use crate::proxy::head::upgrade;
use crate::proxy::worker::Worker;
use crate::telemetry::connections::{Unfit, Why};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, header};
use lb_core::class;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How long a connection that is told to end may take to do so when no stream is open, milliseconds.
const GOODBYE_MS: u64 = 2_000;

type Wire = h2::server::Connection<Metered<Client>, Bytes>;

/// A connection at work.
struct Session {
    worker: Rc<Worker>,
    wire: Wire,
    deadline: Deadline,
    facts: Rc<Facts>,
    count: Rc<Count>,
    /// When the count of frames began, milliseconds of the worker's clock.
    counted_since_ms: u64,
    open: Rc<Cell<usize>>,
    requests: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Streams are open.
    Busy,
    /// None is, and a deadline is set.
    Idle,
    /// No stream may be opened any more.
    Ending,
    /// As before, no stream is open, and a deadline is set.
    Leaving,
}

/// Serves a connection to its end.
pub async fn serve(connection: Connection) {
    let Connection { worker, client, deadline, mut input, facts, .. } = connection;
    let tls = facts.tls.is_some();
    let why = if tls { Why::Class(class::Reason::TlsTerminatedHere) } else { Why::Unfit(Unfit::Version) };
    worker.counters.connections.count(why);
    let ahead = input.filled().to_vec();
    worker.buffers.take_back(&mut input);
    let (metered, count) = Metered::new(client, ahead);
    deadline.set(worker.limits.head_ms_max);
    let builder = server_builder(worker.limits.streams_max, worker.limits.head_bytes_max);
    let Some(Ok(wire)) = deadline.bound(builder.handshake(metered)).await else { return };
    let (counted_since_ms, open) = (worker.clock.now_ms(), Rc::default());
    let state = State::Busy;
    let mut session = Session { worker, wire, deadline, facts, count, counted_since_ms, open, requests: 0, state };
    while let Some((request, respond)) = poll_fn(|cx| session.poll_next(cx)).await {
        session.open_stream(request, respond);
    }
}

impl Session {
    /// The next stream; `None` when the connection is over.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        loop {
            let accepted = self.wire.poll_accept(cx);
            if self.is_broken() {
                continue;
            }
            match accepted {
                Poll::Ready(Some(Ok(stream))) => return Poll::Ready(Some(stream)),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %self.facts.peer, %error, "an HTTP/2 connection ends");
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            self.watch();
            if !self.deadline.poll(cx) {
                return Poll::Pending;
            }
            if self.is_ending() {
                return Poll::Ready(None);
            }
            self.end();
        }
    }

    /// Ends the connection when its client floods it, or did not begin it as it must; says so once.
    fn is_broken(&mut self) -> bool {
        let now_ms = self.worker.clock.now_ms();
        if now_ms.saturating_sub(self.counted_since_ms) >= 1_000 {
            self.count.take();
            self.counted_since_ms = now_ms;
        }
        if self.is_ending() {
            return false;
        }
        let reason = if self.count.get() > self.worker.limits.h2_control_frames_per_s_max {
            tracing::debug!(peer = %self.facts.peer, "an HTTP/2 connection is flooded with frames without content");
            self.worker.counters.h2_floods.add(1);
            Reason::ENHANCE_YOUR_CALM
        } else if self.count.is_misbegun() {
            Reason::PROTOCOL_ERROR
        } else {
            return false;
        };
        self.wire.abrupt_shutdown(reason);
        self.leave();
        true
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending | State::Leaving)
    }

    /// Sets the deadline for what the connection is doing.
    fn watch(&mut self) {
        let idle = self.open.get() == 0;
        let full = self.requests >= self.worker.limits.requests_per_connection_max;
        match self.state {
            State::Leaving => {}
            State::Ending if idle => self.leave(),
            State::Ending => {}
            _ if self.worker.draining.get() || full => self.end(),
            State::Busy if idle => {
                self.state = State::Idle;
                self.deadline.set(self.worker.limits.idle_ms_max);
            }
            State::Idle if !idle => self.busy(),
            State::Busy => self.busy(),
            State::Idle => {}
        }
    }

    /// While streams are open their own deadlines bound them; this one only has to be there, to be woken when draining.
    fn busy(&mut self) {
        self.state = State::Busy;
        self.deadline.set(u64::MAX);
    }

    /// Says goodbye: open streams end by themselves, new ones are refused.
    fn end(&mut self) {
        self.wire.graceful_shutdown();
        self.state = State::Ending;
        self.deadline.set(u64::MAX);
        if self.open.get() == 0 {
            self.leave();
        }
    }

    /// What has not left by then never will.
    fn leave(&mut self) {
        self.state = State::Leaving;
        self.deadline.set(GOODBYE_MS);
    }

    fn open_stream(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.requests += 1;
        let (mut head, receive) = request.into_parts();
        join_cookies(&mut head.headers);
        let follows = match receive.is_end_stream() {
            _ if upgrade::translate(&mut head, self.worker.random_bytes()) => Follows::WebSocket,
            true => Follows::Nothing,
            false => Follows::Content,
        };
        let stream = ServerStream::new(respond, (follows != Follows::Nothing).then_some(receive));
        let client = Client::Stream(Box::new(stream));
        let (worker, facts, open) = (self.worker.clone(), self.facts.clone(), Open::new(&self.open));
        tokio::task::spawn_local(async move {
            let deadline = Deadline::new(&worker.clock);
            let mut connection = Connection::new(worker, client, deadline, facts);
            let after = exchange::run_stream(&mut connection, head, follows, Instant::now()).await;
            if matches!(after, After::Reset) {
                connection.client.reset();
            }
            connection.worker.buffers.take_back(&mut connection.input);
            drop(open);
        });
    }
}

/// Counts a stream as long as it lives.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// One `Cookie` field of several (RFC 9113 section 8.2.3): HTTP/1.1 has only one.
fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(header::COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Made of values, it is one.
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(b"; ".as_slice())) {
        fields.insert(header::COOKIE, joined);
    }
}
