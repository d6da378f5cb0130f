//! The ledger of Events: what was told about which object, and what is to be told next.
//!
//! Goes in: the Problems of a state, what became of writes; the time, as an argument. Comes out: one [`EventWrite`] at a
//! time. The same (object, field, reason, message) is one Event: it is made when it lasted a while, counted up while it
//! lasts so that it does not expire, and again when it comes back. A Normal Event says that all faults of an Ingress are
//! gone. Bounded for all objects and for each; what finds no room waits, is counted, and is told when there is some.

mod entry;
mod listing;
mod told;

use super::note::{self, Type};
use super::outcome::{Outcome, REFUSED_MS, pause_ms};
use crate::control::store::Store;
use entry::{Entry, Shown};
use foldhash::fast::RandomState;
use lb_core::Problem;
use lb_core::model::ObjectRef;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use told::{Told, uid};

/// Events that are remembered: as many as can be kept from expiring, at 20 writes a second and a repetition every 50
/// minutes (3.3 a second). At up to 1.2 KB each this is 12 MB; mostly it is 3.
pub const EVENTS_MAX: usize = 10_000;

/// Events of one object that last at once: more than fit on two screens of `kubectl describe`. The last one says how many
/// more there are.
pub const EVENTS_PER_OBJECT_MAX: usize = 20;

/// Reason of the Event that says that faults are gone.
pub const RESOLVED: &str = "Resolved";

/// Times of Events, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A Problem is told when it lasted this long: a manifest that is applied is wrong while half of it is there.
    pub settle_ms: u64,
    /// Faults are gone when none came back for this long.
    pub resolved_ms: u64,
    /// An Event that lasts is counted up this often: the API forgets it after an hour (`--event-ttl`).
    pub repeat_ms: u64,
    /// And one that comes and goes at most this often.
    pub again_ms: u64,
    /// An Event that lasts no more is remembered this long.
    pub forget_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { settle_ms: 2_000, resolved_ms: 10_000, repeat_ms: 3_000_000, again_ms: 300_000, forget_ms: 3_600_000 }
    }
}

/// Names an Event in the ledger.
pub type Key = u64;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Make it.
    Create,
    /// Count up what is there, whatever its count is.
    Adopt,
    /// Count up to this.
    Count(i32),
}

