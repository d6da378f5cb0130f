//! One direction of an exchange: a head that waits to be sent, then a body that is read, checked, framed and sent on.
//!
//! Goes in: a connection to read from and one to write to. Comes out: the end, or [`Stop`]. Holds at most one input
//! buffer and what of it was re-framed; it reads again only when all of that was sent: that is the back-pressure.

use super::body::{BadBody, Decoder, Length, Next, write_chunk, write_last_chunk};
use super::buffer::{INPUT_BYTES, Input, Output};
use super::trailers;
use http::HeaderMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A body piece up to this size, bytes, is copied behind the head so that both leave in one write. Copying 16 KB
/// takes about a microsecond, less than the system call it saves.
pub const JOINED_BYTES_MAX: usize = 16 * 1024;

/// Where a body comes from.
pub trait Source: AsyncRead + Unpin {
    /// Trailer fields that came beside the bytes (HTTP/2), once the end was read.
    fn trailers(&mut self) -> Option<HeaderMap> {
        None
    }
}

/// Where a body goes.
pub trait Sink: AsyncWrite + Unpin {
    /// Writes the last bytes before the connection is closed: they may wait for the close, to leave in one packet with it.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Ends the message, where that is not said in the bytes (HTTP/2).
    fn poll_end(&mut self, _cx: &mut Context<'_>, _trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What one request in work needs besides the client's input.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Client to endpoint.
    pub up: Flow,
    /// Endpoint to client.
    pub down: Flow,
    /// What arrived from the endpoint.
    pub reply: Input,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As it is: a length was stated, or the connection ends it.
    Raw,
    /// In chunks.
    Chunked,
}

/// What a flow waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Bytes to read.
    Read,
    /// Room to write.
    Write,
}

/// Why a flow cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// The side it reads from is gone before the end of the body.
    Truncated,
    /// The side it reads from sent no well-formed body.
    Malformed(BadBody),
    /// The side it writes to is gone.
    Unwritable,
}

/// One direction.
#[derive(Debug)]
pub struct Flow {
    /// The head, then pieces of the body.
    pub out: Output,
    decoder: Decoder,
    framing: Framing,
    ended: bool,
    trailers: Option<HeaderMap>,
    unflushed: bool,
    streamed: bool,
    /// The connection is closed behind it.
    last: bool,
    waiting: Waiting,
    moves: u64,
    taken: u64,
    sent: u64,
    /// Content that may still come.
    allowance: u64,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            out: Output::default(),
            decoder: Decoder::new(Length::None),
            framing: Framing::Raw,
            ended: false,
            trailers: None,
            unflushed: false,
            streamed: false,
            last: false,
            waiting: Waiting::Write,
            moves: 0,
            taken: 0,
            sent: 0,
            allowance: u64::MAX,
        }
    }
}

impl Flow {
    /// Forgets everything but the memory.
    pub fn reset(&mut self) {
        self.out.clear();
        *self = Self { out: std::mem::take(&mut self.out), ..Self::default() };
    }

    /// States the body that follows what is in `out`.
    pub fn begin(&mut self, length: Length, framing: Framing) {
        (self.decoder, self.framing, self.ended) = (Decoder::new(length), framing, false);
    }

    /// The connection that it is written to is closed behind it.
    pub fn close_behind(&mut self) {
        self.last = true;
    }

    /// Bounds the content, bytes.
    pub fn limit(&mut self, bytes_max: Option<u64>) {
        self.allowance = bytes_max.unwrap_or(u64::MAX);
    }

    /// How the body is written.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Everything from the first byte on can be sent once more, because all of it is still held.
    pub fn is_replayable(&self) -> bool {
        !self.streamed
    }

    /// Starts over with the first byte.
    pub fn replay(&mut self) {
        self.out.rewind();
        self.unflushed = false;
    }

    /// Whether not one byte was sent.
    pub fn is_untouched(&self) -> bool {
        !self.streamed && self.out.sent() == 0
    }

    /// Content that was stated and is still to come; nothing where no length was stated.
    pub fn left(&self) -> u64 {
        match self.decoder {
            Decoder::Sized(left) => left,
            Decoder::Chunked(_) | Decoder::UntilClose => 0,
        }
    }

