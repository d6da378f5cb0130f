//! A look at the first bytes of a TLS connection, before anybody has decided to read them.
//!
//! Goes in: a connection, and which names are wanted. Comes out: the ClientHello that asks for one of them, taken off the
//! connection to its last byte; or what TLS that ends here must read first, which is nothing where the message came in one
//! piece. Answers nothing.

use crate::proxy::clock::Deadline;
use crate::proxy::proxy_protocol::take;
use crate::proxy::tls::hello::{self, Parsed};
use lb_core::model::host;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// What is looked at in one step, bytes: more than nearly all messages.
const LOOK_BYTES: usize = 4_096;

/// What a TLS connection begins with.
#[derive(Debug)]
pub enum Seen<T> {
    /// A ClientHello for a name that is wanted: its bytes, its name in normal form, and what the name stands for.
    Wanted(Vec<u8>, String, T),
    /// Another, or none; these bytes of it were taken.
    Other(Vec<u8>),
}

/// Looks for a ClientHello whose name `find` knows.
///
/// # Errors
/// When it does not come in time, or the connection breaks meanwhile.
pub async fn look<T>(tcp: &TcpStream, deadline: &Deadline, find: impl Fn(&str) -> Option<T>) -> io::Result<Seen<T>> {
    let mut held = Vec::new();
    poll_fn(|cx| match poll_look(tcp, &mut held, &find, cx) {
        Poll::Pending if deadline.poll(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        other => other,
    })
    .await
}

fn poll_look<T>(
    tcp: &TcpStream,
    held: &mut Vec<u8>,
    find: impl Fn(&str) -> Option<T>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Seen<T>>> {
    loop {
        let before = held.len();
        let mut room = [0; LOOK_BYTES];
        let mut look = ReadBuf::new(&mut room);
        // Looking leaves the bytes where they are: those behind the message are for whoever reads next.
        if !matches!(ready!(tcp.poll_peek(cx, &mut look)), Ok(1..)) {
            // Whoever reads next learns it too.
            return Poll::Ready(Ok(Seen::Other(std::mem::take(held))));
        }
        held.extend_from_slice(look.filled());
        let parsed = hello::parse(held);
        if parsed == Ok(Parsed::Partial) {
            // More of it would not be told of while this is still there.
            take(tcp, held.len() - before)?;
            continue;
        }
        if let Ok(Parsed::Whole { bytes, name: Some(name) }) = parsed {
            let name = host::normalize(&name).into_owned();
            if let Some(found) = find(&name) {
                take(tcp, bytes.saturating_sub(before))?;
                held.truncate(bytes);
                return Poll::Ready(Ok(Seen::Wanted(std::mem::take(held), name, found)));
            }
        }
        held.truncate(before);
        return Poll::Ready(Ok(Seen::Other(std::mem::take(held))));
    }
}
