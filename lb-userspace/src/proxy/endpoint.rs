//! The endpoint's side of an exchange: a TCP stream, TLS over one, or one stream of an HTTP/2 connection.
//!
//! Goes in and comes out: plain bytes, and with HTTP/2 the head of the response. Does not connect: that is
//! [`super::upstream`].

use super::flow::{Sink, Source};
use super::h2::client::ClientStream;
use http::HeaderMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to an endpoint, or a share in one.
#[derive(Debug)]
pub enum Endpoint {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// A stream of HTTP/2.
    Stream(Box<ClientStream>),
}

impl Endpoint {
    /// The stream, for HTTP/2.
    pub fn stream(&mut self) -> Option<&mut ClientStream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Tcp(_) | Self::Tls(_) => None,
        }
    }

    /// Drops it with a reset: the endpoint must not take what it has for everything. A stream is reset when it is dropped.
    pub fn reset(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
            Self::Stream(_) => return,
        };
        // An error means that the connection is gone already, which is what is wanted.
        let _ = tcp.set_zero_linger();
    }

    /// Neither closed nor sending: an endpoint that sends without being asked is out of step. Session tickets are read on
    /// the way. A stream never is: its connection is kept elsewhere.
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Tcp(tcp) => {
                matches!(tcp.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(tls) => {
                let mut byte = [0; 1];
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(tls.as_mut()).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
            Self::Stream(_) => false,
        }
    }
}

impl Source for Endpoint {
    fn trailers(&mut self) -> Option<HeaderMap> {
        self.stream().and_then(|stream| stream.body.trailers())
    }
}

impl Sink for Endpoint {
    fn poll_end(&mut self, cx: &mut Context<'_>, trailers: &mut Option<HeaderMap>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Tls(_) => Poll::Ready(Ok(())),
            Self::Stream(stream) => stream.body.poll_end(cx, trailers),
        }
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, room),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, room),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
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
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, pieces),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, pieces),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_write_vectored(cx, pieces),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Self::Stream(stream) => Pin::new(&mut stream.body).poll_shutdown(cx),
        }
    }
}