    /// The body was read to its end.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What it waited for last.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Grows with each read and write that moved bytes.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Bytes of the body, framing included, that were read and used.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what is in `out`.
    pub fn poll_send<W: Sink>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), Stop>> {
        ready!(self.poll_write(cx, to))?;
        self.poll_flush(cx, to)
    }

    /// Moves as much as it can, until the end of the body was sent.
    pub fn poll_relay<R: Source, W: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        input: &mut Input,
        to: &mut W,
    ) -> Poll<Result<(), Stop>> {
        loop {
            let direct = self.fill(input).map_err(Stop::Malformed)?;
            if direct > 0 {
                ready!(self.poll_direct(cx, input, direct, to))?;
            } else if !self.out.is_sent() {
                ready!(self.poll_write(cx, to))?;
            } else if self.ended {
                self.waiting = Waiting::Write;
                ready!(to.poll_end(cx, &mut self.trailers)).map_err(|_| Stop::Unwritable)?;
                return self.poll_flush(cx, to);
            } else if self.unflushed {
                ready!(self.poll_flush(cx, to))?;
            } else {
                ready!(self.poll_read(cx, from, input))?;
            }
        }
    }

    fn poll_write<W: Sink>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), Stop>> {
        self.waiting = Waiting::Write;
        while !self.out.is_sent() {
            let count = ready!(self.out.poll_send(cx, to, self.last && self.ended)).map_err(|_| Stop::Unwritable)?;
            self.wrote(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W: Sink>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), Stop>> {
        self.waiting = Waiting::Write;
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Stop::Unwritable)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what it can from the input into `out`; answers how much is to be written straight from the input, behind
    /// what waits in `out`.
    fn fill(&mut self, input: &mut Input) -> Result<usize, BadBody> {
        while !self.ended {
            let (skip, next) = self.decoder.step(input.filled())?;
            self.take(input, skip);
            match next {
                Next::More => break,
                Next::End => {
                    let trailers = trailers::read(self.decoder.trailers());
                    self.end(trailers);
                }
                Next::Data(count) if count as u64 > self.allowance => return Err(BadBody::TooLarge),
                Next::Data(count) if self.framing == Framing::Raw => {
                    if self.out.is_sent() || count > JOINED_BYTES_MAX {
                        return Ok(count);
                    }
                    self.copy(input, count, |out, data| out.extend_from_slice(data));
                }
                Next::Data(count) => {
                    if self.out.bytes().len() > INPUT_BYTES && !self.out.is_sent() {
                        break;
                    }
                    self.copy(input, count, write_chunk);
                }
            }
        }
        Ok(0)
    }

    fn copy(&mut self, input: &mut Input, count: usize, write: impl FnOnce(&mut Vec<u8>, &[u8])) {
        write(self.room(), input.filled().get(..count).unwrap_or_default());
        self.took(input, count);
    }

    /// Where more output goes: behind what waits, or in place of what was sent. What no byte was sent of, can be
    /// sent again as a whole later.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.out.is_sent() && self.out.sent() > 0 {
            self.out.clear();
            self.streamed = true;
        }
        self.out.bytes()
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.ended = true;
        if self.framing == Framing::Chunked {
            write_last_chunk(self.room(), trailers.as_ref());
        }
        self.trailers = trailers;
    }

    fn poll_direct<W: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        count: usize,
        to: &mut W,
    ) -> Poll<Result<(), Stop>> {
        self.waiting = Waiting::Write;
        let (ahead, data) = (self.out.rest(), input.filled().get(..count).unwrap_or_default());
        let written = if ahead.is_empty() {
            Pin::new(to).poll_write(cx, data)
        } else {
            Pin::new(to).poll_write_vectored(cx, &[IoSlice::new(ahead), IoSlice::new(data)])
        };
        let count = ready!(written).map_err(|_| Stop::Unwritable)?;
        if count == 0 {
            return Poll::Ready(Err(Stop::Unwritable));
        }
        let of_data = count.saturating_sub(ahead.len());
        self.out.advance(count - of_data);
        self.streamed |= of_data > 0;
        self.took(input, of_data);
        self.wrote(count);
        Poll::Ready(Ok(()))
    }

    fn poll_read<R: Source>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        input: &mut Input,
    ) -> Poll<Result<(), Stop>> {
        self.waiting = Waiting::Read;
        match ready!(input.poll_fill(cx, from)) {
            Ok(0) if self.decoder.ends_with_stream() => {
                let trailers = from.trailers().and_then(trailers::filter);
                self.end(trailers);
            }
            Ok(0) | Err(_) => return Poll::Ready(Err(Stop::Truncated)),
            Ok(_) => self.moves += 1,
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, input: &mut Input, count: usize) {
        self.decoder.took(count);
        self.allowance = self.allowance.saturating_sub(count as u64);
        self.take(input, count);
    }

    fn take(&mut self, input: &mut Input, count: usize) {
        input.consume(count);
        self.taken += count as u64;
    }

    fn wrote(&mut self, count: usize) {
        self.unflushed = true;
        self.moves += 1;
        self.sent += count as u64;
    }
}

/// Sends what is in an output; for callers that have nothing else to do meanwhile.
///
/// # Errors
/// What the connection says.
pub fn poll_send_all<W: Sink>(cx: &mut Context<'_>, out: &mut Output, to: &mut W) -> Poll<io::Result<()>> {
    while !out.is_sent() {
        ready!(out.poll_send(cx, to, false))?;
    }
    ready!(to.poll_end(cx, &mut None))?;
    Pin::new(to).poll_flush(cx)
}
