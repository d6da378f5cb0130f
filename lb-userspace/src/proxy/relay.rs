//! Both directions of one exchange at once, in one task: the request goes up while the response may already come down.
//!
//! Goes in: the two connections and their buffers. Comes out: a response head, then the end, or a [`Failure`].
//! Watches the client meanwhile: when it leaves, the work for it stops. A client that closes its sending side is taken
//! as gone, as nginx does.

use super::body::BadBody;
use super::buffer::{Input, Store};
use super::client::Client;
use super::clock::Deadline;
use super::endpoint::Endpoint;
use super::flow::{Scratch, Stop, Waiting};
use super::h2::client::is_untouched;
use super::head::{Bad, lexical};
use http::response::Parts;
use std::task::{Context, Poll};

/// Why an exchange ended before its time.
#[derive(Debug)]
pub enum Failure {
    /// The client is gone.
    ClientGone,
    /// The client did not send its body in time.
    ClientSlow,
    /// The client did not read the response in time.
    ClientStalled,
    /// The request body is malformed.
    RequestBody(BadBody),
    /// The endpoint closed the connection before the response was whole.
    UpstreamClosed,
    /// The endpoint says that it did not look at the request (HTTP/2): it can be sent again.
    UpstreamUntouched,
    /// Request and response together took longer than the route allows, or the call's own deadline.
    Late,
    /// The endpoint did not answer, or not take the request, in time.
    UpstreamSlow,
    /// The response head is malformed or too large.
    UpstreamHead(Bad),
    /// The response body is malformed.
    UpstreamBody(BadBody),
}

impl Failure {
    /// One word for the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClientGone => "client-gone",
            Self::ClientSlow => "client-timeout",
            Self::ClientStalled => "client-stalled",
            Self::RequestBody(BadBody::TooLarge) => "body-too-large",
            Self::RequestBody(_) => "malformed",
            Self::UpstreamClosed | Self::UpstreamUntouched => "upstream-closed",
            Self::Late => "request-timeout",
            Self::UpstreamSlow => "upstream-timeout",
            Self::UpstreamHead(_) | Self::UpstreamBody(_) => "upstream-malformed",
        }
    }
}

/// A response head that has arrived.
#[derive(Debug)]
pub enum Head {
    /// So many bytes of `reply`.
    Bytes(usize),
    /// HTTP/2; and whether content follows.
    Parts(Box<Parts>, bool),
}

/// Time limits of an exchange, milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between two reads of the request body.
    pub body_idle_ms_max: u64,
    /// Between two writes to the endpoint.
    pub send_idle_ms_max: u64,
    /// Between two reads from the endpoint.
    pub read_idle_ms_max: u64,
    /// Between two writes to the client.
    pub write_idle_ms_max: u64,
    /// When all must be over, of the worker's clock.
    pub until_ms: u64,
}

/// What the exchange waits for; each has its limit and its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    RequestBody,
    UpstreamRoom,
    Response,
    ClientRoom,
}

/// How far the request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Up {
    Going,
    Done,
    /// The endpoint takes no more of it; it may still have answered.
    Broken,
}

/// An exchange at work.
#[derive(Debug)]
pub struct Relay<'a> {
    /// The client's connection.
    pub client: &'a mut Client,
    /// What the client sent.
    pub input: &'a mut Input,
    /// The connection to the endpoint.
    pub upstream: &'a mut Endpoint,
    /// The deadline of the client's task.
    pub deadline: &'a Deadline,
    /// The two directions.
    pub scratch: &'a mut Scratch,
    times: Times,
    reply_bytes_max: usize,
    up: Up,
    scanned: usize,
    awaited: Option<Awaited>,
    /// Reads of a response head.
    reads: u64,
    /// All moves when the deadline was set last.
    moves: u64,
}

impl<'a> Relay<'a> {
    /// An exchange whose request waits in `scratch.up`.
    pub fn new(
        client: &'a mut Client,
        input: &'a mut Input,
        upstream: &'a mut Endpoint,
        deadline: &'a Deadline,
        scratch: &'a mut Scratch,
        times: Times,
        reply_bytes_max: usize,
    ) -> Self {
        let (up, awaited) = (Up::Going, None);
        let (scanned, reads, moves) = (0, 0, 0);
        Self { client, input, upstream, deadline, scratch, times, reply_bytes_max, up, scanned, awaited, reads, moves }
    }

    /// The request was sent to its end.
    pub fn is_request_done(&self) -> bool {
        self.up == Up::Done
    }

    /// Forgets a head of `reply` that was used; the next one is looked for from its start.
    pub fn consume_head(&mut self, count: usize) {
        self.scratch.reply.consume(count);
        self.scanned = 0;
    }

