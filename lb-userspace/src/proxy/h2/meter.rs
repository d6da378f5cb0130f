//! Counts frames that carry no content as they arrive on a connection: floods of them cost us work and the sender nothing
//! (CVE-2019-9512, -9514, -9515, -9518 and their kind).
//!
//! Goes in: bytes that are read. Comes out: the same bytes, how many such frames there were, and whether the first frame was
//! SETTINGS, which `h2` does not look at. Follows
//! frame heads only (RFC 9113 section 4.1); what frames mean is `h2`'s work.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the client's preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame head.
const HEAD_BYTES: usize = 9;

/// Bytes sent that make one WINDOW_UPDATE or PING reasonable: some clients send one of each for every few KB that they
/// read, to open the window and to estimate the bandwidth.
const BYTES_PER_ANSWER: u64 = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// What was counted; shared by the connection and its reader.
#[derive(Debug, Default)]
pub struct Count {
    idle_frames: Cell<u32>,
    begun: Cell<bool>,
    misbegun: Cell<bool>,
}

/// A connection whose frames are counted.
#[derive(Debug)]
pub struct Metered<T> {
    inner: T,
    /// Bytes that were read before it was known that this is HTTP/2.
    ahead: Vec<u8>,
    ahead_used: usize,
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_used: usize,
    /// Bytes sent that no WINDOW_UPDATE or PING has used up.
    credit: u64,
    count: Rc<Count>,
}

impl Count {
    /// Frames without content since the last call.
    pub fn take(&self) -> u32 {
        self.idle_frames.take()
    }

    /// Whether the connection began with something else than SETTINGS, which is an error of the connection (RFC 9113
    /// section 3.4).
    pub fn is_misbegun(&self) -> bool {
        self.misbegun.get()
    }

    /// Frames without content since the last [`Self::take`].
    pub fn get(&self) -> u32 {
        self.idle_frames.get()
    }
}

impl<T> Metered<T> {
    /// A connection at its start; `ahead` was read from it already.
    pub fn new(inner: T, ahead: Vec<u8>) -> (Self, Rc<Count>) {
        let count = Rc::new(Count::default());
        let (head, head_used) = ([0; HEAD_BYTES], 0);
        let (ahead_used, skip, credit) = (0, PREFACE.len(), 0);
        let metered = Self { inner, ahead, ahead_used, skip, head, head_used, credit, count: count.clone() };
        (metered, count)
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (HEAD_BYTES - self.head_used).min(bytes.len());
            if wanted == 0 {
                continue;
            }
            let (now, rest) = bytes.split_at(wanted);
            if let Some(room) = self.head.get_mut(self.head_used..self.head_used + wanted) {
                room.copy_from_slice(now);
            }
            (bytes, self.head_used) = (rest, self.head_used + wanted);
            if self.head_used == HEAD_BYTES {
                self.head_used = 0;
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        let is_ack = flags & 1 != 0;
        if !self.count.begun.replace(true) && (kind != SETTINGS || is_ack) {
            self.count.misbegun.set(true);
        }
        let ends_stream = flags & 1 != 0;
        // A request is a HEADERS frame, and an empty DATA frame may end one.
        let useful = match kind {
            HEADERS => length > 0,
            DATA => length > 0 || ends_stream,
            PING | WINDOW_UPDATE if self.credit >= BYTES_PER_ANSWER => {
                self.credit -= BYTES_PER_ANSWER;
                true
            }
            _ => false,
        };
        if !useful {
            self.count.idle_frames.set(self.count.idle_frames.get().saturating_add(1));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let metered = self.get_mut();
        let before = room.filled().len();
        let ahead = metered.ahead.get(metered.ahead_used..).unwrap_or_default();
        if ahead.is_empty() {
            ready!(Pin::new(&mut metered.inner).poll_read(cx, room))?;
        } else {
            let count = room.remaining().min(ahead.len());
            room.put_slice(ahead.get(..count).unwrap_or_default());
            metered.ahead_used += count;
            if metered.ahead_used == metered.ahead.len() {
                (metered.ahead, metered.ahead_used) = (Vec::new(), 0);
            }
        }
        metered.look(room.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let metered = self.get_mut();
        let written = ready!(Pin::new(&mut metered.inner).poll_write(cx, bytes))?;
        metered.credit += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let metered = self.get_mut();
        let written = ready!(Pin::new(&mut metered.inner).poll_write_vectored(cx, pieces))?;
        metered.credit += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD_BYTES + length, 0xff);
        bytes
    }

    #[test]
    fn frames_are_counted_wherever_reads_are_split() {
        let stream = [
            PREFACE.to_vec(),
            frame(4, 0, 12),
            frame(HEADERS, 4, 30),
            frame(DATA, 0, 0),
            frame(DATA, 1, 0),
            frame(DATA, 0, 300),
            frame(6, 0, 8),
        ]
        .concat();
        for size in 1..stream.len() {
            let (mut metered, count) = Metered::new((), Vec::new());
            stream.chunks(size).for_each(|piece| metered.look(piece));
            // SETTINGS, the empty DATA that ends nothing, PING.
            assert_eq!(count.take(), 3, "reads of {size} bytes");
            assert_eq!(count.take(), 0);
            assert!(!count.is_misbegun());
        }
    }
}
