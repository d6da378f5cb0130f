//! The client's side of an exchange: a TCP stream, TLS over one, or one stream of an HTTP/2 connection.
//!
//! Goes in and comes out: plain bytes. Does not know heads.

use super::buffer::Input;
use super::flow::{Sink, Source};
use super::h2::stream::ServerStream;
use h2::Reason;
use http::HeaderMap;
use rustix::net::SendFlags;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's connection.
#[derive(Debug)]
pub enum Client {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS that ends here. In a box: it is ten times the size of the other.
    Tls(Box<TlsStream<TcpStream>>),
    /// A stream of HTTP/2.
    Stream(Box<ServerStream>),
}

impl Client {
    /// The TCP connection; streams of HTTP/2 share theirs.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Stream(_) => None,
        }
    }

    /// The stream, for HTTP/2.
    pub fn stream(&mut self) -> Option<&mut ServerStream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// Whether HTTP/2 was agreed on in the handshake (RFC 7301).
    pub fn speaks_h2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Learns whether the client has left while it need not send anything: reads what it sends ahead, until the buffer is
    /// full. A client that closes its sending side is taken as gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, input: &mut Input) -> Poll<()> {
        if let Self::Stream(stream) = self {
            return stream.poll_gone(cx);
        }
        while input.has_room() {
            match input.poll_fill(cx, self) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    /// Drops it with a reset, so that the other side cannot take a truncated message for a whole one.
    pub fn reset(&mut self) {
        if let Self::Stream(stream) = self {
            stream.reset(Reason::INTERNAL_ERROR);
        }
        if let Some(tcp) = self.tcp() {
            // An error means that the connection is gone already, which is what is wanted.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl Source for Client {
    fn trailers(&mut self) -> Option<HeaderMap> {
        self.stream().and_then(|stream| stream.body.trailers())
    }
}

impl Sink for Client {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self::Plain(tcp) = self else { return Pin::new(self).poll_write(cx, bytes) };
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            // `MSG_MORE` (Linux 2.4.4) holds them back until the close, which adds its FIN: one packet less each way.
            let send =
                || rustix::net::send(&*tcp, bytes, SendFlags::MORE | SendFlags::NOSIGNAL).map_err(io::Error::from);
            match tcp.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Tls(_) => Poll::Ready(Ok(())),
            Self::Stream(stream) => stream.body.poll_end(cx, trailers),
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, room),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, room),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, pieces),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, pieces),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_write_vectored(cx, pieces),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_shutdown(cx),
        }
    }
}
