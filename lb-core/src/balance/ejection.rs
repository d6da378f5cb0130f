//! Passive ejection: an endpoint that fails several times in a row is left alone for a while, which grows each time.
//!
//! Goes in: outcomes. Comes out: whether an endpoint is ejected now. How many may be is decided by the service
//! ([`super::ServiceState::report`]): at most half, so that a fault that all share never leaves the rest to carry all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Failures in a row that eject: as Envoy's and one less than chance needs: of an endpoint that fails one request in ten,
/// five in a row come once in 100,000.
pub const FAILURES_MAX: u32 = 5;

/// The first ejection, milliseconds; each further one is twice as long. Kubernetes' default readiness probe needs 30 s
/// to take a dead pod away: 5 + 10 + 20 s bridge that with three tries.
pub const EJECTED_MS_MIN: u64 = 5_000;

/// The longest ejection, milliseconds: one try a minute of an endpoint that stays dead.
pub const EJECTED_MS_MAX: u64 = 60_000;

/// The health of one endpoint, as its answers tell.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    level: AtomicU32,
    until_ms: AtomicU64,
}

impl Health {
    /// Whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// When its ejection ends or ended, milliseconds; 0: there was none.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Relaxed)
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// It answered.
    pub fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It failed; `true` when it should be ejected.
    pub fn failed(&self, now_ms: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= FAILURES_MAX && !self.is_ejected(now_ms)
    }

    /// Ejects it. Back again, its first failure ejects it once more, and for longer, unless it has been well for as long
    /// as it was away.
    pub fn eject(&self, now_ms: u64) {
        let (level, until_ms) = (self.level.load(Ordering::Relaxed), self.until_ms());
        let relapsed = level > 0 && now_ms < until_ms.saturating_add(length_ms(level));
        let level = if relapsed { level.saturating_add(1) } else { 1 };
        self.level.store(level, Ordering::Relaxed);
        self.failures.store(FAILURES_MAX - 1, Ordering::Relaxed);
        self.until_ms.store(now_ms.saturating_add(length_ms(level)), Ordering::Relaxed);
    }

    /// Ends its ejection.
    pub fn take_back(&self, now_ms: u64) {
        self.until_ms.fetch_min(now_ms, Ordering::Relaxed);
    }
}

/// Most endpoints out of `count` that may be ejected.
#[must_use]
pub fn ejected_max(count: usize) -> usize {
    count / 2
}

/// How long the ejection of a level is, milliseconds; the first is 1.
fn length_ms(level: u32) -> u64 {
    let doublings = level.saturating_sub(1).min(16);
    (EJECTED_MS_MIN << doublings).min(EJECTED_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_grow_to_a_bound_and_are_forgotten() {
        let (health, mut now_ms) = (Health::default(), 1_000);
        let mut fail = |after_ms: u64, times: u32| {
            now_ms += after_ms;
            (1..times).for_each(|i| assert!(!health.failed(now_ms), "failure {i}"));
            assert!(health.failed(now_ms), "failure {times} at {now_ms}");
            health.eject(now_ms);
            assert!(health.is_ejected(now_ms) && !health.failed(now_ms), "it is ejected once");
            let length_ms = health.until_ms() - now_ms;
            now_ms += length_ms;
            assert!(!health.is_ejected(now_ms));
            length_ms
        };
        assert_eq!(fail(0, FAILURES_MAX), 5_000);
        assert_eq!([(); 6].map(|()| fail(0, 1)), [10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
        assert_eq!(fail(59_999, 1), 60_000, "it was well for less long than it was away");
        assert_eq!(fail(60_000, 1), 5_000, "it was well for long enough");
    }

    #[test]
    fn an_answer_ends_the_row() {
        let health = Health::default();
        for _ in 0..10 {
            (1..FAILURES_MAX).for_each(|_| assert!(!health.failed(0)));
            health.answered();
        }
        assert_eq!(health.failures(), 0);
    }

    #[test]
    fn at_most_half_and_never_all() {
        assert_eq!([0, 1, 2, 3, 4, 9, 10].map(ejected_max), [0, 0, 1, 1, 2, 4, 5]);
    }
}
