//! Buffers: bytes that arrived and are not used yet, bytes that wait to be sent, and the worker's store of both.
//!
//! Goes in and comes out: bytes. A connection holds buffers only while a request is in work: an idle one gives them
//! back, so 10,000 idle connections cost no buffer. Does not decide how much may be read: callers pass the bound.

use super::flow::{Scratch, Sink};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Size of an input buffer, bytes: the most that is read at once and the most of a body that we hold for one
/// direction. Two TLS records; two buffers make 64 KB for a request in work, 640 MB for 10,000 of them.
pub const INPUT_BYTES: usize = 32 * 1024;

/// Size of an input buffer for a body that is longer than [`INPUT_BYTES`], bytes: a body of 100 KB is then read and written
/// in one call each, where eight took 40 % more processor time (`cargo xtask bench http1-100k`).
pub const LARGE_BYTES: usize = 256 * 1024;

/// Large buffers of a worker at the same time, 8 MB in all. A body that finds none left passes through a small one.
const LARGE_MAX: usize = 32;

/// Long bodies come in company: after one, so many requests begin with a large buffer, so that a whole answer of 100 KB is
/// read at once, head and body, and nothing is copied from a small one.
const LONG_MEMORY: u8 = 16;

/// Largest output buffer that is kept for the next request, bytes: a head and one re-chunked input buffer.
const OUTPUT_KEPT_BYTES_MAX: usize = 2 * INPUT_BYTES;

/// Input buffers that a worker keeps for later, 32 KB each: 32 MB at most.
const KEPT_MAX: usize = 1_024;

/// Bytes that arrived and are not used yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// One of the few that are counted.
    large: bool,
}

impl Input {
    /// The bytes that are there.
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether another read would find room.
    pub fn has_room(&self) -> bool {
        self.end - self.start < self.bytes.len()
    }

    /// Whether the last read left no room behind what it brought: there may be more to read.
    pub fn is_filled_up(&self) -> bool {
        self.end == self.bytes.len()
    }

    /// Whether it holds memory: it was taken from the store and not given back.
    pub fn is_held(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes bytes from the front; more than there are takes all.
    pub fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for `bytes_max` bytes in all: for heads longer than [`INPUT_BYTES`].
    pub fn grow(&mut self, bytes_max: usize) {
        if self.bytes.len() < bytes_max {
            self.bytes.resize(bytes_max, 0);
        }
    }

    /// Reads once. `Ok(0)` is the end of the stream; call it only when [`Self::has_room`].
    pub fn poll_fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        debug_assert!(room.capacity() > 0, "a read without room looks like the end of the stream");
        ready!(Pin::new(from).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

/// Bytes that wait to be sent. What was sent stays until the next [`Self::clear`], so that it can be sent again.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// Whether everything was sent.
    pub fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// How much was sent of what is held.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// How much is still to be sent.
    pub fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// All of it is to be sent again.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Where more is written to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is still to be sent.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes more were sent by who took them from [`Self::rest`].
    pub fn advance(&mut self, count: usize) {
        self.sent = self.bytes.len().min(self.sent + count);
    }

    /// Writes once; answers how much. `last`: the connection is closed behind it.
    pub fn poll_send<W: Sink>(&mut self, cx: &mut Context<'_>, to: &mut W, last: bool) -> Poll<io::Result<usize>> {
        let written =
            if last { to.poll_write_last(cx, self.rest()) } else { Pin::new(&mut *to).poll_write(cx, self.rest()) };
        let count = ready!(written)?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += count;
        Poll::Ready(Ok(count))
    }
}

/// The buffers of one worker that are not in use.
#[derive(Debug, Default)]
pub struct Store {
    inputs: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    /// Large buffers that are lent.
    large_lent: Cell<usize>,
    /// Requests that still begin with a large one.
    long: Cell<u8>,
    scratches: RefCell<Vec<Scratch>>,
}

impl Store {
    /// Gives memory to an input that has none.
    pub fn lend(&self, input: &mut Input) {
        if !input.is_held() {
            let bytes = self.inputs.borrow_mut().pop().unwrap_or_else(|| vec![0; INPUT_BYTES]);
            *input = Input { bytes, ..Input::default() };
        }
    }

    /// Gives an input a large buffer, if the `left` bytes of a body are more than a small one holds, and one is to be had.
    /// What was in it stays.
    pub fn enlarge(&self, input: &mut Input, left: u64) {
        let here = input.filled().len();
        if left.max(here as u64) <= INPUT_BYTES as u64 {
            return;
        }
        self.long.set(LONG_MEMORY);
        if input.large {
            return;
        }
        let Some(mut bytes) = self.lend_large() else { return };
        if let Some(room) = bytes.get_mut(..here) {
            room.copy_from_slice(input.filled());
        }
        self.take_back(input);
        *input = Input { bytes, start: 0, end: here, large: true };
    }

    fn lend_large(&self) -> Option<Vec<u8>> {
        let lent = self.large_lent.get();
        (lent < LARGE_MAX).then(|| {
            self.large_lent.set(lent + 1);
            self.large.borrow_mut().pop().unwrap_or_else(|| vec![0; LARGE_BYTES])
        })
    }

    /// Takes the memory of an input back. What was in it is gone.
    pub fn take_back(&self, input: &mut Input) {
        let Input { bytes, large, .. } = std::mem::take(input);
        if large {
            self.large_lent.set(self.large_lent.get().saturating_sub(1));
            return self.large.borrow_mut().push(bytes);
        }
        let mut kept = self.inputs.borrow_mut();
        if bytes.len() == INPUT_BYTES && kept.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }

    /// Buffers for a request.
    pub fn scratch(&self) -> Scratch {
        let mut scratch = self.scratches.borrow_mut().pop().unwrap_or_default();
        let long = self.long.get();
        self.long.set(long.saturating_sub(1));
        match (long > 0).then(|| self.lend_large()).flatten() {
            Some(bytes) => scratch.reply = Input { bytes, large: true, ..Input::default() },
            None => self.lend(&mut scratch.reply),
        }
        scratch
    }

    /// Takes the buffers of a request back.
    pub fn take_scratch_back(&self, mut scratch: Scratch) {
        self.take_back(&mut scratch.reply);
        scratch.up.reset();
        scratch.down.reset();
        let small = [&scratch.up, &scratch.down].iter().all(|flow| flow.out.bytes.capacity() <= OUTPUT_KEPT_BYTES_MAX);
        let mut kept = self.scratches.borrow_mut();
        if kept.len() < KEPT_MAX && small {
            kept.push(scratch);
        }
    }
}
