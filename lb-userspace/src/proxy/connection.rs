//! A client's connection: request after request, in order, until one side has had enough.
//!
//! Goes in: an accepted connection. Comes out: nothing; [`exchange`] does the work of each request. While no request is in
//! work the connection holds no buffer, and when it has been idle for a while it is [parked](super::parked).

use super::buffer::Input;
use super::client::Client;
use super::clock::Deadline;
use super::exchange::{self, After};
use super::facts::Facts;
use super::h2::{self, meter::PREFACE};
use super::head::{Bad, lexical};
use super::parked::PARK_AFTER_MS;
use super::worker::Worker;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

/// Empty lines before a request that are skipped, bytes: some old clients send one after a body.
const EMPTY_LINES_BYTES_MAX: usize = 16;

/// How long a connection without any request yet may live once draining began, milliseconds: its request may be
/// under way.
const FRESH_GRACE_MS: u64 = 1_000;

/// After a refusal the rest of what the client sends is read and thrown away for so long, milliseconds, and so far,
/// bytes: closing at once would reset the connection, and the client might never see the answer (RFC 9112 section 9.6).
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Its bytes.
    pub client: Client,
    /// Its one deadline.
    pub deadline: Deadline,
    /// What arrived and is not used yet.
    pub input: Input,
    /// What is known of it.
    pub facts: Rc<Facts>,
    /// Requests so far.
    pub requests: u64,
    graced: bool,
}

/// What comes next on a connection.
enum Next {
    Head {
        bytes: usize,
        started: Instant,
    },
    Refused {
        bad: Bad,
        started: Instant,
    },
    /// It speaks HTTP/2.
    Preface,
    /// Nothing for so long that it is better parked; milliseconds that are left of its idle time.
    Rest(u64),
    Nothing,
}

/// What waiting for bytes of a head comes to.
enum More {
    Bytes,
    Late,
    Gone,
}

impl Connection {
    /// A connection that was accepted, or a stream of one.
    pub fn new(worker: Rc<Worker>, client: Client, deadline: Deadline, facts: Rc<Facts>) -> Self {
        Self { worker, client, deadline, input: Input::default(), facts, requests: 0, graced: false }
    }

    /// Serves it to its end, or until it rests: then it comes back with the milliseconds that are left of its idle time.
    #[allow(clippy::manual_async_fn, reason = "an async fn would hold its argument twice, also while it is idle")]
    pub fn serve(mut self: Box<Self>) -> impl Future<Output = Option<(Box<Self>, u64)>> {
        async move {
            if self.client.speaks_h2() {
                Box::pin(h2::connection::serve(*self)).await;
                return None;
            }
            loop {
                // Boxes, so that a connection without a request is a small task.
                let after = match self.next_head().await {
                    Next::Head { bytes, started } => Box::pin(exchange::run(&mut self, bytes, started)).await,
                    Next::Refused { bad, started } => Box::pin(exchange::refuse(&mut self, bad, started)).await,
                    Next::Preface => {
                        Box::pin(h2::connection::serve(*self)).await;
                        return None;
                    }
                    Next::Rest(left_ms) => return Some((self, left_ms)),
                    Next::Nothing => After::Close,
                };
                match after {
                    After::KeepAlive => continue,
                    After::Close if self.is_quiet() => {}
                    After::Close if self.input.is_empty() => Box::pin(self.close(0)).await,
                    After::Close | After::Linger => Box::pin(self.close(LINGER_BYTES_MAX)).await,
                    After::Reset => self.client.reset(),
                    After::Carried(handover) => {
                        self.worker.buffers.take_back(&mut self.input);
                        handover.complete(self.client);
                        return None;
                    }
                }
                break;
            }
            self.worker.buffers.take_back(&mut self.input);
            None
        }
    }

    /// Whether it may be kept for another request.
    pub fn may_go_on(&self) -> bool {
        !self.worker.draining.get() && self.requests < self.worker.limits.requests_per_connection_max
    }

    /// Whether nothing of the client is left to read, as far as is known: then closing says all that there is to say, and
    /// no reset comes of it.
    fn is_quiet(&self) -> bool {
        let readable = |tcp: &TcpStream| tcp.try_io(Interest::READABLE, || Ok(())).is_ok();
        self.input.is_empty() && matches!(&self.client, Client::Plain(tcp) if !readable(tcp))
    }

