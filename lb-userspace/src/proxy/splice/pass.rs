//! A hand-off as far as the answer: a socket that can be joined, what is made ready before the request is written, and the
//! wait for who carries it.
//!
//! Goes in: an [`Offer`] with an endpoint. Comes out: a connection to it, joined or not, and then [`Met`]. A refusal at any
//! step leaves everything as if nothing had been asked. What follows is [`super::handover`].

use super::Pending;
use super::offer::Offer;
use crate::proxy::clock::Deadline;
use crate::proxy::relay::{Failure, Head, Relay};
use crate::proxy::select::Seat;
use crate::proxy::upstream::{Unreachable, connect};
use crate::proxy::worker::Worker;
use crate::telemetry::connections::Why;
use lb_core::handoff::{Apart, Decision};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What a connection is dialled with.
#[derive(Debug, Clone, Copy)]
pub struct Dial<'a> {
    /// The worker.
    pub worker: &'a Worker,
    /// The client's connection.
    pub client: &'a TcpStream,
    /// The deadline of its task.
    pub deadline: &'a Deadline,
    /// The place at an endpoint.
    pub seat: &'a Seat,
    /// Until the connection stands, milliseconds.
    pub connect_ms_max: u64,
    /// What is written first.
    pub ahead: &'a [u8],
}

/// A connection to an endpoint that has what goes before the request.
#[derive(Debug)]
pub struct Dialled {
    /// It.
    pub tcp: TcpStream,
    /// What is to be decided; `None`: userspace carries it.
    pub wait: Option<Wait>,
}

/// A request is under way, and who carries its connection is not decided yet.
#[derive(Debug)]
pub struct Wait {
    /// What is asked.
    pub pending: Box<dyn Pending>,
    /// What was offered.
    pub offer: Offer,
}

/// What came first.
pub enum Met {
    /// The kernel carries it.
    Carried(Wait),
    /// Userspace does, and no answer is here yet.
    Ours,
    /// Userspace does, with this answer or failure.
    Head(Result<Head, Failure>),
}

/// Opens a connection to an endpoint that can be joined, makes everything ready, and writes what goes first. `None` when
/// there can be none: the ordinary way is taken then. The offer stays for the next endpoint only where this one was not
/// reached.
///
/// # Errors
/// [`Unreachable`], when there is none within the limit for connecting.
pub async fn dial(dial: Dial<'_>, offer: &mut Option<Offer>) -> Result<Option<Dialled>, Unreachable> {
    let Dial { worker, client, deadline, seat, connect_ms_max, ahead } = dial;
    let (Some(wanted), Some(ledger)) = (*offer, &worker.splicing) else { return Ok(None) };
    let splice = &*ledger.splicing.splice;
    let mut withdraw = |apart| {
        *offer = None;
        refuse(worker, wanted, apart);
    };
    let socket = match splice.socket(client.as_fd(), seat.endpoint()) {
        Ok(socket) => socket,
        Err(apart) => {
            withdraw(apart);
            return Ok(None);
        }
    };
    let _waiting = seat.wait().ok_or(Unreachable::Crowded)?;
    let connected = connect::dial(seat.endpoint(), Some(socket), connect_ms_max, deadline, &worker.counters).await;
    let mut tcp = match connected {
        Ok(tcp) => tcp,
        Err(Unreachable::Failed(error)) if is_of_port(&error) => {
            withdraw(Apart::Ports);
            return Ok(None);
        }
        Err(unreachable) => return Err(unreachable),
    };
    let request_bytes = u32::try_from(ahead.len()).unwrap_or(u32::MAX).saturating_add(wanted.request_bytes);
    let wait = match splice.begin(client.as_fd(), tcp.as_fd(), request_bytes, wanted.answer) {
        Ok(pending) => {
            *offer = None;
            Some(Wait { pending, offer: wanted })
        }
        Err(apart) => {
            withdraw(apart);
            None
        }
    };
    if let Err(unreachable) = write_ahead(&mut tcp, ahead, deadline).await {
        if wait.is_some() {
            refuse(worker, wanted, Apart::Dirty);
        }
        return Err(unreachable);
    }
    Ok(Some(Dialled { tcp, wait }))
}

/// Writes what goes before everything else, within the limit for connecting.
///
/// # Errors
/// [`Unreachable`], when the endpoint does not take it.
pub async fn write_ahead(tcp: &mut TcpStream, ahead: &[u8], deadline: &Deadline) -> Result<(), Unreachable> {
    if ahead.is_empty() {
        return Ok(());
    }
    let written = deadline.bound(tcp.write_all(ahead)).await.ok_or(Unreachable::Slow)?;
    written.map_err(Unreachable::Failed)
}

/// The source port was taken after all: that says nothing of the endpoint.
fn is_of_port(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// Counts an offer that came to nothing.
fn refuse(worker: &Worker, offer: Offer, apart: Apart) {
    worker.counters.connections.refuse(apart);
    if offer.counts {
        worker.counters.connections.count(Why::Apart(apart));
    }
}

/// Sends the request, and waits until it is decided who carries the connection: the limits of a response head hold. What
/// comes to our sockets, and a limit that is reached, ask for it back first.
pub async fn head(relay: &mut Relay<'_>, wait: Wait, worker: &Worker) -> Met {
    let mut wait = Some(wait);
    poll_fn(|cx| {
        if let Poll::Ready(carried) = poll_decision(&mut wait, worker, cx) {
            return Poll::Ready(carried.map_or(Met::Ours, Met::Carried));
        }
        let polled = relay.poll_head(cx);
        let is_quiet = relay.scratch.reply.is_empty() && (!relay.is_request_done() || relay.input.is_empty());
        if polled.is_pending() && is_quiet {
            return Poll::Pending;
        }
        match (withdraw(&mut wait, worker), polled) {
            (Some(carried), _) => Poll::Ready(Met::Carried(carried)),
            (None, Poll::Ready(head)) => Poll::Ready(Met::Head(head)),
            (None, Poll::Pending) => Poll::Ready(Met::Ours),
        }
    })
    .await
}

/// Looks whether it is decided; what is carried is given back.
pub fn poll_decision(wait: &mut Option<Wait>, worker: &Worker, cx: &mut Context<'_>) -> Poll<Option<Wait>> {
    let Some(waiting) = wait else { return Poll::Ready(None) };
    waiting.pending.poll_decision(cx).map(|decision| decided(wait, decision, worker))
}

/// Asks for the connection back; what is carried already is not, and is given back to be handed over.
pub fn withdraw(wait: &mut Option<Wait>, worker: &Worker) -> Option<Wait> {
    let decision = wait.as_mut()?.pending.withdraw();
    decided(wait, decision, worker)
}

fn decided(wait: &mut Option<Wait>, decision: Decision, worker: &Worker) -> Option<Wait> {
    let wait = wait.take()?;
    if decision == Decision::Carried {
        return Some(wait);
    }
    refuse(worker, wait.offer, Apart::Dirty);
    None
}
