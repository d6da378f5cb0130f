//! What balancing remembers of one endpoint. All workers share it; it outlives Snapshots, and ends with the last of them
//! that lists the endpoint.

use super::ejection::Health;
use super::hash::hash_endpoint;
use super::latency::Latency;
use super::slow_start::{WEIGHT_MAX, weight};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The state of one endpoint of one service.
#[derive(Debug)]
pub struct EndpointState {
    in_work: AtomicU32,
    pending: AtomicU32,
    /// How it answers.
    pub(super) health: Health,
    /// How fast it answers.
    pub(super) latency: Latency,
    warm_from_ms: u64,
    /// What it is for consistent hashing.
    pub(super) hash: u64,
}

/// The state of an endpoint, for people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EndpointView {
    /// Requests in work.
    pub in_work: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Failures in a row.
    pub failures: u32,
    /// How long it stays ejected, milliseconds; 0: it is not.
    pub ejected_ms: u64,
    /// Share of its full weight while it starts slowly, in thousandths.
    pub weight: u64,
    /// Its latency, microseconds, where a route balances by it.
    pub latency_us: Option<f32>,
}

impl EndpointState {
    /// An endpoint that has its full weight from `warm_from_ms` on.
    pub(super) fn new(address: SocketAddr, warm_from_ms: u64) -> Self {
        Self {
            in_work: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            health: Health::default(),
            latency: Latency::default(),
            warm_from_ms,
            hash: hash_endpoint(address),
        }
    }

    /// How it is.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> EndpointView {
        EndpointView {
            in_work: self.in_work.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            failures: self.health.failures(),
            ejected_ms: self.health.until_ms().saturating_sub(now_ms),
            weight: self.weight(now_ms),
            latency_us: self.latency.now_us(now_ms),
        }
    }

    /// Whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.health.is_ejected(now_ms)
    }

    pub(super) fn is_full(&self, requests_max: u32) -> bool {
        self.in_work.load(Ordering::Relaxed) >= requests_max
    }

    pub(super) fn weight(&self, now_ms: u64) -> u64 {
        if self.warm_from_ms == 0 { WEIGHT_MAX } else { weight(self.warm_from_ms, now_ms) }
    }

    /// What it costs to choose it by requests in work, this one included.
    pub(super) fn requests_cost(&self) -> f64 {
        f64::from(self.in_work.load(Ordering::Relaxed)) + 1.0
    }

    /// What it costs to choose it by latency and requests in work. One that was never measured costs nothing for its
    /// first request, and the most until that is answered: nobody knows yet what it would do to many.
    pub(super) fn latency_cost(&self, now_ms: u64) -> f64 {
        match self.latency.now_us(now_ms) {
            Some(us) => f64::from(us) * self.requests_cost(),
            None if self.in_work.load(Ordering::Relaxed) == 0 => 0.0,
            None => f64::from(f32::MAX) * self.requests_cost(),
        }
    }

    /// Counts a request in work, unless there are `requests_max`.
    pub(super) fn enter(&self, requests_max: u32) -> bool {
        enter(&self.in_work, requests_max)
    }

    pub(super) fn leave(&self) {
        self.in_work.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn enter_pending(&self, pending_max: u32) -> bool {
        enter(&self.pending, pending_max)
    }

    pub(super) fn leave_pending(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds one, unless the limit is reached. It is looked at after adding, so that no two workers take the last place.
pub(super) fn enter(level: &AtomicU32, max: u32) -> bool {
    let is_free = level.fetch_add(1, Ordering::Relaxed) < max;
    if !is_free {
        level.fetch_sub(1, Ordering::Relaxed);
    }
    is_free
}
