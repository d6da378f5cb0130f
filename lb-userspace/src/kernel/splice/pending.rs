//! A pair whose request is under way: until it is decided who carries it, and until its sockets are given away.
//!
//! Owns: doing the steps of [`Machine`]. Goes in: what the proxy wants, what the record says. Comes out: a [`Decision`].
//! Does not do: the choice; the machine and the record make it.

use super::super::repair;
use super::flows::{self, Close, Ends, Flow};
use super::shared::Shared;
use lb_common::splice::{DIRTY, WAITING};
use lb_core::handoff::machine::{Input, Machine, Phase, Step};
use lb_core::handoff::{Decision, service_number};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

/// A pair whose request is under way. Dropping it withdraws it, and resets both ends where that comes too late.
pub struct Pending {
    shared: Arc<Shared>,
    id: u32,
    generation: u32,
    ends: Ends,
    machine: Machine,
    /// Our own hold on both sockets, so that they can be closed silently whatever the proxy does; none once they are the
    /// proxy's for good.
    sockets: Option<Sockets>,
}

/// Both sockets of a pair, and how much each had received at the hand-off.
#[derive(Debug)]
pub(super) struct Sockets {
    pub client: (OwnedFd, u32),
    pub backend: (OwnedFd, u32),
}

impl Sockets {
    /// Whether one has received anything since the hand-off; when one does not tell, it counts as moved.
    pub fn moved(&self) -> bool {
        [&self.client, &self.backend].into_iter().any(|(socket, at)| match repair::next_in(socket.as_fd()) {
            Ok(next) => next != *at,
            Err(error) => {
                tracing::warn!(%error, "a socket does not tell what it received");
                true
            }
        })
    }

    /// Closes both without a sign to their peers, whoever else holds them.
    fn silence(self) {
        for (socket, _) in [&self.client, &self.backend] {
            if let Err(error) = repair::silence(socket.as_fd()) {
                tracing::error!(%error, "a socket of a carried connection closes aloud");
            }
        }
    }
}

impl Pending {
    /// Of a record and a port that are taken; nothing need be in the maps yet.
    pub(super) fn new(shared: Arc<Shared>, id: u32, generation: u32, ends: Ends, sockets: Sockets) -> Self {
        Self { shared, id, generation, ends, machine: Machine::default(), sockets: Some(sockets) }
    }

    /// Whether a socket has received something since its numbers were read.
    pub(super) fn moved(&self) -> bool {
        self.sockets.as_ref().is_none_or(Sockets::moved)
    }

    /// Waits until it is decided who carries the pair.
    pub fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<Decision> {
        if self.machine.phase() == Phase::Waiting {
            // First the waker, then the look: what happens between wakes.
            self.shared.wait(self.id, cx.waker());
            let state = self.shared.carrier.read(self.id).state;
            self.feed(Input::Record(state));
        }
        self.decision().map_or(Poll::Pending, Poll::Ready)
    }

    /// Userspace wants to carry on itself, because an answer or more from the client came to its sockets, or time is up.
    pub fn withdraw(&mut self) -> Decision {
        self.feed(Input::Withdraw);
        // Nothing that was withdrawn waits; so this is the answer.
        self.decision().unwrap_or(Decision::Ours)
    }

    /// After [`Decision::Carried`]: both sockets are closed without a sign to either peer. `close` is told how it ended; it
    /// is dropped untold when the pair is not carried, for then nothing of it is ours.
    pub fn surrender(mut self, client: OwnedFd, backend: OwnedFd, service: String, close: Close) {
        // We hold both ourselves until they are silent.
        drop((client, backend));
        let moved = self.moved();
        let number = service_number(&service);
        let flow = Flow { ends: self.ends, generation: self.generation, service: Some(service), close: Some(close) };
        self.shared.carrier.set_service(self.id, number);
        // In the table first: what is reset there is told to its account.
        self.shared.flows.add(self.id, flow);
        self.feed(Input::Surrender);
        if moved && self.machine.phase() == Phase::Surrendered {
            self.shared.late.fetch_add(1, Relaxed);
            tracing::info!(client = %self.ends.client, backend = %self.ends.backend, "a byte came to us during a hand-off; its sender will repeat it");
        }
        if self.machine.phase() == Phase::Ours {
            self.shared.flows.forget(self.id, &self.ends);
        }
    }

    fn decision(&self) -> Option<Decision> {
        match self.machine.phase() {
            Phase::Waiting => None,
            Phase::Ours => Some(Decision::Ours),
            Phase::Carried | Phase::Surrendered | Phase::Over => Some(Decision::Carried),
        }
    }

    /// Does what the machine says, until it says no more.
    fn feed(&mut self, input: Input) {
        let mut step = self.machine.on(input);
        if step == Step::Exchange {
            let found = match self.shared.carrier.exchange_state(self.id, WAITING, DIRTY) {
                Ok(()) => DIRTY,
                Err(state) => state,
            };
            self.feed(Input::Record(found));
            step = self.machine.on(input);
        }
        if self.machine.phase() != Phase::Waiting {
            self.shared.forget(self.id);
        }
        match step {
            Step::Nothing | Step::Exchange => {}
            Step::TakeOut => self.take_out(),
            Step::Keep => self.silence(),
            Step::Reset => self.reset(),
        }
    }

    fn take_out(&mut self) {
        self.sockets = None;
        self.shared.take_out(self.id, &self.ends);
        self.shared.ports.give_back(self.ends.source.port(), self.ends.backend);
        self.shared.give_id(self.id);
    }

    fn silence(&mut self) {
        if let Some(sockets) = self.sockets.take() {
            sockets.silence();
        }
    }

    /// Resets both ends; nobody keeps an account of the pair yet.
    fn reset(&mut self) {
        self.silence();
        flows::cut(&self.shared, self.id, &self.ends, true);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.feed(Input::Abandon);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).field("machine", &self.machine).finish_non_exhaustive()
    }
}