    /// Sends the request and waits for a response head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.poll_request(cx)?;
        if let Poll::Ready(Err(_)) = self.scratch.down.poll_send(cx, self.client) {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if let Poll::Ready(head) = self.poll_reply(cx) {
            return Poll::Ready(head);
        }
        self.watch_client(cx)?;
        let awaited = match (self.up, self.scratch.up.waiting()) {
            (Up::Going, Waiting::Read) => Awaited::RequestBody,
            (Up::Going, Waiting::Write) => Awaited::UpstreamRoom,
            _ => Awaited::Response,
        };
        self.poll_deadline(cx, awaited)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if let Some(stream) = self.upstream.stream() {
            return stream.poll_head(cx).map(|head| match head {
                Ok((parts, follows)) => Ok(Head::Parts(Box::new(parts), follows)),
                Err(error) if is_untouched(&error) => Err(Failure::UpstreamUntouched),
                Err(_) => Err(Failure::UpstreamClosed),
            });
        }
        loop {
            let found = lexical::head_end(self.scratch.reply.filled(), &mut self.scanned);
            match found.map_err(|_| Failure::UpstreamHead(Bad::BareLf))? {
                Some(end) if end <= self.reply_bytes_max => return Poll::Ready(Ok(Head::Bytes(end))),
                None if self.scanned < self.reply_bytes_max => {}
                _ => return Poll::Ready(Err(Failure::UpstreamHead(Bad::Large))),
            }
            if !self.scratch.reply.has_room() {
                self.scratch.reply.grow(self.reply_bytes_max);
            }
            match self.scratch.reply.poll_fill(cx, self.upstream) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::UpstreamClosed)),
                Poll::Ready(Ok(_)) => self.reads += 1,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads what more of a long body is here already, so that it leaves in one write with the head.
    pub fn read_on(&mut self, cx: &mut Context<'_>, store: &Store) {
        let full = self.scratch.reply.is_filled_up();
        store.enlarge(&mut self.scratch.reply, self.scratch.down.left());
        // The end and errors show again when the body is relayed.
        if full && !self.scratch.reply.is_filled_up() && self.scratch.reply.poll_fill(cx, self.upstream).is_ready() {
            self.reads += 1;
        }
    }

    /// Sends what is left of the request, when its response has arrived before its end.
    pub fn poll_request_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_request(cx)?;
        if let Poll::Ready(Err(_)) = self.scratch.down.poll_send(cx, self.client) {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        let awaited = match (self.up, self.scratch.up.waiting()) {
            (Up::Done, _) => return Poll::Ready(Ok(())),
            (Up::Broken, _) => return Poll::Ready(Err(Failure::UpstreamClosed)),
            (Up::Going, Waiting::Read) => Awaited::RequestBody,
            (Up::Going, Waiting::Write) => Awaited::UpstreamRoom,
        };
        self.poll_deadline(cx, awaited)
    }

    /// Passes the response body on, and what is left of the request.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_request(cx)?;
        let Scratch { down, reply, .. } = &mut *self.scratch;
        match down.poll_relay(cx, self.upstream, reply, self.client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Stop::Truncated)) => return Poll::Ready(Err(Failure::UpstreamClosed)),
            Poll::Ready(Err(Stop::Malformed(bad))) => return Poll::Ready(Err(Failure::UpstreamBody(bad))),
            Poll::Ready(Err(Stop::Unwritable)) => return Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {}
        }
        self.watch_client(cx)?;
        let awaited = match self.scratch.down.waiting() {
            Waiting::Read => Awaited::Response,
            Waiting::Write => Awaited::ClientRoom,
        };
        self.poll_deadline(cx, awaited)
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.up != Up::Going {
            return Ok(());
        }
        match self.scratch.up.poll_relay(cx, self.client, self.input, self.upstream) {
            Poll::Ready(Ok(())) => self.up = Up::Done,
            Poll::Ready(Err(Stop::Unwritable)) => self.up = Up::Broken,
            Poll::Ready(Err(Stop::Truncated)) => return Err(Failure::ClientGone),
            Poll::Ready(Err(Stop::Malformed(bad))) => return Err(Failure::RequestBody(bad)),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Learns when the client leaves, once its request is done.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let gone = self.up != Up::Going && self.client.poll_gone(cx, self.input).is_ready();
        if gone { Err(Failure::ClientGone) } else { Ok(()) }
    }

    fn poll_deadline<T>(&mut self, cx: &Context<'_>, awaited: Awaited) -> Poll<Result<T, Failure>> {
        let moves = self.reads + self.scratch.up.moves() + self.scratch.down.moves();
        if self.awaited.replace(awaited) != Some(awaited) || self.moves != moves {
            self.moves = moves;
            let idle_ms_max = match awaited {
                Awaited::RequestBody => self.times.body_idle_ms_max,
                Awaited::UpstreamRoom => self.times.send_idle_ms_max,
                Awaited::Response => self.times.read_idle_ms_max,
                Awaited::ClientRoom => self.times.write_idle_ms_max,
            };
            self.deadline.set(idle_ms_max.min(self.left_ms()));
        }
        if !self.deadline.poll(cx) {
            return Poll::Pending;
        }
        if self.left_ms() == 0 {
            return Poll::Ready(Err(Failure::Late));
        }
        Poll::Ready(Err(match awaited {
            Awaited::RequestBody => Failure::ClientSlow,
            Awaited::UpstreamRoom | Awaited::Response => Failure::UpstreamSlow,
            Awaited::ClientRoom => Failure::ClientStalled,
        }))
    }

    /// What is left of the time for all of it.
    fn left_ms(&self) -> u64 {
        self.times.until_ms.saturating_sub(self.deadline.now_ms())
    }
}
