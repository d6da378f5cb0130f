//! The PROXY protocol as it comes in, versions 1 and 2 (haproxy.org, "The PROXY protocol", revision 2.2): what a balancer
//! in front says of the connection that it passes on.
//!
//! Goes in: the first bytes of a connection. Comes out: the addresses of the connection in front, and how many bytes
//! the header had. Pure, but for [`read`], which takes exactly the header off a socket. Does not decide who is believed.

mod v1;
mod v2;

use super::clock::Deadline;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// Longest header, bytes. Addresses take 52, and senders add a few hundred of type-length-value fields: names of
/// endpoints in clouds, the names in a client certificate. The protocol would allow 65,551.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// What is looked at in one step, bytes: more than nearly all headers.
const LOOK_BYTES: usize = 512;

/// The connection in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header: all of the bytes belong to it.
    Partial,
    /// A whole header.
    Whole {
        /// Its size, bytes. What follows is the connection's own.
        bytes: usize,
        /// `None`: the sender speaks for itself (a health check), or in a family of addresses without a port.
        addresses: Option<Addresses>,
    },
}

/// What is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither version begins like this.
    #[error("it does not begin like a PROXY protocol header")]
    Beginning,
    /// The line of version 1.
    #[error("the line of version 1 is malformed")]
    Line,
    /// Longer than [`HEADER_BYTES_MAX`], or than 107 bytes in version 1.
    #[error("the header is too long")]
    TooLong,
    /// A version, command, family or transport that version 2 does not know.
    #[error("version 2 does not know this version, command, family or transport")]
    Unknown,
    /// Version 2 with a length that its addresses do not fit in.
    #[error("the addresses of version 2 do not fit in its length")]
    Length,
}

/// Why a connection that must begin with a header is closed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It begins otherwise.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It ended, or broke.
    #[error("the connection ended within the header")]
    Ended,
    /// The header did not come in time.
    #[error("the header did not come in time")]
    Late,
}

/// Reads a header from the first bytes of a connection.
///
/// # Errors
/// [`Malformed`], as soon as no further bytes can make it a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let begins = |with: &[u8]| {
        let count = bytes.len().min(with.len());
        bytes.get(..count) == with.get(..count)
    };
    if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(v1::BEGINNING) {
        v1::parse(bytes)
    } else {
        Err(Malformed::Beginning)
    }
}

/// Takes the header off a connection, and not one byte more.
///
/// # Errors
/// [`Refused`]; the connection is of no use then.
pub async fn read(tcp: &TcpStream, deadline: &Deadline) -> Result<Option<Addresses>, Refused> {
    let mut held = Vec::new();
    poll_fn(|cx| match poll_read(tcp, &mut held, cx) {
        Poll::Pending if deadline.poll(cx) => Poll::Ready(Err(Refused::Late)),
        other => other,
    })
    .await
}

fn poll_read(tcp: &TcpStream, held: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<Option<Addresses>, Refused>> {
    loop {
        let before = held.len();
        let mut room = [0; LOOK_BYTES];
        let mut look = ReadBuf::new(&mut room);
        // Looking leaves the bytes where they are: those behind the header are for whoever reads next.
        if !matches!(ready!(tcp.poll_peek(cx, &mut look)), Ok(1..)) {
            return Poll::Ready(Err(Refused::Ended));
        }
        held.extend_from_slice(look.filled());
        let (count, done) = match parse(held)? {
            Parsed::Partial => (held.len() - before, None),
            Parsed::Whole { bytes, addresses } => (bytes.saturating_sub(before), Some(addresses)),
        };
        if take(tcp, count).is_err() {
            return Poll::Ready(Err(Refused::Ended));
        }
        if let Some(addresses) = done {
            return Poll::Ready(Ok(addresses));
        }
    }
}

/// Takes bytes that were seen.
pub(super) fn take(tcp: &TcpStream, count: usize) -> io::Result<()> {
    let mut room = [0; LOOK_BYTES];
    let mut left = count;
    while left > 0 {
        match tcp.try_read(room.get_mut(..left.min(LOOK_BYTES)).unwrap_or_default())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => left = left.saturating_sub(taken),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
