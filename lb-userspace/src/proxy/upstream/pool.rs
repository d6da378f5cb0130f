//! Idle connections of one worker. They have no task: whether one is still alive is asked when it is taken out, and by a
//! sweep.

use super::Key;
use crate::config::Limits;
use crate::proxy::clock::Clock;
use crate::proxy::endpoint::Endpoint;
use crate::telemetry::Counters;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Idle connections, by what tells them apart; the one used last is taken first.
#[derive(Debug)]
pub struct Pool {
    clock: Rc<Clock>,
    counters: Arc<Counters>,
    idle_max: usize,
    idle_ms_max: u64,
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: Endpoint,
    since_ms: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(clock: Rc<Clock>, counters: Arc<Counters>, limits: &Limits) -> Self {
        let (idle_max, idle_ms_max) = (limits.pool_idle_max, limits.pool_idle_ms_max);
        Self { clock, counters, idle_max, idle_ms_max, idle: RefCell::default() }
    }

    /// An idle connection that is alive as far as this side can know.
    pub fn take(&self, key: &Key) -> Option<Endpoint> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(key)?;
        while let Some(Idle { mut stream, since_ms }) = stack.pop() {
            self.counters.upstream_idle.sub(1);
            if since_ms + self.idle_ms_max > self.clock.now_ms() && stream.is_quiet() {
                self.counters.upstream_reuses.add(1);
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection whose last response was read to its end.
    pub fn put(&self, key: Key, stream: Endpoint) {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.entry(key).or_default();
        if stack.len() < self.idle_max {
            stack.push(Idle { stream, since_ms: self.clock.now_ms() });
            self.counters.upstream_idle.add(1);
        }
    }

    /// Closes connections that are too old, dead, or to endpoints that are not among `eligible` any more.
    pub fn sweep(&self, eligible: &HashSet<SocketAddr>) {
        let oldest_ms = self.clock.now_ms().saturating_sub(self.idle_ms_max);
        self.idle.borrow_mut().retain(|key, stack| {
            let before = stack.len();
            let listed = eligible.contains(&key.endpoint);
            stack.retain_mut(|idle| listed && idle.since_ms >= oldest_ms && idle.stream.is_quiet());
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
