//! Connections to endpoints: new ones, and the pool of idle ones that each worker keeps for itself.
//!
//! Goes in: an endpoint. Comes out: a connection, or why there is none. Idle connections have no task: whether one is
//! still alive is asked when it is taken out, and by a sweep.

use super::clock::{Clock, Deadline};
use crate::config::Limits;
use crate::telemetry::Counters;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::TcpStream;

/// Why an endpoint could not be reached.
#[derive(Debug)]
pub enum Unreachable {
    /// Refused, no route, no local port.
    Failed(io::Error),
    /// No answer in time.
    Slow,
}

/// Idle connections of one worker, by endpoint; the one used last is taken first.
#[derive(Debug)]
pub struct Pool {
    clock: Rc<Clock>,
    counters: Arc<Counters>,
    idle_max: usize,
    idle_ms_max: u64,
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    since_ms: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(clock: Rc<Clock>, counters: Arc<Counters>, limits: &Limits) -> Self {
        let (idle_max, idle_ms_max) = (limits.pool_idle_max, limits.pool_idle_ms_max);
        Self { clock, counters, idle_max, idle_ms_max, idle: RefCell::default() }
    }

    /// An idle connection that is alive as far as this side can know.
    pub fn take(&self, endpoint: SocketAddr) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(&endpoint)?;
        while let Some(Idle { stream, since_ms }) = stack.pop() {
            self.counters.upstream_idle.sub(1);
            if since_ms + self.idle_ms_max > self.clock.now_ms() && is_quiet(&stream) {
                self.counters.upstream_reuses.add(1);
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection whose last response was read to its end.
    pub fn put(&self, endpoint: SocketAddr, stream: TcpStream) {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.entry(endpoint).or_default();
        if stack.len() < self.idle_max {
            stack.push(Idle { stream, since_ms: self.clock.now_ms() });
            self.counters.upstream_idle.add(1);
        }
    }

    /// Closes connections that are too old, dead, or to endpoints that are not among `eligible` any more.
    pub fn sweep(&self, eligible: &HashSet<SocketAddr>) {
        let oldest_ms = self.clock.now_ms().saturating_sub(self.idle_ms_max);
        self.idle.borrow_mut().retain(|endpoint, stack| {
            let before = stack.len();
            let listed = eligible.contains(endpoint);
            stack.retain(|idle| listed && idle.since_ms >= oldest_ms && is_quiet(&idle.stream));
            self.counters.upstream_idle.sub((before - stack.len()) as u64);
            !stack.is_empty()
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.counters.upstream_idle.sub(self.idle.get_mut().values().map(|stack| stack.len() as u64).sum());
    }
}

/// Opens a connection.
///
/// # Errors
/// [`Unreachable`], when it does not stand within `connect_ms_max`.
pub async fn connect(
    endpoint: SocketAddr,
    connect_ms_max: u64,
    deadline: &Deadline,
    counters: &Counters,
) -> Result<TcpStream, Unreachable> {
    counters.upstream_connects.add(1);
    deadline.set(connect_ms_max);
    let mut connecting = pin!(TcpStream::connect(endpoint));
    let stream = poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(Unreachable::Failed)),
        Poll::Pending if deadline.poll(cx) => Poll::Ready(Err(Unreachable::Slow)),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match stream.and_then(|s| s.set_nodelay(true).map(|()| s).map_err(Unreachable::Failed)) {
        Ok(stream) => Ok(stream),
        Err(unreachable) => {
            counters.upstream_connects_failed.add(1);
            Err(unreachable)
        }
    }
}

/// Neither closed nor sending: an endpoint that sends without being asked is out of step.
fn is_quiet(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
