//! The ledger of Events: what was told about which object, and what is to be told next.
//!
//! Goes in: the Problems of a state, what became of writes; the time, as an argument. Comes out: one [`EventWrite`] at a
//! time. The same (object, field, reason, message) is one Event: it is made when it lasted a while, counted up while it
//! lasts so that it does not expire, and again when it comes back. A Normal Event says that all faults of an Ingress are
//! gone. Bounded for all objects and for each; what finds no room waits, is counted, and is told when there is some.

mod entry;

use super::bucket::Bucket;
use super::note::{self, Type};
use super::outcome::{Outcome, REFUSED_MS, pause_ms};
use crate::control::reason;
use crate::control::store::{Store, Stored};
use entry::{Entry, Shown};
use foldhash::fast::RandomState;
use lb_core::Problem;
use lb_core::model::ObjectRef;
use lb_core::problem::Severity;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Events that are remembered: as many as can be kept from expiring, at 20 writes a second and a repetition every 50
/// minutes (3.3 a second). At up to 1.2 KB each this is 12 MB; mostly it is 3.
pub const EVENTS_MAX: usize = 10_000;

/// Events of one object that last at once: more than fit on two screens of `kubectl describe`. The last one says how many
/// more there are.
pub const EVENTS_PER_OBJECT_MAX: usize = 20;

/// Writes for one object: this many at once, then one a minute. What flaps fills its own bucket only.
const OBJECT_BURST: u32 = 2 * EVENTS_PER_OBJECT_MAX as u32;
const MINUTE: u64 = 60;

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

/// An object that something was told about.
#[derive(Debug)]
struct Told {
    uid: Arc<str>,
    bucket: Bucket,
    entries: usize,
    /// Of this turn.
    turn: u64,
    listed: usize,
    more: usize,
    faults: bool,
    /// A fault was told, and that it is gone was not.
    owed: bool,
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
                && !told.bucket.take(now_ms / MINUTE)
            {
                let ready_at_ms = (told.bucket.ready_at_ms(now_ms / MINUTE) + 1) * MINUTE;
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
                let Some(entry) = self.entries.get(&key) else { return };
                // A tenth earlier or later, so that what was told at once is not repeated at once.
                let spread = key % (times.repeat_ms / 10 + 1);
                if entry.lasts { now_ms + times.repeat_ms - spread } else { now_ms + times.forget_ms }
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

    /// Lists a Problem, if there is room.
    fn list(&mut self, problem: &Problem, store: &Store, now_ms: u64) {
        let key = self.hasher.hash_one((&problem.object, &problem.field, problem.reason, &problem.message));
        let turn = self.turn;
        let told = match self.objects.get_mut(&problem.object) {
            Some(told) => told,
            None => {
                if self.entries.len() >= EVENTS_MAX && !self.make_room() {
                    self.held_back += 1;
                    return;
                }
                let Some(stored) = store.get(&problem.object) else { return };
                let uid: Arc<str> = uid(stored).into();
                self.objects.entry(Arc::new(problem.object.clone())).or_insert_with(|| Told::new(uid))
            }
        };
        told.begin(turn);
        told.faults |= problem.severity == Severity::Fault;
        if told.listed >= EVENTS_PER_OBJECT_MAX - 1 {
            told.more += 1;
            self.held_back += 1;
            return;
        }
        told.listed += 1;
        self.hold(key, &problem.object, problem.severity.into(), problem.reason, || note::note(problem), now_ms);
    }

    /// Says of objects with too many Problems how many there are besides.
    fn collect(&mut self, now_ms: u64) {
        if self.held_back == 0 {
            return;
        }
        let turn = self.turn;
        let crowded: Vec<(Arc<ObjectRef>, usize)> = self
            .objects
            .iter()
            .filter(|(_, told)| told.turn == turn && told.more > 0)
            .map(|(name, told)| (name.clone(), told.more))
            .collect();
        for (object, more) in crowded {
            let text = || {
                format!(
                    "{more} more Problems of this object are not shown here. Remedy: `sluice problems` lists them; mend these first."
                )
            };
            let key = self.hasher.hash_one((&*object, reason::MORE_PROBLEMS, more));
            self.hold(key, &object, Type::Warning, reason::MORE_PROBLEMS, text, now_ms);
        }
    }

    /// Makes an entry last, in this turn at least, if there is room.
    fn hold(
        &mut self,
        key: Key,
        object: &ObjectRef,
        type_: Type,
        reason: &'static str,
        note: impl FnOnce() -> String,
        now_ms: u64,
    ) {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.turn == self.turn {
                return;
            }
            entry.turn = self.turn;
            if entry.lasts {
                self.kept += 1
            } else {
                self.fresh += 1
            }
            if !entry.lasts {
                entry.lasts = true;
                let due_ms = match entry.shown {
                    Shown::Times(_, at_ms) => at_ms.saturating_add(self.times.again_ms),
                    Shown::No | Shown::Somewhere => 0,
                };
                self.put(key, due_ms.max(now_ms + self.times.settle_ms));
            }
            return;
        }
        if self.entries.len() >= EVENTS_MAX && !self.make_room() {
            self.held_back += 1;
            return;
        }
        let Some((object, told)) =
            self.objects.get_key_value(object).map(|(object, told)| (object.clone(), told.uid.clone()))
        else {
            return;
        };
        self.fresh += 1;
        if let Some(told) = self.objects.get_mut(&object) {
            told.entries += 1;
        }
        let entry = Entry {
            object,
            uid: told,
            type_,
            reason,
            note: note().into(),
            shown: Shown::No,
            lasts: true,
            turn: self.turn,
            failures: 0,
            due_ms: None,
        };
        self.entries.insert(key, entry);
        self.put(key, now_ms + self.times.settle_ms);
    }