    async fn next_head(&mut self) -> Next {
        let head_bytes_max = self.worker.limits.head_bytes_max;
        let (mut scanned, mut skipped, mut begun) = (0, 0, None);
        let left_ms = self.worker.limits.idle_ms_max.saturating_sub(PARK_AFTER_MS);
        let rests = left_ms > 0 && matches!(self.client, Client::Plain(_)) && self.worker.lot.is_there();
        self.deadline.set(if rests { PARK_AFTER_MS } else { self.worker.limits.idle_ms_max });
        loop {
            let empty = if scanned == 0 { lexical::leading_empty_lines(self.input.filled()) } else { 0 };
            self.input.consume(empty);
            skipped += empty;
            if skipped > EMPTY_LINES_BYTES_MAX {
                return Next::Refused { bad: Bad::RequestLine, started: begun.unwrap_or_else(Instant::now) };
            }
            if !self.input.is_empty() {
                let started = *begun.get_or_insert_with(|| {
                    self.deadline.set(self.worker.limits.head_ms_max);
                    Instant::now()
                });
                if self.requests == 0 && scanned < PREFACE.len() {
                    match preface(self.input.filled()) {
                        Some(true) => return Next::Preface,
                        Some(false) => {}
                        None => match poll_fn(|cx| self.poll_more(cx, true)).await {
                            More::Bytes => continue,
                            More::Late => return Next::Refused { bad: Bad::Slow, started },
                            More::Gone => return Next::Nothing,
                        },
                    }
                }
                let head = self.input.filled();
                match lexical::head_end(head, &mut scanned) {
                    Ok(Some(bytes)) if bytes <= head_bytes_max => return Next::Head { bytes, started },
                    Ok(None) if head.len() < head_bytes_max => {}
                    Err(lexical::BareLf) => return Next::Refused { bad: Bad::BareLf, started },
                    _ => return Next::Refused { bad: too_large(head), started },
                }
            }
            // A lone CR may be the first half of an empty line: look at it again when more is there.
            scanned = if self.input.filled() == b"\r" { 0 } else { scanned };
            match (poll_fn(|cx| self.poll_more(cx, begun.is_some())).await, begun) {
                (More::Bytes, _) => {}
                (More::Late, Some(started)) => return Next::Refused { bad: Bad::Slow, started },
                (More::Late, None) if rests && !self.worker.draining.get() => return Next::Rest(left_ms),
                (More::Late, None) | (More::Gone, _) => return Next::Nothing,
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, begun: bool) -> Poll<More> {
        loop {
            self.worker.buffers.lend(&mut self.input);
            if !self.input.has_room() {
                self.input.grow(self.worker.limits.head_bytes_max);
            }
            match self.input.poll_fill(cx, &mut self.client) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(More::Gone),
                Poll::Ready(Ok(_)) => return Poll::Ready(More::Bytes),
                Poll::Pending if !self.input.is_empty() => break,
                Poll::Pending => {}
            }
            self.worker.buffers.take_back(&mut self.input);
            match self.client.tcp().map(|tcp| tcp.poll_read_ready(cx)) {
                Some(Poll::Ready(Ok(()))) => {}
                Some(Poll::Ready(Err(_))) | None => return Poll::Ready(More::Gone),
                Some(Poll::Pending) => break,
            }
        }
        if self.worker.draining.get() && !begun {
            if self.requests > 0 {
                return Poll::Ready(More::Gone);
            }
            if !std::mem::replace(&mut self.graced, true) {
                self.deadline.set(FRESH_GRACE_MS);
            }
        }
        if self.deadline.poll(cx) { Poll::Ready(More::Late) } else { Poll::Pending }
    }

    /// Says that nothing more will be sent, then reads up to `bytes_max` bytes that nobody wants.
    async fn close(&mut self, bytes_max: u64) {
        self.deadline.set(LINGER_MS);
        let mut left = bytes_max;
        let mut said = false;
        poll_fn(|cx| match self.poll_close(cx, &mut said, &mut left) {
            Poll::Pending if !self.deadline.poll(cx) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, said: &mut bool, left: &mut u64) -> Poll<()> {
        if !*said {
            // An error means that the other side has closed already.
            let _ = ready!(Pin::new(&mut self.client).poll_shutdown(cx));
            *said = true;
        }
        while *left > 0 {
            self.worker.buffers.lend(&mut self.input);
            self.input.consume(usize::MAX);
            match ready!(self.input.poll_fill(cx, &mut self.client)) {
                Ok(0) | Err(_) => break,
                Ok(count) => *left = left.saturating_sub(count as u64),
            }
        }
        Poll::Ready(())
    }
}

/// Whether this is how HTTP/2 with prior knowledge begins (RFC 9113 section 3.3); `None` when more bytes decide.
fn preface(bytes: &[u8]) -> Option<bool> {
    let count = bytes.len().min(PREFACE.len());
    let same = bytes.get(..count) == PREFACE.get(..count);
    if same && count < PREFACE.len() { None } else { Some(same) }
}

fn too_large(head: &[u8]) -> Bad {
    if memchr::memchr(b'\n', head).is_some() { Bad::Large } else { Bad::LongTarget }
}
