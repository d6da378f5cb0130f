//! Slow start: an endpoint that joins a service gets a small share at first, which grows: its caches are cold, its code
//! is not compiled yet, and with fewest requests in work it would otherwise be everybody's choice.
//!
//! The share is how often it takes part in choosing at all, so that it grows with little load as with much.
//! Endpoints that are as old as their service as far as we know start warm: without others to compare, there is nothing
//! to slow down. Consistent hashing knows no slow start: a key has one endpoint.

/// How long it takes, milliseconds: longer than a first garbage collection or compilation, shorter than the pace of a
/// rolling update (a readiness probe every 10 s by default).
pub const WINDOW_MS: u64 = 10_000;

/// Share of its full weight that an endpoint begins with, in thousandths: a tenth, as Envoy does. It must not be
/// nothing, or it would never warm up.
pub const WEIGHT_MIN: u64 = 100;

/// Full weight.
pub const WEIGHT_MAX: u64 = 1_000;

/// The weight now, in thousandths, of an endpoint that is warm from `warm_from_ms` on; it grows linearly until then.
#[must_use]
pub fn weight(warm_from_ms: u64, now_ms: u64) -> u64 {
    let left_ms = warm_from_ms.saturating_sub(now_ms).min(WINDOW_MS);
    WEIGHT_MAX - (WEIGHT_MAX - WEIGHT_MIN) * left_ms / WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_grows_from_a_tenth_to_all() {
        for (now_ms, want) in
            [(0, 100), (50_000, 100), (52_500, 325), (55_000, 550), (60_000, 1_000), (u64::MAX, 1_000)]
        {
            assert_eq!(weight(60_000, now_ms), want, "{now_ms}");
        }
        assert_eq!(weight(0, 0), WEIGHT_MAX);
    }
}