    /// What was not listed this turn lasts no more.
    fn end_others(&mut self, now_ms: u64) {
        let turn = self.turn;
        let over = |entry: &&mut Entry| entry.lasts && entry.turn != turn && entry.reason != RESOLVED;
        let mut ended = Vec::new();
        for (key, entry) in self.entries.iter_mut().map(|(key, entry)| (*key, entry)).filter(|(_, entry)| over(&entry))
        {
            entry.lasts = false;
            ended.push((key, entry.shown));
        }
        for (key, shown) in ended {
            match shown {
                Shown::No => self.forget(key),
                Shown::Somewhere => self.leave_be(key, now_ms + self.times.forget_ms),
                Shown::Times(_, at_ms) => self.leave_be(key, at_ms + self.times.forget_ms),
            }
        }
    }

    fn leave_be(&mut self, key: Key, until_ms: u64) {
        self.gone.push_back(key);
        self.put(key, until_ms);
    }

    /// Owes a good word to Ingresses whose faults are gone, and takes it back where they are not.
    fn resolve(&mut self, serves: impl Fn(&ObjectRef) -> bool, now_ms: u64) {
        let turn = self.turn;
        let mut good = Vec::new();
        for (object, told) in self.objects.iter().filter(|(_, told)| told.owed) {
            good.push((object.clone(), !(told.turn == turn && told.faults) && serves(object)));
        }
        for (object, mended) in good {
            let key = self.hasher.hash_one((&*object, RESOLVED));
            let lasts = self.entries.get(&key).is_some_and(|entry| entry.lasts);
            if mended && !lasts {
                let text = || "All faults of this object are mended.".to_owned();
                self.hold(key, &object, Type::Normal, RESOLVED, text, now_ms);
                if let Some(entry) = self.entries.get(&key) {
                    let due_ms = entry.due_ms.unwrap_or(now_ms).max(now_ms + self.times.resolved_ms);
                    self.put(key, due_ms);
                }
            } else if !mended && lasts {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.lasts = false;
                }
                self.leave_be(key, now_ms + self.times.forget_ms);
            }
        }
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

impl Told {
    fn new(uid: Arc<str>) -> Self {
        // One token for each second of a clock that runs sixty times slower.
        Self {
            uid,
            bucket: Bucket::new(1, OBJECT_BURST, 0),
            entries: 0,
            turn: 0,
            listed: 0,
            more: 0,
            faults: false,
            owed: false,
        }
    }

    fn begin(&mut self, turn: u64) {
        if self.turn != turn {
            (self.turn, self.listed, self.more, self.faults) = (turn, 0, 0, false);
        }
    }
}

fn uid(stored: &Stored) -> &str {
    stored.object.metadata().uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
