//! The desk: everything that is to be written, in turn, within the bound.
//!
//! Goes in: states of the configuration, what became of writes; the time, as an argument. Comes out: the next [`Write`], or
//! when to ask again. Does no I/O and does not know who leads: whoever does asks it.

use super::address::{self, Address, Me};
use super::bucket::Bucket;
use super::counters::{Counters, Subject};
use super::ledger::{EventWrite, Ledger};
use super::outcome::{Outcome, pause_ms};
use super::status::{StatusWrite, Statuses};
use super::{Settings, State};
use crate::control::store::Store;
use crate::control::store::journal::Mark;
use lb_core::model::{Kind, ObjectRef};
use std::sync::Arc;

/// So many refusals in a row are about us, not about one object: a right is missing.
const REFUSALS_MAX: u32 = 10;

/// Of so many writes one is an Event, where both wait.
const EVENT_EVERY: u32 = 4;

/// A write that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Of a status.
    Status(StatusWrite),
    /// Of an Event.
    Event(EventWrite),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this, and tell [`Desk::done`].
    Write(Write),
    /// Nothing until then, or until something changes.
    Wait(Option<u64>),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    settings: Settings,
    statuses: Statuses,
    events: Ledger,
    bucket: Bucket,
    mark: Option<Mark>,
    /// Addresses that are not wanted yet, and since when they are there.
    settling: Option<(Arc<[Address]>, u64)>,
    others: Option<bool>,
    /// Nothing is written before: the API asked for patience, or does not answer.
    paused_until_ms: u64,
    failures: u32,
    refusals: u32,
    writes: u32,
    stopped: bool,
    counters: Counters,
}

