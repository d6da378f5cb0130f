//! A bucket of tokens: how much may be done now, and when the next thing may be.
//!
//! Goes in: the time, as an argument. Comes out: yes or no. Counts in thousandths of a token, so that a rate for each second
//! is one for each millisecond.

/// Thousandths of one token.
const TOKEN: u64 = 1_000;

/// The bucket. Full at first.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_s: u32,
    burst: u32,
    level: u64,
    at_ms: u64,
}

impl Bucket {
    /// A full bucket of `burst` tokens, into which `per_s` fall every second. Both are at least 1.
    #[must_use]
    pub fn new(per_s: u32, burst: u32, now_ms: u64) -> Self {
        let (per_s, burst) = (per_s.max(1), burst.max(1));
        Self { per_s, burst, level: u64::from(burst) * TOKEN, at_ms: now_ms }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now_ms: u64) -> bool {
        self.fill(now_ms);
        if self.level < TOKEN {
            return false;
        }
        self.level -= TOKEN;
        true
    }

    /// When there is a token: now, or later.
    pub fn ready_at_ms(&mut self, now_ms: u64) -> u64 {
        self.fill(now_ms);
        now_ms + TOKEN.saturating_sub(self.level).div_ceil(u64::from(self.per_s))
    }

    fn fill(&mut self, now_ms: u64) {
        let fallen = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(self.per_s));
        self.level = self.level.saturating_add(fallen).min(u64::from(self.burst) * TOKEN);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_burst_and_rate() {
        let mut bucket = Bucket::new(5, 50, 0);
        let taken = |bucket: &mut Bucket, at: u64| std::iter::from_fn(|| bucket.take(at).then_some(())).count();
        assert_eq!(taken(&mut bucket, 0), 50);
        assert_eq!(bucket.ready_at_ms(0), 200);
        assert_eq!(taken(&mut bucket, 199), 0);
        assert_eq!(taken(&mut bucket, 200), 1);
        let over_a_minute: usize = (200..=60_200).map(|at| taken(&mut bucket, at)).sum();
        assert_eq!(over_a_minute, 300);
        assert_eq!(taken(&mut bucket, 10_000_000), 50, "no more than the burst is saved");
        assert_eq!(taken(&mut bucket, 9_000_000), 0, "a clock that goes back gives nothing");
    }
}
