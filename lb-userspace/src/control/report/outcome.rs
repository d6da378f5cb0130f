//! What became of a write, and when it is tried again.
//!
//! Goes in: the answer of the API. Comes out: an [`Outcome`] and times. Follows the API conventions
//! (sig-architecture/api-conventions.md, "HTTP Status codes").

use super::call::Refusal;

/// First and last pause after failures, milliseconds.
const PAUSE_MS_MIN: u64 = 1_000;
const PAUSE_MS_MAX: u64 = 60_000;

/// When what is not allowed is tried again, milliseconds: somebody has to change rights first.
pub const REFUSED_MS: u64 = 300_000;

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Done {
        /// `metadata.resourceVersion` now.
        version: Box<str>,
        /// `series.count` of an Event, 1 where there is no series.
        count: i32,
    },
    /// There is an object of this name.
    Exists,
    /// The object, or its namespace, is no more.
    Gone,
    /// The object is another than we thought.
    Conflict,
    /// The API asks for patience, or cannot be reached.
    Again {
        /// What it asks for, milliseconds.
        after_ms: Option<u64>,
    },
    /// It is not allowed, or not taken.
    Refused,
    /// We ceased to be the leader.
    Cut,
}

impl Outcome {
    /// What a refusal means.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        match (refusal.code, refusal.reason.as_str()) {
            (409, "AlreadyExists") => Self::Exists,
            (409, _) => Self::Conflict,
            (404 | 410, _) => Self::Gone,
            // A namespace that is being deleted takes no new objects, and says so in `details.causes`.
            (403, _) if refusal.terminating => Self::Gone,
            (0 | 408 | 425 | 429 | 500..=599, _) => Self::Again { after_ms: refusal.retry_after_ms },
            // A token that expired is replaced by the client.
            (401, _) => Self::Again { after_ms: None },
            _ => Self::Refused,
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Exists => "exists",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::Again { .. } => "again",
            Self::Refused => "refused",
            Self::Cut => "cut",
        }
    }
}

/// The pause after so many failures in a row: doubles from a second to a minute; `spread` (any number) makes up to half of
/// it, so that not everybody comes back at once.
#[must_use]
pub fn pause_ms(failures: u32, spread: u64) -> u64 {
    let whole = PAUSE_MS_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MS_MAX);
    whole / 2 + spread % (whole / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_what_the_conventions_say() {
        let check = |code, reason: &str, terminating, want: &Outcome| {
            let refusal = Refusal { code, reason: reason.to_owned(), terminating, ..Refusal::default() };
            assert_eq!(Outcome::of(&refusal), *want, "{code} {reason}");
        };
        let again = Outcome::Again { after_ms: None };
        check(409, "AlreadyExists", false, &Outcome::Exists);
        check(409, "Conflict", false, &Outcome::Conflict);
        check(404, "NotFound", false, &Outcome::Gone);
        check(403, "Forbidden", true, &Outcome::Gone);
        check(403, "Forbidden", false, &Outcome::Refused);
        check(422, "Invalid", false, &Outcome::Refused);
        for code in [0, 401, 429, 500, 503, 504] {
            check(code, "", false, &again);
        }
        let asked = Refusal { code: 429, retry_after_ms: Some(7_000), ..Refusal::default() };
        assert_eq!(Outcome::of(&asked), Outcome::Again { after_ms: Some(7_000) });
    }

    #[test]
    fn pauses_grow_and_end() {
        for failures in 0..40 {
            for spread in [0, 1, 999, u64::MAX] {
                let pause = pause_ms(failures, spread);
                assert!((PAUSE_MS_MIN / 2..=PAUSE_MS_MAX).contains(&pause), "{failures} {spread}: {pause}");
            }
        }
        assert!(pause_ms(6, 0) > pause_ms(0, u64::MAX));
    }
}
