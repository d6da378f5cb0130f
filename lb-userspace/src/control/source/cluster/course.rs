//! The course of a watch: what is asked next, and when. Pure: time and chance are arguments.
//!
//! Goes in: what became of the last request. Comes out: the next one. kube-runtime's `watcher` (5.0.0) has this state machine, too:
//! it resumes at the last version, lists in pages or streams, lists again when the server says 410 in a watch, and gives up on
//! a silent stream. It is not used because four things are missing that matter here: it does not fall back from streaming lists to pages, it asks for
//! the same version for ever when 410 is the status of the answer, a page or watch with one object that cannot be read is lost
//! whole, and it does not tell that the server was heard of when nothing changed (bookmarks), so that the age of the
//! state would not be known.

use super::wire::Status;
use std::time::Duration;

/// The first pause after a failure that follows another one; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause. An API server that comes back is asked within this time by every agent, not by all at once.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is asked next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// All objects, by a streaming list, which goes on as a watch.
    Stream,
    /// All objects, in pages.
    Pages,
    /// What happens after this version.
    Watch(String),
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The version is too old: everything has to be read again.
    Gone,
    /// The server does not know what it was asked for.
    Unsupported(Status),
    /// 401.
    Unauthorized(Status),
    /// 403.
    Forbidden(Status),
    /// 429, or a failure with a time to wait.
    Throttled(Status, Option<Duration>),
    /// Another status.
    Refused(Status),
    /// No connection, or one that broke.
    Broken(String),
    /// Nothing came for too long.
    Silent,
    /// What came could not be understood.
    Garbled(String),
    /// A page or a line larger than the limit.
    TooLarge,
}

/// The course of one watch.
#[derive(Debug)]
pub struct Course {
    version: Option<String>,
    /// Whether streaming lists are tried.
    streams: bool,
    failures: u32,
}

impl Default for Course {
    fn default() -> Self {
        Self { version: None, streams: true, failures: 0 }
    }
}

impl Course {
    /// What to ask.
    #[must_use]
    pub fn next(&self) -> Next {
        match &self.version {
            Some(version) => Next::Watch(version.clone()),
            None if self.streams => Next::Stream,
            None => Next::Pages,
        }
    }

    /// Something was told up to this version. An empty one says nothing.
    pub fn reached(&mut self, version: String) {
        self.failures = 0;
        if !version.is_empty() {
            self.version = Some(version);
        }
    }

    /// A request ended as it should.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// A request failed. Answers how long to wait before the next; `chance` is from 0 to 1.
    pub fn failed(&mut self, fault: &Fault, chance: f64) -> Duration {
        match fault {
            Fault::Gone => self.version = None,
            // Pages are what every server knows.
            Fault::Unsupported(_) | Fault::Silent if self.version.is_none() && self.streams => {
                self.streams = false;
                return Duration::ZERO;
            }
            // A version that the server cannot read.
            Fault::Unsupported(_) => self.version = None,
            _ => {}
        }
        let pause = pause(self.failures).mul_f64(0.5 + chance / 2.0);
        self.failures = self.failures.saturating_add(1);
        match fault {
            Fault::Throttled(_, Some(wanted)) => pause.max((*wanted).min(PAUSE_MAX)),
            _ => pause,
        }
    }
}

/// The longest pause after so many failures in a row before this one. The first is short: a connection that broke is mostly made
/// again at once.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => PAUSE / 5,
        _ => PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(PAUSE_MAX),
    }
}

impl Fault {
    /// What a status other than 200 means.
    #[must_use]
    pub fn of(status: Status, after: Option<Duration>) -> Self {
        match status.code {
            410 => Self::Gone,
            _ if matches!(status.reason.as_str(), "Expired" | "Gone") => Self::Gone,
            400 | 422 => Self::Unsupported(status),
            401 => Self::Unauthorized(status),
            403 => Self::Forbidden(status),
            429 => Self::Throttled(status, after),
            500.. if after.is_some() => Self::Throttled(status, after),
            _ => Self::Refused(status),
        }
    }

    /// In one word, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unsupported(_) => "unsupported",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Throttled(..) => "throttled",
            Self::Refused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Silent => "silent",
            Self::Garbled(_) => "garbled",
            Self::TooLarge => "too-large",
        }
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Gone => "the version is too old, so everything is read again (410)".to_owned(),
            Self::Unsupported(status)
            | Self::Unauthorized(status)
            | Self::Forbidden(status)
            | Self::Throttled(status, _)
            | Self::Refused(status) => {
                format!("the API server answers {}: {}", status.code, status.message)
            }
            Self::Broken(why) => format!("the API server cannot be talked to: {why}"),
            Self::Silent => "the API server has said nothing for too long".to_owned(),
            Self::Garbled(why) => why.clone(),
            Self::TooLarge => "the API server sent more than is read at once".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str) -> Status {
        Status { code, reason: reason.to_owned(), message: String::new() }
    }

    fn failed(course: &mut Course, code: u16, reason: &str) -> Next {
        course.failed(&Fault::of(status(code, reason), None), 1.0);
        course.next()
    }

    #[test]
    fn from_a_list_to_a_watch_and_back() {
        let mut course = Course::default();
        assert_eq!(course.next(), Next::Stream);
        course.reached("5".to_owned());
        assert_eq!(course.next(), Next::Watch("5".to_owned()));
        course.reached(String::new());
        assert_eq!(failed(&mut course, 500, ""), Next::Watch("5".to_owned()), "it goes on where it was");
        assert_eq!(failed(&mut course, 410, "Expired"), Next::Stream);
        course.reached("9".to_owned());
        assert_eq!(failed(&mut course, 500, "Expired"), Next::Stream, "the reason counts, too");
    }

    #[test]
    fn servers_without_streaming_lists() {
        for code in [400, 422] {
            let mut course = Course::default();
            assert_eq!(failed(&mut course, code, "Invalid"), Next::Pages, "{code}");
            assert_eq!(failed(&mut course, code, "Invalid"), Next::Pages, "{code}");
        }
        let mut course = Course::default();
        assert_eq!(failed(&mut course, 403, "Forbidden"), Next::Stream);
        assert_eq!(course.failed(&Fault::Silent, 0.0), Duration::ZERO);
        assert_eq!(course.next(), Next::Pages, "one that ignores the question never ends the list");
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut course = Course::default();
        let broken = Fault::Broken(String::new());
        let pauses: Vec<u128> = (0..12).map(|_| course.failed(&broken, 1.0).as_millis()).collect();
        let want = [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(pauses, want);
        assert_eq!(course.failed(&broken, 0.0).as_secs(), 15, "half of it is chance");
        course.worked();
        assert_eq!(course.failed(&broken, 1.0).as_millis(), 50);
        let wait = Fault::of(status(429, ""), Some(Duration::from_secs(7)));
        assert_eq!(course.failed(&wait, 1.0).as_secs(), 7);
        let wait = Fault::of(status(503, ""), Some(Duration::from_secs(7_000)));
        assert_eq!(course.failed(&wait, 1.0), PAUSE_MAX);
    }
}
