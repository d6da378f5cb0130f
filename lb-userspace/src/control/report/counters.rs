//! What is counted about writes to the API.

use super::outcome::Outcome;
use std::collections::BTreeMap;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The Lease.
    Lease,
    /// Status of an Ingress.
    Status,
    /// An Event.
    Event,
}

impl Subject {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Status => "status",
            Self::Event => "event",
        }
    }
}

/// The state of reporting, at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Whether this agent is the leader.
    pub leader: bool,
    /// How often it became the leader.
    pub elections: u64,
    /// Writes, by what is written and what became of it (names of [`Outcome`]).
    pub writes: BTreeMap<(Subject, &'static str), u64>,
    /// Statuses that wait to be written, those of later among them.
    pub statuses_waiting: usize,
    /// Events that wait to be written for the first time.
    pub events_waiting: usize,
    /// Problems that have no Event now because there are too many: of one object, or of all.
    pub events_held_back: usize,
    /// Events that were put off because of the bound for one object.
    pub events_deferred: u64,
    /// Waits for the bound on all writes.
    pub throttled: u64,
}

impl Counters {
    /// Counts a write.
    pub fn wrote(&mut self, subject: Subject, outcome: &Outcome) {
        *self.writes.entry((subject, outcome.name())).or_default() += 1;
    }

    /// How many writes of a kind were tried.
    #[must_use]
    pub fn tried(&self, subject: Subject) -> u64 {
        self.writes.iter().filter(|((of, _), _)| *of == subject).map(|(_, count)| count).sum()
    }

    /// How many writes of a kind were taken.
    #[must_use]
    pub fn done(&self, subject: Subject) -> u64 {
        self.writes.get(&(subject, "done")).copied().unwrap_or_default()
    }
}
