//! Statuses: which Ingresses are to have another `status.loadBalancer.ingress` than they have.
//!
//! Goes in: which Ingresses are served, what their status is, which addresses are wanted, what became of writes; the time,
//! as an argument. Comes out: one [`StatusWrite`] at a time. A status that is as wanted is never written. One that is not
//! ours is written over while its Ingress is served, and left alone else: taken back is only what is exactly ours.

use super::address::{self, Address};
use super::outcome::{Outcome, REFUSED_MS, pause_ms};
use crate::control::store::Store;
use foldhash::fast::{FixedState, RandomState};
use k8s_openapi::api::networking::v1::Ingress;
use lb_core::model::ObjectRef;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

/// How long after a write an older state of the object may come from the watch, milliseconds.
const ECHO_MS: u64 = 10_000;

/// First and last time between two writes to one Ingress, milliseconds: where somebody else writes what he wants each time
/// we did, neither should fill the API.
const GAP_MS_MIN: u64 = 2_000;
const GAP_MS_MAX: u64 = 600_000;

/// A write that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusWrite {
    /// The Ingress.
    pub object: Arc<ObjectRef>,
    /// What its status is to have; empty: nothing.
    pub addresses: Arc<[Address]>,
    /// The state that this was decided upon.
    pub version: Option<Box<str>>,
}

/// All statuses that are, or were, ours.
#[derive(Debug, Default)]
pub struct Statuses {
    wanted: Arc<[Address]>,
    served: Vec<Arc<ObjectRef>>,
    known: HashMap<Arc<ObjectRef>, Known, RandomState>,
    due: BTreeSet<(u64, Arc<ObjectRef>)>,
    /// Everything is taken back.
    clearing: bool,
}

#[derive(Debug, Default)]
struct Known {
    served: bool,
    seen: Arc<[Address]>,
    version: Option<Box<str>>,
    /// The last status that was ours.
    ours: Arc<[Address]>,
    /// The state that our last write made: older ones are not listened to until this time.
    echo: Option<(Box<str>, u64)>,
    wrote_ms: Option<u64>,
    /// Writes in short time, one after the other.
    rounds: u32,
    failures: u32,
    due_ms: Option<u64>,
}

