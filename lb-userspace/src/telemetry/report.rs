//! What was written into the API of a cluster, for status and metrics.

use serde::Serialize;

/// The state of reporting, at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReportView {
    /// Whether this agent is the one that writes statuses and Events.
    pub leader: bool,
    /// How often it became that.
    pub elections: u64,
    /// Writes that were tried.
    pub writes: Vec<Written>,
    /// Statuses that wait to be written.
    pub statuses_waiting: usize,
    /// Events that wait to be written for the first time.
    pub events_waiting: usize,
    /// Problems that have no Event now because there are too many, of one object or of all.
    pub events_held_back: usize,
    /// Events that were put off because of the bound for one object.
    pub events_deferred: u64,
    /// Waits for the bound on all writes.
    pub throttled: u64,
}

/// Writes of one sort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// `lease`, `status` or `event`.
    pub subject: &'static str,
    /// What became of them.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}
