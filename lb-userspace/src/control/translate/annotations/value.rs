//! Values that several annotations have: booleans, switches, times, whole numbers. All pure.

/// Longest time, seconds: thirty days. In milliseconds it fits into 32 bits (2.6 of 4.3 thousand millions).
pub const SECONDS_MAX: u32 = 30 * 86_400;

/// A value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong with it: a sentence without its stop.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Invalid {
    /// A fault with its remedy.
    pub fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy }
    }
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, Invalid> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::new(format!("{text:?} is neither \"true\" nor \"false\""), "Write \"true\" or \"false\".")),
    }
}

/// `on` or `off`.
pub fn switch(text: &str) -> Result<bool, Invalid> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Invalid::new(format!("{text:?} is neither \"on\" nor \"off\""), "Write \"on\" or \"off\".")),
    }
}

/// A time in seconds without a unit; comes out in milliseconds.
pub fn seconds(text: &str) -> Result<u32, Invalid> {
    const REMEDY: &str = "Write seconds as a whole number without a unit, from 1 to 2592000 (30 days).";
    match whole(text).filter(|seconds| (1..=SECONDS_MAX).contains(seconds)) {
        Some(seconds) => Ok(seconds * 1_000),
        None => Err(Invalid::new(format!("{text:?} is no time from 1 to {SECONDS_MAX} seconds"), REMEDY)),
    }
}

/// A whole number: digits alone, so neither a sign nor a space.
pub fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, want) in [
            ("1", Some(1_000)),
            ("3600", Some(3_600_000)),
            ("2592000", Some(2_592_000_000)),
            ("2592001", None),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("60s", None),
            (" 60", None),
            ("1.5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn words() {
        assert_eq!((boolean("true"), boolean("false")), (Ok(true), Ok(false)));
        assert_eq!((switch("on"), switch("off")), (Ok(true), Ok(false)));
        assert!(boolean("True").is_err() && boolean("on").is_err() && switch("true").is_err() && switch("").is_err());
    }
}