impl Statuses {
    /// These addresses are wanted from now on.
    pub fn want(&mut self, wanted: Arc<[Address]>, now_ms: u64) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.look_at_all(now_ms);
        }
    }

    /// The addresses that are wanted.
    #[must_use]
    pub fn wanted(&self) -> &Arc<[Address]> {
        &self.wanted
    }

    /// Whether an Ingress is served.
    #[must_use]
    pub fn serves(&self, name: &ObjectRef) -> bool {
        self.known.get(name).is_some_and(|known| known.served)
    }

    /// These Ingresses are served from now on, in the order of the last time as far as they are the same.
    pub fn serve(&mut self, served: Vec<Arc<ObjectRef>>, store: &Store, now_ms: u64) {
        let same = |(a, b): (&Arc<ObjectRef>, &Arc<ObjectRef>)| Arc::ptr_eq(a, b) || a == b;
        if self.served.len() != served.len() || !self.served.iter().zip(&served).all(same) {
            let mut before: HashMap<&ObjectRef, (), RandomState> =
                self.served.iter().map(|name| (&**name, ())).collect();
            let new: Vec<Arc<ObjectRef>> =
                served.iter().filter(|name| before.remove(&***name).is_none()).cloned().collect();
            let gone: Vec<Arc<ObjectRef>> =
                self.served.iter().filter(|name| before.contains_key(&***name)).cloned().collect();
            for name in new {
                self.known.entry(name.clone()).or_default().served = true;
                self.observe(&name, store.ingress(&name).map(|(_, ingress)| ingress), now_ms);
            }
            for name in gone {
                if let Some(known) = self.known.get_mut(&name) {
                    known.served = false;
                }
                self.observe(&name, store.ingress(&name).map(|(_, ingress)| ingress), now_ms);
            }
        }
        self.served = served;
    }

    /// An Ingress may have changed; `None`: it is no more.
    pub fn observe(&mut self, name: &Arc<ObjectRef>, ingress: Option<&Ingress>, now_ms: u64) {
        let Some(known) = self.known.get_mut(name) else { return };
        let Some(ingress) = ingress else {
            if let Some(due_ms) = known.due_ms.take() {
                self.due.remove(&(due_ms, name.clone()));
            }
            if !known.served {
                self.known.remove(name);
            }
            return;
        };
        let version = ingress.metadata.resource_version.as_deref();
        if known.echo.as_ref().is_some_and(|(echo, until_ms)| now_ms < *until_ms && is_older(version, echo)) {
            return;
        }
        known.echo = None;
        known.version = version.map(Into::into);
        let seen = address::seen(ingress);
        // Almost all statuses are what is wanted: they share its memory.
        known.seen = if seen[..] == self.wanted[..] { self.wanted.clone() } else { seen.into() };
        if known.served && known.seen == self.wanted && !self.clearing {
            known.ours = self.wanted.clone();
        }
        known.failures = 0;
        self.look_at(name, now_ms);
    }

    /// Looks at all Ingresses that are known.
    pub fn observe_all(&mut self, store: &Store, now_ms: u64) {
        let names: Vec<Arc<ObjectRef>> = self.known.keys().cloned().collect();
        for name in names {
            self.observe(&name, store.ingress(&name).map(|(_, ingress)| ingress), now_ms);
        }
    }

    /// Whether an Ingress that is served has a status, of whomever.
    #[must_use]
    pub fn any_is_seen(&self) -> bool {
        self.known.values().any(|known| known.served && !known.seen.is_empty())
    }

    /// Everything that is ours is to be taken back.
    pub fn clear(&mut self, now_ms: u64) {
        self.clearing = true;
        self.look_at_all(now_ms);
    }

    /// How many writes wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// When the next write is due.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// The write that is due, if one is. It counts as under way until [`Self::done`].
    pub fn next(&mut self, now_ms: u64) -> Option<StatusWrite> {
        while let Some((due_ms, name)) = self.due.first().cloned() {
            if due_ms > now_ms {
                return None;
            }
            self.due.pop_first();
            let Some(known) = self.known.get_mut(&name) else { continue };
            known.due_ms = None;
            if let Some(addresses) = change(&self.wanted, self.clearing, known) {
                return Some(StatusWrite { object: name, addresses, version: known.version.clone() });
            }
        }
        None
    }

    /// What became of a write.
    pub fn done(&mut self, write: &StatusWrite, outcome: &Outcome, now_ms: u64) {
        let Some(known) = self.known.get_mut(&write.object) else { return };
        let spread = FixedState::default().hash_one(&write.object);
        let again_ms = match outcome {
            Outcome::Done { version, .. } => {
                let soon = known.wrote_ms.is_some_and(|wrote| now_ms < wrote.saturating_add(2 * GAP_MS_MAX));
                known.rounds = if soon { known.rounds.saturating_add(1) } else { 0 };
                (known.seen, known.ours) = (write.addresses.clone(), write.addresses.clone());
                (known.wrote_ms, known.failures) = (Some(now_ms), 0);
                known.version = Some(version.clone());
                known.echo = Some((version.clone(), now_ms + ECHO_MS));
                if !known.served && !self.clearing {
                    self.forget(&write.object);
                    return;
                }
                // The addresses may have changed meanwhile.
                return self.look_at(&write.object, now_ms);
            }
            Outcome::Gone => return self.forget(&write.object),
            Outcome::Cut => now_ms,
            Outcome::Refused => now_ms + REFUSED_MS,
            Outcome::Again { after_ms } => now_ms + after_ms.unwrap_or_default().max(pause_ms(known.failures, spread)),
            // The watch brings the newer state, and with it another look.
            Outcome::Conflict | Outcome::Exists => now_ms + pause_ms(known.failures, spread),
        };
        known.failures = known.failures.saturating_add(1);
        self.put(&write.object, again_ms);
    }

    fn look_at_all(&mut self, now_ms: u64) {
        let names: Vec<Arc<ObjectRef>> = self.known.keys().cloned().collect();
        for name in names {
            self.look_at(&name, now_ms);
        }
    }

    fn look_at(&mut self, name: &Arc<ObjectRef>, now_ms: u64) {
        let Some(known) = self.known.get_mut(name) else { return };
        if known.served && known.seen == self.wanted && !self.clearing {
            known.ours = self.wanted.clone();
        }
        if change(&self.wanted, self.clearing, known).is_some() {
            let gap_ms = GAP_MS_MIN.saturating_mul(1 << known.rounds.min(16)).min(GAP_MS_MAX);
            let earliest = known.wrote_ms.filter(|_| !self.clearing).map_or(0, |wrote| wrote.saturating_add(gap_ms));
            return self.put(name, now_ms.max(earliest));
        }
        if let Some(due_ms) = known.due_ms.take() {
            self.due.remove(&(due_ms, name.clone()));
        }
        if !known.served && !self.clearing {
            self.forget(name);
        }
    }

    fn put(&mut self, name: &Arc<ObjectRef>, due_ms: u64) {
        let Some(known) = self.known.get_mut(name) else { return };
        if let Some(before) = known.due_ms.replace(due_ms) {
            self.due.remove(&(before, name.clone()));
        }
        self.due.insert((due_ms, name.clone()));
    }

    /// What is served stays known: what it is comes with its next change.
    fn forget(&mut self, name: &Arc<ObjectRef>) {
        let Some(known) = self.known.get_mut(name) else { return };
        if let Some(due_ms) = known.due_ms.take() {
            self.due.remove(&(due_ms, name.clone()));
        }
        if !known.served {
            self.known.remove(name);
        }
    }
}

/// What is to be written, if anything is.
fn change(wanted: &Arc<[Address]>, clearing: bool, known: &Known) -> Option<Arc<[Address]>> {
    if known.served && !clearing && !wanted.is_empty() {
        return (known.seen != *wanted).then(|| wanted.clone());
    }
    (!known.seen.is_empty() && known.seen == known.ours).then(Arc::default)
}

/// Whether a version is from before another. They are to be compared as numbers (KEP-5504); what is none is not older.
fn is_older(version: Option<&str>, than: &str) -> bool {
    match (version.and_then(|version| version.parse::<u128>().ok()), than.parse::<u128>()) {
        (Some(version), Ok(than)) => version < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
