//! Latency of an endpoint: an exponentially weighted moving average that a peak counts in at once (Finagle's and
//! linkerd's peak EWMA, with the decay of ingress-nginx's `ewma`).
//!
//! Average and time lie in one atomic word, so that they are never of two different moments.

use std::sync::atomic::{AtomicU64, Ordering};

/// Time in which an old average loses all but 37 % (1/e) of its weight, milliseconds: that of ingress-nginx.
pub const DECAY_MS: f32 = 10_000.0;

/// The average in microseconds (f32, upper half) and when it was last changed in milliseconds (lower half); 0: never.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Counts a measurement in. One above the average replaces it.
    #[allow(clippy::cast_precision_loss, reason = "seven digits of microseconds are enough to compare endpoints")]
    pub fn observe(&self, us: u64, now_ms: u64) {
        let us = (us as f32).max(1.0);
        let next = |word| {
            let (average, at) = unpack(word);
            if word == 0 || us > average {
                return Some(pack(us, stamp(now_ms)));
            }
            let weight = decay(at, now_ms);
            Some(pack(average * weight + us * (1.0 - weight), if weight < 1.0 { stamp(now_ms) } else { at }))
        };
        // The closure always gives a word, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The average in microseconds, which fades while nothing is measured: a bad endpoint is asked again some day.
    /// `None`: nothing was ever measured.
    #[must_use]
    pub fn now_us(&self, now_ms: u64) -> Option<f32> {
        let word = self.0.load(Ordering::Relaxed);
        let (average, at) = unpack(word);
        (word != 0).then(|| average * decay(at, now_ms))
    }
}

/// What an average of `at` still weighs. The stamps wrap after 49 days; a difference that seems negative is none.
#[allow(clippy::cast_precision_loss, reason = "a stamp difference of more than 2^24 ms weighs nothing anyway")]
fn decay(at: u32, now_ms: u64) -> f32 {
    let elapsed = stamp(now_ms).wrapping_sub(at);
    if elapsed > u32::MAX / 2 { 1.0 } else { (-(elapsed as f32) / DECAY_MS).exp() }
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn stamp(ms: u64) -> u32 {
    ms as u32
}

fn pack(us: f32, at: u32) -> u64 {
    u64::from(us.to_bits()) << 32 | u64::from(at)
}

#[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(measured: &[(u64, u64)], at_ms: u64, want: f32) {
        let latency = Latency::default();
        measured.iter().for_each(|(us, now_ms)| latency.observe(*us, *now_ms));
        let got = latency.now_us(at_ms).expect("measured");
        assert!((got - want).abs() <= want * 0.001, "{measured:?} at {at_ms}: {got}, not {want}");
    }

    #[test]
    fn peaks_count_at_once_and_fade_with_time() {
        let (keep, lose) = ((-1.0_f32).exp(), 1.0 - (-1.0_f32).exp());
        check(&[(1_000, 0)], 0, 1_000.0);
        check(&[(1_000, 0), (9_000, 1)], 1, 9_000.0);
        check(&[(9_000, 0), (1_000, 0)], 0, 9_000.0);
        check(&[(9_000, 0), (1_000, 10_000)], 10_000, 9_000.0 * keep + 1_000.0 * lose);
        check(&[(9_000, 0)], 10_000, 9_000.0 * keep);
        check(&[(9_000, 0), (1_000, 200_000)], 200_000, 1_000.0);
        check(&[(0, 5)], 5, 1.0);
    }

    #[test]
    fn many_small_steps_are_one_long_one() {
        let steps: Vec<(u64, u64)> = (1..=100).map(|i| (1_000, i * 100)).collect();
        let all: Vec<_> = [(9_000, 0)].into_iter().chain(steps).collect();
        check(&all, 10_000, 9_000.0 * (-1.0_f32).exp() + 1_000.0 * (1.0 - (-1.0_f32).exp()));
    }

    #[test]
    fn time_that_goes_back_or_wraps_changes_nothing() {
        check(&[(9_000, 5_000), (1_000, 4_000)], 3_000, 9_000.0);
        let wrap = u64::from(u32::MAX);
        check(&[(9_000, wrap), (1_000, wrap + 10_000)], wrap + 10_000, 9_000.0 * (-1.0_f32).exp() + 632.12);
        assert_eq!(Latency::default().now_us(7), None);
    }
}
