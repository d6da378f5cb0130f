//! Counters of one worker: written by one thread with relaxed atomics, summed by readers.

use super::connections::Connections;
use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows, or a level that goes up and down.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the thread that owns the counters may: a load and a store cost less than an addition that other cores
    /// could see in between.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away, for a level; again only by the thread that owns the counters.
    pub fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the request-duration histogram, microseconds.
pub const DURATION_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// What one worker counts. Aligned to cache lines so that workers do not slow one another.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs, reason = "named as their metrics, which carry the help text")]
pub struct Counters {
    pub connections_accepted: Counter,
    pub connections_active: Counter,
    pub connections_parked: Counter,
    pub connections_refused: Counter,
    pub handshakes_failed: Counter,
    pub proxy_protocol_refused: Counter,
    pub requests: Counter,
    pub requests_active: Counter,
    pub requests_malformed: Counter,
    pub h2_floods: Counter,
    pub tunnels: Counter,
    pub tunnels_active: Counter,
    /// Responses by the first digit of their status, 1xx at index 0.
    pub responses: [Counter; 5],
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    pub upstream_connects: Counter,
    pub upstream_connects_failed: Counter,
    pub upstream_reuses: Counter,
    pub upstream_idle: Counter,
    pub retries: Counter,
    pub retries_refused: Counter,
    pub ejections: Counter,
    pub overloads: Counter,
    pub durations: [Counter; DURATION_BOUNDS_US.len() + 1],
    pub duration_us_sum: Counter,
    /// By class and reason.
    pub connections: Connections,
}

impl Counters {
    /// Counts a response by status and duration.
    pub fn response(&self, status: u16, duration_us: u64) {
        if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|i| self.responses.get(i)) {
            class.add(1);
        }
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| duration_us > *bound);
        self.durations[bucket].add(1);
        self.duration_us_sum.add(duration_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_upper_bound() {
        let counters = Counters::default();
        counters.response(200, 100);
        counters.response(503, 101);
        counters.response(99, u64::MAX >> 8);
        assert_eq!(counters.durations[0].get(), 1);
        assert_eq!(counters.durations[1].get(), 1);
        assert_eq!(counters.durations[12].get(), 1);
        assert_eq!(counters.responses[1].get() + counters.responses[4].get(), 2);
    }
}
