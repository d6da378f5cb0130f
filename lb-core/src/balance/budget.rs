//! Retry budget of a service: tries after the first may be a fifth of its requests, and a few a second besides, so that
//! retries cannot double the load on a service that is already failing.
//!
//! A bucket of thousandths of a retry. What requests and time put in is counted when a retry is asked for, so that a
//! request that goes well costs nothing here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Retries for a hundred requests (Finagle's and linkerd's default).
pub const RETRY_PERCENT: u64 = 20;

/// Retries a second that are always there, for services with few requests (the same source).
pub const RETRIES_PER_S_MIN: u64 = 10;

/// The bucket holds what this many seconds of the floor put in: 100 retries at once.
pub const WINDOW_S: u64 = 10;

/// One retry.
const RETRY: u64 = 1_000;
/// What one request puts in.
const REQUEST: u64 = RETRY * RETRY_PERCENT / 100;
/// What a millisecond puts in.
const MILLISECOND: u64 = RETRY * RETRIES_PER_S_MIN / 1_000;
/// What it holds without requests in work, and at first.
const SPARE_MAX: u64 = RETRY * RETRIES_PER_S_MIN * WINDOW_S;

/// A bucket of retries.
#[derive(Debug)]
pub struct Budget {
    spare: AtomicU64,
    requests: AtomicU32,
    at_ms: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { spare: AtomicU64::new(SPARE_MAX), requests: AtomicU32::new(0), at_ms: AtomicU64::new(0) }
    }
}

impl Budget {
    /// Takes a retry out, if there is one. `requests`: those of the service so far, a number that wraps; `in_work`: those
    /// of now, a fifth of which may fail together and fit in the bucket besides the floor.
    pub fn withdraw(&self, requests: u32, in_work: u32, now_ms: u64) -> bool {
        let came = self.came(requests);
        let passed_ms = now_ms.saturating_sub(self.at_ms.fetch_max(now_ms, Ordering::Relaxed));
        let put_in = u64::from(came) * REQUEST + passed_ms.saturating_mul(MILLISECOND);
        let room = SPARE_MAX + u64::from(in_work) * REQUEST;
        let full = |spare: u64| spare.saturating_add(put_in).min(room);
        let taken = self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spare| {
            let full = full(spare);
            Some(full.checked_sub(RETRY).unwrap_or(full))
        });
        taken.is_ok_and(|spare| full(spare) >= RETRY)
    }

    /// Requests since this was asked last. One that lags behind another worker's sees none.
    fn came(&self, requests: u32) -> u32 {
        let since = |seen: u32| {
            let came = requests.wrapping_sub(seen);
            if came > u32::MAX / 2 { 0 } else { came }
        };
        let seen = self
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| (since(seen) > 0).then_some(requests));
        seen.map_or(0, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for many retries at one moment; answers how many are allowed.
    fn allowed(budget: &Budget, requests: u32, in_work: u32, now_ms: u64) -> usize {
        (0..10_000).filter(|_| budget.withdraw(requests, in_work, now_ms)).count()
    }

    #[test]
    fn a_fifth_of_requests_and_ten_a_second() {
        let budget = Budget::default();
        for (requests, in_work, now_ms, want) in [
            (0, 0, 0, 100),
            (0, 0, 0, 0),
            (10, 0, 0, 2),
            (10, 0, 1_000, 10),
            (110, 0, 2_000, 30),
            (110, 0, 1_000, 0),
            (1_000_110, 0, 2_000, 100),
            (2_000_110, 5_000, 2_000, 1_100),
            (2_000_110, 0, 86_400_000, 100),
        ] {
            assert_eq!(allowed(&budget, requests, in_work, now_ms), want, "{requests} requests at {now_ms} ms");
        }
    }

    #[test]
    fn requests_wrap() {
        let budget = Budget::default();
        for requests in [2_000_000_000, 4_000_000_000, u32::MAX - 4] {
            allowed(&budget, requests, 0, 0);
        }
        assert_eq!(allowed(&budget, 5, 0, 0), 2);
        assert_eq!(allowed(&budget, 0, 0, 0), 0, "a worker that lags behind");
    }
}