impl Desk {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings, now_ms: u64) -> Self {
        let bucket = Bucket::new(settings.report.writes_per_s, settings.report.writes_burst, now_ms);
        let events = Ledger::new(settings.times, settings.controller_class.clone());
        Self {
            settings,
            statuses: Statuses::default(),
            events,
            bucket,
            mark: None,
            settling: None,
            others: None,
            paused_until_ms: 0,
            failures: 0,
            refusals: 0,
            writes: 0,
            stopped: false,
            counters: Counters::default(),
        }
    }

    /// Takes a state. One that is not whole is not looked at: what is missing in it would be taken for gone.
    pub fn tell(&mut self, state: State<'_>, now_ms: u64) {
        if self.stopped || !state.ready {
            return;
        }
        let State { store, served, problems, .. } = state;
        let changed: Option<Vec<Arc<ObjectRef>>> =
            self.mark.as_ref().and_then(|mark| store.changes(mark)).map(|names| names.cloned().collect());
        self.mark = Some(store.mark());
        if self.settings.report.has_status() {
            self.tell_statuses(changed.as_deref(), served, store, now_ms);
        }
        if self.settings.report.events {
            match &changed {
                Some(changed) => changed.iter().for_each(|name| self.events.observe(name, store)),
                None => self.events.observe_all(store),
            }
            let statuses = &self.statuses;
            self.events.tell(problems, store, |name| name.kind == Kind::Ingress && statuses.serves(name), now_ms);
        }
    }

    /// What to do now.
    pub fn next(&mut self, now_ms: u64) -> Next {
        if self.stopped {
            return Next::Wait(None);
        }
        let settled = self.settle(now_ms);
        let due = [self.statuses.due_ms(), self.events.due_ms(), settled].into_iter().flatten().min();
        let Some(due_ms) = due else { return Next::Wait(None) };
        let allowed_ms = self.paused_until_ms.max(self.bucket.ready_at_ms(now_ms));
        if due_ms > now_ms {
            return Next::Wait(Some(due_ms));
        }
        if allowed_ms > now_ms {
            self.counters.throttled += 1;
            return Next::Wait(Some(allowed_ms));
        }
        let Some(write) = self.pick(now_ms) else {
            let due = [self.statuses.due_ms(), self.events.due_ms(), settled].into_iter().flatten().min();
            return Next::Wait(due);
        };
        self.bucket.take(now_ms);
        self.writes = self.writes.wrapping_add(1);
        Next::Write(write)
    }

    /// What became of a write.
    pub fn done(&mut self, write: &Write, outcome: &Outcome, now_ms: u64) {
        match outcome {
            Outcome::Again { after_ms } => {
                let pause_ms = after_ms.unwrap_or_else(|| pause_ms(self.failures, now_ms));
                self.failures = self.failures.saturating_add(1);
                self.paused_until_ms = self.paused_until_ms.max(now_ms + pause_ms);
            }
            Outcome::Refused => {
                self.refusals += 1;
                if self.refusals >= REFUSALS_MAX {
                    self.refusals = 0;
                    self.paused_until_ms = now_ms + super::outcome::REFUSED_MS / 5;
                }
            }
            Outcome::Cut => {}
            _ => (self.failures, self.refusals) = (0, 0),
        }
        match write {
            Write::Status(write) => {
                self.counters.wrote(Subject::Status, outcome);
                self.statuses.done(write, outcome, now_ms);
            }
            Write::Event(write) => {
                self.counters.wrote(Subject::Event, outcome);
                self.events.done(write, outcome, now_ms);
            }
        }
    }

    /// Whether an agent other than this one is ready; who does not know takes it for so.
    #[must_use]
    pub fn others_are_ready(&self) -> bool {
        self.others.unwrap_or(true)
    }

    /// From now on nothing is done but to take back what is ours. Events are not written any more.
    pub fn clear(&mut self, now_ms: u64) {
        self.settings.report.events = false;
        self.settling = None;
        self.events = Ledger::new(self.settings.times, String::new());
        self.statuses.clear(now_ms);
    }

    /// Whether statuses stay when the last agent leaves.
    #[must_use]
    pub fn keeps_status(&self) -> bool {
        self.settings.report.keep_on_shutdown || !self.settings.report.has_status()
    }

    /// How many statuses wait.
    #[must_use]
    pub fn statuses_waiting(&self) -> usize {
        self.statuses.waiting()
    }

    /// From now on nothing is done.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Counters, with what waits now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            statuses_waiting: self.statuses.waiting(),
            events_waiting: self.events.waiting(),
            events_held_back: self.events.held_back(),
            events_deferred: self.events.deferred(),
            ..self.counters.clone()
        }
    }

    /// For what is counted elsewhere.
    pub fn count(&mut self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters);
    }

    fn tell_statuses(
        &mut self,
        changed: Option<&[Arc<ObjectRef>]>,
        served: Vec<Arc<ObjectRef>>,
        store: &Store,
        now_ms: u64,
    ) {
        self.statuses.serve(served, store, now_ms);
        match changed {
            Some(changed) => {
                for name in changed.iter().filter(|name| name.kind == Kind::Ingress) {
                    self.statuses.observe(name, store.ingress(name).map(|(_, ingress)| ingress), now_ms);
                }
            }
            None => self.statuses.observe_all(store, now_ms),
        }
        let report = &self.settings.report;
        if changed.is_none_or(|changed| changed.iter().any(|name| address::matters(report, name))) {
            let me = Me { pod: report.pod.as_deref(), node: self.settings.node.as_deref() };
            self.others = address::others_are_ready(report, me, store);
            let wanted: Arc<[Address]> = address::wanted(report, store).into();
            self.want(wanted, now_ms);
        }
    }

    /// Addresses of nodes come and go with every restart of an agent, and each change is a write to every Ingress: another
    /// list than the one that is published has to last a while.
    fn want(&mut self, wanted: Arc<[Address]>, now_ms: u64) {
        let published = !self.statuses.wanted().is_empty() || self.statuses.any_is_seen();
        if *self.statuses.wanted() == wanted {
            self.settling = None;
        } else if !self.settings.report.nodes || !self.settings.report.addresses.is_empty() || !published {
            self.settling = None;
            self.statuses.want(wanted, now_ms);
        } else if self.settling.as_ref().is_none_or(|(settling, _)| *settling != wanted) {
            self.settling = Some((wanted, now_ms));
        }
    }

    /// Takes addresses that lasted; answers when the others have.
    fn settle(&mut self, now_ms: u64) -> Option<u64> {
        let (_, since_ms) = self.settling.as_ref()?;
        let at_ms = since_ms + self.settings.settle_ms;
        if at_ms > now_ms {
            return Some(at_ms);
        }
        let (wanted, _) = self.settling.take()?;
        self.statuses.want(wanted, now_ms);
        None
    }

    fn pick(&mut self, now_ms: u64) -> Option<Write> {
        let event = |desk: &mut Self| desk.events.next(now_ms).map(Write::Event);
        let status = |desk: &mut Self| desk.statuses.next(now_ms).map(Write::Status);
        if self.writes % EVENT_EVERY == EVENT_EVERY - 1 {
            event(self).or_else(|| status(self))
        } else {
            status(self).or_else(|| event(self))
        }
    }
}

#[cfg(test)]
mod tests;
