//! Faults: what the server is told to do wrong.
//!
//! Goes in: a test's wishes, at any time, from any thread. Comes out: what each request and each watch has to obey. Does
//! not do: choosing faults by chance; a test says what happens.

use super::failure::Failure;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a watch that asked for bookmarks gets one. The real server: about once a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

/// How long closing or opening the port may take.
const OBEY_MAX: Duration = Duration::from_secs(10);

/// What is wrong at the moment. Everything begins right.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
    breaks: watch::Sender<Break>,
    hanging: watch::Sender<bool>,
    away: watch::Sender<bool>,
    is_closed: AtomicBool,
}

/// The faults that are looked up when they matter.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub refusals: Vec<Refusal>,
    pub list_delay: Duration,
    pub delays: BTreeMap<String, Duration>,
    pub duplicates: bool,
    pub watch_events_max: Option<usize>,
    pub is_streaming_refused: bool,
    pub is_expiry_streamed: bool,
    pub skew_s: i64,
    pub bookmark_every: Duration,
}

/// Requests that are refused instead of answered.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    left: usize,
    code: u16,
    verb: String,
    resource: String,
}

/// How often watches were ended, and how the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Break {
    pub number: u64,
    /// With an ERROR event of 410, else the connection just ends.
    pub is_expiry: bool,
}

impl Faults {
    pub(super) fn new() -> Self {
        let state = State {
            refusals: Vec::new(),
            list_delay: Duration::ZERO,
            delays: BTreeMap::new(),
            duplicates: false,
            watch_events_max: None,
            is_streaming_refused: false,
            is_expiry_streamed: false,
            skew_s: 0,
            bookmark_every: BOOKMARK_EVERY,
        };
        let (breaks, _) = watch::channel(Break::default());
        Self {
            state: Mutex::new(state),
            breaks,
            hanging: watch::channel(false).0,
            away: watch::channel(false).0,
            is_closed: AtomicBool::new(false),
        }
    }

    /// Breaks off every watch now, in the middle of its body.
    pub fn disconnect_watches(&self) {
        self.breaks.send_modify(|last| *last = Break { number: last.number + 1, is_expiry: false });
    }

    /// Ends every watch now with an ERROR event, 410 Expired.
    pub fn expire_watches(&self) {
        self.breaks.send_modify(|last| *last = Break { number: last.number + 1, is_expiry: true });
    }

    /// Breaks off each watch after it sent so many events (bookmarks are none); `None` ends this fault.
    pub fn watch_events_max(&self, events: Option<usize>) {
        self.lock().watch_events_max = events;
    }

    /// Answers nothing at all while it is set; connections are accepted and stay open, watches are silent.
    pub fn hang(&self, hangs: bool) {
        self.hanging.send_replace(hangs);
    }

    /// Closes the port and every connection, or opens the same port again. It is done when this returns.
    ///
    /// # Panics
    /// When the server does not do it.
    pub fn go_away(&self, is_away: bool) {
        self.away.send_replace(is_away);
        let started = Instant::now();
        while self.is_closed.load(Ordering::SeqCst) != is_away {
            assert!(started.elapsed() < OBEY_MAX, "the API server did not close or open its port");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The listener says whether its port is closed.
    pub(super) fn is_closed(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::SeqCst);
    }

    /// Refuses the next requests: 429 and 503 say `Retry-After: 1`.
    pub fn refuse_next(&self, requests: usize, code: u16) {
        self.refuse_next_of("", "", requests, code);
    }

    /// Refuses the next requests of a verb (`list`, `watch`, …) and a resource (`ingresses`); empty is any.
    pub fn refuse_next_of(&self, verb: &str, resource: &str, requests: usize, code: u16) {
        let (verb, resource) = (verb.to_owned(), resource.to_owned());
        self.lock().refusals.push(Refusal { left: requests, code, verb, resource });
    }

    /// Lists take this much longer.
    pub fn slow_lists(&self, delay: Duration) {
        self.lock().list_delay = delay;
    }

    /// Watches of a resource (`endpointslices`) tell of a change this much later: kinds are reordered.
    pub fn delay_events(&self, resource: &str, delay: Duration) {
        self.lock().delays.insert(resource.to_owned(), delay);
    }

    /// Watches send every event twice.
    pub fn duplicate_events(&self, duplicates: bool) {
        self.lock().duplicates = duplicates;
    }

    /// Refuses `sendInitialEvents` with 422, as servers without the feature `WatchList` do.
    pub fn refuse_streaming_lists(&self, is_refused: bool) {
        self.lock().is_streaming_refused = is_refused;
    }

    /// Watches that begin too far back get 200 and an ERROR event with 410, as the real watch cache does, instead of 410.
    pub fn stream_expiry(&self, is_streamed: bool) {
        self.lock().is_expiry_streamed = is_streamed;
    }

    /// The server's clock is this much ahead (or behind, when negative).
    pub fn skew(&self, seconds: i64) {
        self.lock().skew_s = seconds;
    }

    /// How often watches get bookmarks.
    pub fn bookmark_every(&self, period: Duration) {
        self.lock().bookmark_every = period;
    }

    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    pub(super) fn skew_s(&self) -> i64 {
        self.lock().skew_s
    }

    pub(super) fn breaks(&self) -> watch::Receiver<Break> {
        self.breaks.subscribe()
    }

    pub(super) fn away(&self) -> watch::Receiver<bool> {
        self.away.subscribe()
    }

    /// Waits while the server hangs.
    pub(super) async fn wait_while_hanging(&self) {
        // The sender lives as long as this.
        let _ = self.hanging.subscribe().wait_for(|hangs| !hangs).await;
    }

    /// The refusal that this request has to get, if any.
    pub(super) fn refusal(&self, verb: &str, resource: &str) -> Option<Failure> {
        let mut state = self.lock();
        let fits = |r: &Refusal| {
            (r.verb.is_empty() || r.verb == verb) && (r.resource.is_empty() || r.resource == resource) && r.left > 0
        };
        let refusal = state.refusals.iter_mut().find(|r| fits(r))?;
        refusal.left -= 1;
        let code = refusal.code;
        state.refusals.retain(|r| r.left > 0);
        Some(match code {
            429 => Failure::new(429, "TooManyRequests", "Too many requests, please try again later.").retry_after(1),
            503 => Failure::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
                .retry_after(1),
            504 => Failure::new(504, "Timeout", "Timeout: request did not complete within the allotted timeout"),
            code => Failure::new(code, "InternalError", "Internal error occurred: as asked by the test"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
