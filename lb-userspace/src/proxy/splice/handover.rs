//! The end of our part: a connection that the kernel carries is let go of, and its account opened.
//!
//! Goes in: what was decided, both connections and the place at the endpoint. Comes out: nothing; whoever carries it tells
//! the account how it ended.

use super::account::{Entry, Ledger};
use super::pass::Wait;
use crate::proxy::client::Client;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::record::Line;
use crate::proxy::select::Seat;
use crate::proxy::worker::Worker;
use crate::telemetry::connections::Why;
use lb_core::balance::Occupied;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A connection that the kernel carries, with all that is to be closed or told.
#[derive(Debug)]
pub struct Handover {
    wait: Wait,
    backend: TcpStream,
    service: String,
    place: Option<Occupied>,
    ledger: Arc<Ledger>,
    /// The line of the access log, once it is as far as userspace comes.
    pub line: Option<Line>,
}

impl Handover {
    /// Of a connection to an endpoint, where it has a seat. Only plain ones are offered.
    pub fn new(wait: Wait, endpoint: Endpoint, mut seat: Seat, worker: &Worker) -> Option<Box<Self>> {
        let (Endpoint::Tcp(backend), Some(ledger)) = (endpoint, worker.splicing.clone()) else { return None };
        worker.counters.connections.count(Why::Class(wait.offer.reason));
        // What it answered is the kernel's to know; that it did, and when, is what balancing wants.
        seat.answered(0);
        let service = seat.service_name();
        Some(Box::new(Self { wait, backend, service, place: seat.occupied(), ledger, line: None }))
    }

    /// Gives both sockets away. Where the runtime does not let go of one, the pair is reset: what is pending does that when
    /// it is dropped.
    pub fn complete(self, client: Client) {
        let (Client::Plain(client), Some(line)) = (client, self.line) else { return };
        let (Ok(client), Ok(backend)) = (client.into_std(), self.backend.into_std()) else { return };
        let account = Entry::open(self.ledger, self.service, line, self.place);
        self.wait.pending.surrender(client.into(), backend.into(), account);
    }
}
