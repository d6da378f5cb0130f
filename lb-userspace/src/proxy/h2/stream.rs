//! The two directions of one HTTP/2 stream as bytes: DATA frames are read and written like a socket, and the end of the
//! stream, with trailers or without, is an event of its own.
//!
//! Goes in: the handles that `h2` gives. Comes out: [`AsyncRead`], [`AsyncWrite`], [`Source`] and [`Sink`]. What was read is
//! given back to the sender's window at once: how much may wait is bounded by who calls.

use crate::proxy::flow::{Sink, Source};
use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that is copied into one piece to be sent, bytes: the default largest frame (RFC 9113 section 4.2).
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Content in both directions.
#[derive(Debug, Default)]
pub struct Body {
    receive: Option<RecvStream>,
    arrived: Bytes,
    trailers: Option<HeaderMap>,
    send: Option<SendStream<Bytes>>,
    /// The last piece waits, so that it can carry the end of the stream.
    held: Bytes,
}

/// A stream that a client opened.
#[derive(Debug)]
pub struct ServerStream {
    respond: SendResponse<Bytes>,
    /// Content.
    pub body: Body,
}

impl Body {
    /// What arrives; `send` comes with the head.
    pub fn new(receive: Option<RecvStream>, send: Option<SendStream<Bytes>>) -> Self {
        Self { receive, send, ..Self::default() }
    }

    /// Content arrives from here.
    pub fn receive_from(&mut self, receive: Option<RecvStream>) {
        self.receive = receive;
    }

    fn reset(&mut self, reason: Reason) {
        if let Some(send) = &mut self.send {
            send.send_reset(reason);
        }
    }

    /// Sends what is held; the last of it ends the stream when `end`.
    fn poll_push(&mut self, cx: &mut Context<'_>, end: bool) -> Poll<io::Result<()>> {
        let send = self.send.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        while !self.held.is_empty() {
            send.reserve_capacity(self.held.len());
            let mut room = send.capacity();
            while room == 0 {
                room = match ready!(send.poll_capacity(cx)) {
                    Some(room) => room.map_err(io::Error::other)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
            }
            let piece = self.held.split_to(room.min(self.held.len()));
            let last = end && self.held.is_empty();
            send.send_data(piece, last).map_err(io::Error::other)?;
            if last {
                self.send = None;
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Body {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let body = self.get_mut();
        while body.arrived.is_empty() {
            let Some(receive) = &mut body.receive else { return Poll::Ready(Ok(())) };
            match ready!(receive.poll_data(cx)) {
                Some(data) => body.arrived = data.map_err(io::Error::other)?,
                None => {
                    body.trailers = ready!(receive.poll_trailers(cx)).map_err(io::Error::other)?;
                    body.receive = None;
                }
            }
        }
        let count = room.remaining().min(body.arrived.len());
        room.put_slice(body.arrived.get(..count).unwrap_or_default());
        body.arrived.advance(count);
        if let Some(receive) = &mut body.receive {
            // It fails only for more than arrived.
            let _ = receive.flow_control().release_capacity(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Body {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let body = self.get_mut();
        ready!(body.poll_push(cx, false))?;
        let count = bytes.len().min(PIECE_BYTES_MAX);
        body.held = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let body = self.get_mut();
        if body.held.is_empty() { Poll::Ready(Ok(())) } else { body.poll_push(cx, false) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx, &mut None)
    }
}

impl Source for Body {
    fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}

impl Sink for Body {
    fn poll_end(&mut self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            ready!(self.poll_push(cx, trailers.is_none()))?;
        }
        let Some(mut send) = self.send.take() else { return Poll::Ready(Ok(())) };
        let ended = match trailers.take() {
            Some(trailers) => send.send_trailers(trailers),
            None => send.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.map_err(io::Error::other))
    }
}

impl ServerStream {
    /// A stream whose request head has arrived; `receive` is `None` when there is no body.
    pub fn new(respond: SendResponse<Bytes>, receive: Option<RecvStream>) -> Self {
        Self { respond, body: Body::new(receive, None) }
    }

    /// Sends the final response head; `end`: there is no content.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn respond(&mut self, head: Response<()>, end: bool) -> io::Result<()> {
        let send = self.respond.send_response(head, end).map_err(io::Error::other)?;
        self.body.send = (!end).then_some(send);
        Ok(())
    }

    /// Sends an interim response head (1xx).
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn inform(&mut self, head: Response<()>) -> io::Result<()> {
        self.respond.send_informational(head).map_err(io::Error::other)
    }

    /// Ends it with an error: the client must not take what it has for a whole response.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.body.send {
            Some(_) => self.body.reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Ready when the client has reset the stream, or the connection is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.body.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }
}
