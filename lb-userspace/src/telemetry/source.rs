//! What is known of a source that can be out of reach: when each of its feeds was last heard of, and what it has cost.
//!
//! Goes in: what `control` hears and what fails, feed by feed. Comes out: a [`SourceView`] for status and metrics. A feed is
//! one conversation with the source, for one kind of object in one place; feeds come and go, the counts of a kind stay.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// All feeds of a source.
#[derive(Debug, Default)]
pub struct Feeds {
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    address: String,
    feeds: Vec<Weak<Feed>>,
    kinds: BTreeMap<&'static str, Counts>,
    failure: Option<String>,
}

/// What the feeds of a kind have come to.
#[derive(Debug, Default, Clone)]
struct Counts {
    events: u64,
    relists: u64,
    errors: BTreeMap<&'static str, u64>,
}

/// One feed. It is forgotten when it is dropped.
#[derive(Debug)]
pub struct Feed {
    kind: &'static str,
    what: String,
    all: Arc<Feeds>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    opened: Instant,
    heard: Option<Instant>,
    open: bool,
    whole: bool,
    failure: Option<String>,
}

/// The source, for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceView {
    /// Where it is; empty until that is known.
    pub address: String,
    /// Seconds since the feed that was heard of longest ago was heard of; `None`: some feed never was.
    pub age_s: Option<u64>,
    /// What has not been read whole yet.
    pub waits_for: Vec<String>,
    /// What failed last, while something does not work.
    pub failure: Option<String>,
    /// By kind, in the order of their names.
    pub kinds: Vec<KindView>,
}

/// The feeds of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindView {
    /// The kind.
    pub kind: &'static str,
    /// Feeds that are wanted now.
    pub feeds: usize,
    /// Those of them that are open.
    pub open: usize,
    /// Seconds since the one that was heard of longest ago was heard of, or asked for when it never was.
    pub age_s: u64,
    /// Changes that were told so far.
    pub events: u64,
    /// How often everything was read again.
    pub relists: u64,
    /// What failed, by reason.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Feeds {
    /// The source is there.
    pub fn found(&self, address: &str) {
        address.clone_into(&mut held(&self.shared).address);
    }

    /// Something failed that is no feed's.
    pub fn failed(&self, failure: String) {
        held(&self.shared).failure = Some(failure);
    }

    /// A feed that is wanted from now on. `what` is for people: the objects that it tells of.
    #[must_use]
    pub fn open(self: &Arc<Self>, kind: &'static str, what: String, now: Instant) -> Arc<Feed> {
        let state = State { opened: now, heard: None, open: false, whole: false, failure: None };
        let feed = Arc::new(Feed { kind, what, all: self.clone(), state: Mutex::new(state) });
        let mut shared = held(&self.shared);
        shared.feeds.retain(|feed| feed.strong_count() > 0);
        shared.feeds.push(Arc::downgrade(&feed));
        shared.kinds.entry(kind).or_default();
        feed
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self, now: Instant) -> SourceView {
        let shared = held(&self.shared);
        let feeds: Vec<Arc<Feed>> = shared.feeds.iter().filter_map(Weak::upgrade).collect();
        let view = |(kind, counts): (&&'static str, &Counts)| {
            let Counts { events, relists, errors } = counts.clone();
            let mut view = KindView { kind, feeds: 0, open: 0, age_s: 0, events, relists, errors };
            for feed in feeds.iter().filter(|feed| feed.kind == *kind) {
                let state = held(&feed.state);
                view.feeds += 1;
                view.open += usize::from(state.open);
                let since = state.heard.unwrap_or(state.opened);
                view.age_s = view.age_s.max(now.saturating_duration_since(since).as_secs());
            }
            view
        };
        let kinds: Vec<KindView> = shared.kinds.iter().map(view).collect();
        let heard = !feeds.is_empty() && feeds.iter().all(|feed| held(&feed.state).heard.is_some());
        let age_s = kinds.iter().map(|kind| kind.age_s).max().filter(|_| heard);
        let failure = feeds.iter().find_map(|feed| held(&feed.state).failure.clone());
        let waits_for = feeds.iter().filter(|feed| !held(&feed.state).whole).map(|feed| feed.what.clone()).collect();
        let failure = failure.or_else(|| shared.failure.clone());
        SourceView { address: shared.address.clone(), age_s, waits_for, failure, kinds }
    }

    fn count(&self, kind: &'static str, count: impl FnOnce(&mut Counts)) {
        count(held(&self.shared).kinds.entry(kind).or_default());
    }
}

impl Feed {
    /// The objects that it tells of, for people.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The source said something.
    pub fn heard(&self, now: Instant) {
        let mut state = held(&self.state);
        (state.heard, state.open, state.failure) = (Some(now), true, None);
    }

    /// A change was told.
    pub fn event(&self) {
        self.all.count(self.kind, |counts| counts.events += 1);
    }

    /// Everything is read again.
    pub fn relists(&self) {
        self.all.count(self.kind, |counts| counts.relists += 1);
    }

    /// Everything was read.
    pub fn whole(&self) {
        held(&self.state).whole = true;
    }

    /// It is not open at the moment, without a fault.
    pub fn closed(&self) {
        held(&self.state).open = false;
    }

    /// It does not work, or something that it told could not be read.
    pub fn failed(&self, reason: &'static str, failure: Option<String>) {
        self.all.count(self.kind, |counts| *counts.errors.entry(reason).or_default() += 1);
        let mut state = held(&self.state);
        if failure.is_some() {
            (state.open, state.failure) = (false, failure);
        }
    }
}

/// A lock whose holder cannot leave it half changed: what a panicking thread left is still whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_feed_that_was_heard_of_longest_ago_is_the_age() {
        let (feeds, start) = (Arc::new(Feeds::default()), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let (one, two) = (feeds.open("Service", "a".into(), start), feeds.open("Service", "b".into(), start));
        one.heard(at(1));
        assert_eq!(feeds.view(at(5)).age_s, None, "one was never heard of");
        two.heard(at(4));
        one.event();
        one.failed("gone", None);
        two.failed("connect", Some("refused".into()));
        let view = feeds.view(at(10));
        assert_eq!((view.age_s, view.failure.as_deref()), (Some(9), Some("refused")));
        assert_eq!(view.waits_for, ["a", "b"]);
        let kind = &view.kinds[0];
        assert_eq!((kind.feeds, kind.open, kind.age_s, kind.events), (2, 1, 9, 1));
        assert_eq!(kind.errors, BTreeMap::from([("gone", 1), ("connect", 1)]));
        one.whole();
        drop(two);
        let view = feeds.view(at(10));
        assert_eq!((view.waits_for.len(), view.failure, view.kinds[0].feeds), (0, None, 1));
        assert_eq!(view.kinds[0].errors.len(), 2, "counts stay");
    }
}
