//! What is kept of a connection that the kernel carries: its place at the endpoint, and its line of the access log.
//!
//! Goes in: a [`Line`] as far as userspace came, and at the end what the kernel carried. Comes out: counters and a line of
//! the log. All of it may happen on any thread: accounts hold nothing of a worker.

use super::{Account, Splicing};
use crate::proxy::record::Line;
use crate::telemetry::AccessLog;
use lb_core::balance::Occupied;
use lb_core::handoff::{Carried, Ending};
use std::sync::{Arc, Mutex, PoisonError};

/// What all accounts write to.
#[derive(Debug)]
pub struct Ledger {
    /// How connections are handed over.
    pub splicing: Splicing,
    log: AccessLog,
    /// Counters have one writer at a time, and accounts are closed by whoever learns that it is over.
    writing: Mutex<()>,
}

/// One connection.
#[derive(Debug)]
pub struct Entry {
    ledger: Arc<Ledger>,
    service: String,
    line: Line,
    /// Balancing counts the connection as long as this is held.
    place: Option<Occupied>,
}

impl Ledger {
    /// An empty one.
    pub fn new(splicing: Splicing, log: AccessLog) -> Self {
        Self { splicing, log, writing: Mutex::default() }
    }
}

impl Entry {
    /// Opens the account of a connection to an endpoint of `service`.
    pub fn open(ledger: Arc<Ledger>, service: String, line: Line, place: Option<Occupied>) -> Box<Self> {
        Box::new(Self { ledger, service, line, place })
    }
}

impl Account for Entry {
    fn service(&self) -> &str {
        &self.service
    }

    fn close(self: Box<Self>, carried: Carried) {
        let Self { ledger, mut line, place, .. } = *self;
        drop(place);
        line.bytes_received = line.bytes_received.saturating_add(carried.bytes_up);
        line.bytes_sent = line.bytes_sent.saturating_add(carried.bytes_down);
        line.status = carried.status.unwrap_or(line.status);
        line.error = carried.ending.and_then(word);
        let _one_writer = ledger.writing.lock().unwrap_or_else(PoisonError::into_inner);
        line.finish(&ledger.splicing.counters, &ledger.log);
    }
}

/// One word for the log; those that userspace has for the same are the same.
fn word(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Finished => None,
        Ending::ClientReset => Some("client-gone"),
        Ending::BackendReset => Some("upstream-closed"),
        Ending::Idle => Some("tunnel-idle"),
        Ending::BackendGone => Some("endpoint-gone"),
        Ending::Administrator => Some("administrator"),
    }
}
