//! The zero of time for state that threads share: workers start at different moments, and mean the same by a time.

use std::time::Instant;

/// A moment from which milliseconds are counted.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Default for Epoch {
    /// Now.
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Epoch {
    /// Milliseconds since then.
    #[must_use]
    pub fn elapsed_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
