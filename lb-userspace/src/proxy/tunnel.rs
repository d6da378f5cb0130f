//! A tunnel: two connections joined, bytes both ways, whatever they mean. What an upgraded connection becomes.
//!
//! Goes in: two connections, and what was read ahead of them. Comes out: how much passed, and how it ended. A tunnel over
//! which nothing passes holds no buffer. Does not know who agreed to it: that is [`super::head::upgrade`].

use super::buffer::{Input, Store};
use super::clock::Deadline;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::exchange::After;
use super::flow::Scratch;
use super::plan::Forward;
use super::record::Record;
use super::worker::Worker;
use lb_core::balance::Occupied;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// A tunnel that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Bytes from the client to the endpoint.
    pub up: u64,
    /// Bytes from the endpoint to the client.
    pub down: u64,
    /// How it ended.
    pub end: End,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides have said that they send no more.
    Both,
    /// The client's connection broke.
    Client,
    /// The endpoint's connection broke.
    Endpoint,
    /// Nothing passed for too long.
    Idle,
}

impl End {
    /// One word for the log, where it did not end well.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Both => None,
            Self::Client => Some("client-gone"),
            Self::Endpoint => Some("upstream-closed"),
            Self::Idle => Some("tunnel-idle"),
        }
    }
}

/// Makes a tunnel of an exchange that switched protocols: sends the head that waits in `scratch`, then everything.
pub async fn serve(
    conn: &mut Connection,
    scratch: &mut Scratch,
    (forward, _place): (Forward, Option<Occupied>),
    mut endpoint: Endpoint,
    record: &mut Record,
) -> After {
    let idle_ms_max = forward.policy().read_idle_ms_max.into();
    // A tunnel may live for days: it holds neither what served when it began, nor buffers.
    // It does hold its place at the endpoint, so that balancing counts it.
    drop(forward);
    let mut scratch = std::mem::take(scratch);
    let Connection { worker, client, input, deadline, .. } = conn;
    let _open = Open::new(worker.clone());
    record.answered();
    deadline.set(worker.limits.write_idle_ms_max);
    let told = poll_fn(|cx| match scratch.down.poll_send(cx, client) {
        Poll::Pending if deadline.poll(cx) => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
        Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
    });
    let told = told.await;
    let ahead = (std::mem::take(input), std::mem::take(&mut scratch.reply));
    record.bytes_received += scratch.up.taken();
    record.bytes_sent += scratch.down.sent();
    worker.buffers.take_scratch_back(scratch);
    let passed = match told {
        true => join(client, &mut endpoint, ahead, &worker.buffers, deadline, idle_ms_max).await,
        false => Passed { up: 0, down: 0, end: End::Client },
    };
    record.bytes_received += passed.up;
    record.bytes_sent += passed.down;
    record.error = passed.end.word();
    match passed.end {
        End::Both | End::Idle => After::Close,
        End::Endpoint => After::Reset,
        End::Client => {
            endpoint.reset();
            After::Reset
        }
    }
}

/// Passes bytes both ways between two connections, first what was read `ahead` of the client and of the endpoint, until it
/// ends. One side that sends no more ends one direction; the other goes on. Each direction holds one buffer at most, and
/// reads again only when all of it was taken: that is the back-pressure.
pub async fn join<C, E>(
    client: &mut C,
    endpoint: &mut E,
    ahead: (Input, Input),
    store: &Store,
    deadline: &Deadline,
    idle_ms_max: u64,
) -> Passed
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Direction::new(ahead.0), Direction::new(ahead.1));
    deadline.set(idle_ms_max);
    let end = poll_fn(|cx| {
        loop {
            // One step each in turn, so that neither direction starves the other.
            let upward = match up.poll_step(cx, client, endpoint, store) {
                Poll::Ready(Err(broken)) => return Poll::Ready(broken.of(End::Client, End::Endpoint)),
                step => step.is_ready(),
            };
            let downward = match down.poll_step(cx, endpoint, client, store) {
                Poll::Ready(Err(broken)) => return Poll::Ready(broken.of(End::Endpoint, End::Client)),
                step => step.is_ready(),
            };
            if up.is_over() && down.is_over() {
                return Poll::Ready(End::Both);
            }
            if upward || downward {
                deadline.set(idle_ms_max);
            } else if deadline.poll(cx) {
                return Poll::Ready(End::Idle);
            } else {
                return Poll::Pending;
            }
        }
    })
    .await;
    up.give_back(store);
    down.give_back(store);
    Passed { up: up.passed, down: down.passed, end }
}

/// One direction of a tunnel.
#[derive(Debug)]
struct Direction {
    input: Input,
    state: State,
    unflushed: bool,
    passed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    /// The end was read, and is to be passed on.
    Ending,
    Over,
}

/// Which side of a direction broke.
#[derive(Debug, Clone, Copy)]
enum Broken {
    From,
    To,
}

impl Broken {
    fn of(self, from: End, to: End) -> End {
        match self {
            Self::From => from,
            Self::To => to,
        }
    }
}

impl Direction {
    fn new(ahead: Input) -> Self {
        Self { input: ahead, state: State::Going, unflushed: false, passed: 0 }
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Reads or writes once. Pending when there is nothing to do, or it is over.
    fn poll_step<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        store: &Store,
    ) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        if !self.input.is_empty() {
            return self.poll_write(cx, to);
        }
        match self.state {
            State::Going => self.poll_read(cx, from, to, store),
            State::Ending => {
                ready!(self.poll_flush(cx, to))?;
                // It fails when the other side is gone; then reading from it tells.
                let _ = ready!(Pin::new(to).poll_shutdown(cx));
                self.state = State::Over;
                Poll::Ready(Ok(()))
            }
            State::Over => Poll::Pending,
        }
    }

    fn poll_write<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<Result<(), Broken>> {
        match ready!(Pin::new(to).poll_write(cx, self.input.filled())) {
            Ok(0) | Err(_) => Poll::Ready(Err(Broken::To)),
            Ok(count) => {
                self.input.consume(count);
                self.passed += count as u64;
                self.unflushed = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads; when nothing is there, what was written leaves, and the buffer goes back.
    fn poll_read<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        store: &Store,
    ) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        store.lend(&mut self.input);
        match self.input.poll_fill(cx, from) {
            Poll::Ready(Ok(0)) => self.state = State::Ending,
            Poll::Ready(Ok(_)) => {}
            // TLS that ends without saying so: many do, and what goes through tunnels says itself when it is whole.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.state = State::Ending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::From)),
            Poll::Pending => {
                self.give_back(store);
                ready!(self.poll_flush(cx, to))?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Broken::To)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn give_back(&mut self, store: &Store) {
        store.take_back(&mut self.input);
    }
}

/// Counts a tunnel as long as it lives.
struct Open {
    worker: Rc<Worker>,
}

impl Open {
    fn new(worker: Rc<Worker>) -> Self {
        worker.counters.tunnels.add(1);
        worker.counters.tunnels_active.add(1);
        Self { worker }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.counters.tunnels_active.sub(1);
    }
}
