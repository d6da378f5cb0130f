//! Listing: what a state of the configuration makes of the ledger.
//!
//! Goes in: the Problems of a state, one after the other. Comes out: entries that last, and times at which they are due.

use super::super::note::{self, Type};
use super::entry::{Entry, Shown};
use super::told::{Told, uid};
use super::{EVENTS_MAX, EVENTS_PER_OBJECT_MAX, Key, Ledger, RESOLVED};
use crate::control::reason;
use crate::control::store::Store;
use lb_core::Problem;
use lb_core::model::ObjectRef;
use lb_core::problem::Severity;
use std::hash::BuildHasher;
use std::sync::Arc;

impl Ledger {
    /// Lists a Problem, if there is room.
    pub(super) fn list(&mut self, problem: &Problem, store: &Store, now_ms: u64) {
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
    pub(super) fn collect(&mut self, now_ms: u64) {
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
                self.kept += 1;
            } else {
                self.fresh += 1;
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
    pub(super) fn end_others(&mut self, now_ms: u64) {
        let turn = self.turn;
        let mut ended = Vec::new();
        for (key, entry) in &mut self.entries {
            if entry.lasts && entry.turn != turn && entry.reason != RESOLVED {
                entry.lasts = false;
                ended.push((*key, entry.shown));
            }
        }
        for (key, shown) in ended {
            match shown {
                Shown::No => self.forget(key),
                Shown::Somewhere => self.leave_be(key, now_ms + self.times.forget_ms),
                Shown::Times(_, at_ms) => self.leave_be(key, at_ms + self.times.forget_ms),
            }
        }
    }

    pub(super) fn leave_be(&mut self, key: Key, until_ms: u64) {
        self.gone.push_back(key);
        self.put(key, until_ms);
    }

    /// Owes a good word to Ingresses whose faults are gone, and takes it back where they are not.
    pub(super) fn resolve(&mut self, serves: impl Fn(&ObjectRef) -> bool, now_ms: u64) {
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
}