/// A write that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventWrite {
    /// Its name in the ledger.
    pub key: Key,
    /// What it is about.
    pub object: Arc<ObjectRef>,
    /// `metadata.uid` of that.
    pub uid: Arc<str>,
    /// Its type.
    pub type_: Type,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub note: Arc<str>,
    /// What to do.
    pub deed: Deed,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    times: Times,
    controller_class: String,
    hasher: RandomState,
    entries: HashMap<Key, Entry, RandomState>,
    objects: HashMap<Arc<ObjectRef>, Told, RandomState>,
    due: BTreeSet<(u64, Key)>,
    /// Entries that last no more, those that are forgotten already among them.
    gone: VecDeque<Key>,
    turn: u64,
    /// Entries that last, those that say that faults are gone not among them; of them those that did before this turn.
    lasting: usize,
    kept: usize,
    fresh: usize,
    held_back: usize,
    deferred: u64,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(times: Times, controller_class: impl Into<String>) -> Self {
        Self {
            times,
            controller_class: controller_class.into(),
            hasher: RandomState::default(),
            entries: HashMap::default(),
            objects: HashMap::default(),
            due: BTreeSet::new(),
            gone: VecDeque::new(),
            turn: 0,
            lasting: 0,
            kept: 0,
            fresh: 0,
            held_back: 0,
            deferred: 0,
        }
    }

    /// These are the Problems now, Faults first. `serves`: whether an Ingress is ours still.
    pub fn tell(&mut self, problems: &[Problem], store: &Store, serves: impl Fn(&ObjectRef) -> bool, now_ms: u64) {
        self.turn += 1;
        (self.held_back, self.kept, self.fresh) = (0, 0, 0);
        for problem in problems {
            if note::is_told(problem, store, &self.controller_class) {
                self.list(problem, store, now_ms);
            }
        }
        self.collect(now_ms);
        if self.kept < self.lasting {
            self.end_others(now_ms);
        }
        self.lasting = self.kept + self.fresh;
        self.resolve(serves, now_ms);
    }

    /// An object may be another one of the same name, or no more.
    pub fn observe(&mut self, object: &ObjectRef, store: &Store) {
        let Some(told) = self.objects.get(object) else { return };
        if store.get(object).is_some_and(|stored| uid(stored) == &*told.uid) {
            return;
        }
        let keys: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| *entry.object == *object).map(|(key, _)| *key).collect();
        for key in keys {
            let counts = |entry: &Entry| entry.lasts && entry.reason != RESOLVED;
            self.lasting -= usize::from(self.entries.get(&key).is_some_and(counts));
            self.forget(key);
        }
        self.objects.remove(object);
    }

    /// Any object may be another one of the same name, or no more.
    pub fn observe_all(&mut self, store: &Store) {
        let names: Vec<Arc<ObjectRef>> = self.objects.keys().cloned().collect();
        names.iter().for_each(|name| self.observe(name, store));
    }

    /// How many Events wait to be made.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.entries.values().filter(|entry| entry.lasts && entry.shown == Shown::No).count()
    }

    /// How many Problems have none, for want of room.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.held_back
    }

    /// How often one was put off because of its object's bound.
    #[must_use]
    pub fn deferred(&self) -> u64 {
        self.deferred
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the next write is due.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// The write that is due, if one is. It counts as under way until [`Self::done`].
    pub fn next(&mut self, now_ms: u64) -> Option<EventWrite> {
        while let Some((due_ms, key)) = self.due.first().copied() {
            if due_ms > now_ms {
                return None;
            }
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.lasts) else {
                self.forget(key);
                continue;
            };
            if let Some(told) = self.objects.get_mut(&entry.object)
                && let Err(ready_at_ms) = told.take(now_ms)
            {
                self.deferred += 1;
                self.put(key, ready_at_ms);
                continue;
            }
            let write = entry.write(key);
            self.take_out(key);
            return Some(write);
        }
        None
    }

    /// What became of a write.
    pub fn done(&mut self, write: &EventWrite, outcome: &Outcome, now_ms: u64) {
        let (key, times) = (write.key, self.times);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let failures = entry.failures;
        entry.failures = if matches!(outcome, Outcome::Done { .. }) { 0 } else { failures.saturating_add(1) };
        let again_ms = match outcome {
            Outcome::Done { count, .. } => {
                entry.shown = Shown::Times(*count, now_ms);
                let fault = entry.type_ == Type::Warning;
                let once = entry.reason == RESOLVED;
                entry.lasts &= !once;
                if let Some(told) = self.objects.get_mut(&write.object) {
                    told.owed = (told.owed || fault) && !once;
                }
                if once {
                    return self.leave_be(key, now_ms + times.forget_ms);
                }
                // A tenth earlier, some of them, so that what was told at once is not repeated at once.
                now_ms + times.repeat_ms - key % (times.repeat_ms / 10 + 1)
            }
            Outcome::Exists => {
                entry.shown = Shown::Somewhere;
                now_ms
            }
            // An Event that is counted up may have expired; one that is made has no namespace to be in.
            Outcome::Gone if write.deed != Deed::Create => {
                entry.shown = Shown::No;
                now_ms
            }
            Outcome::Gone => now_ms + times.repeat_ms,
            Outcome::Cut => now_ms,
            Outcome::Refused => now_ms + REFUSED_MS,
            Outcome::Again { after_ms } => now_ms + after_ms.unwrap_or_default().max(pause_ms(failures, key)),
            Outcome::Conflict => now_ms + pause_ms(failures, key),
        };
        self.put(key, again_ms);
    }

    /// Forgets something that lasts no more, to make room.
    fn make_room(&mut self) -> bool {
        while let Some(key) = self.gone.pop_front() {
            if self.entries.get(&key).is_some_and(|entry| !entry.lasts) {
                self.forget(key);
                return true;
            }
        }
        false
    }

    fn put(&mut self, key: Key, due_ms: u64) {
        self.take_out(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due_ms = Some(due_ms);
            self.due.insert((due_ms, key));
        }
    }

    fn take_out(&mut self, key: Key) {
        if let Some(due_ms) = self.entries.get_mut(&key).and_then(|entry| entry.due_ms.take()) {
            self.due.remove(&(due_ms, key));
        }
    }

    fn forget(&mut self, key: Key) {
        self.take_out(key);
        let Some(entry) = self.entries.remove(&key) else { return };
        if let Some(told) = self.objects.get_mut(&entry.object) {
            told.entries -= 1;
            if told.entries == 0 {
                self.objects.remove(&entry.object);
            }
        }
        if self.gone.len() > 2 * EVENTS_MAX {
            self.gone.retain(|key| self.entries.get(key).is_some_and(|entry| !entry.lasts));
        }
    }
}

#[cfg(test)]
mod tests;
