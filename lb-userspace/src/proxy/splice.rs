//! What the proxy asks of whoever can make the kernel carry a pair of connections: the trait [`Splice`].
//!
//! Goes in: a client's connection whose request is whole, and where it goes. Comes out: the pair is carried, or the
//! reason why not, and then nothing has changed. `app` implements it with the kernel's room; tests do it by hand.

pub(super) mod account;
pub(super) mod handover;
pub(super) mod offer;
pub(super) mod pass;

use crate::telemetry::Counters;
use lb_core::handoff::{Answer, Apart, Carried, Decision};
use std::fmt::Debug;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

/// What the workers need to hand connections over.
#[derive(Debug, Clone)]
pub struct Splicing {
    /// Who does it.
    pub splice: Arc<dyn Splice>,
    /// Upgraded connections too. The kernel knows an agreement by the status 101 alone: what of the answer proves that the
    /// endpoint meant it, userspace alone can check, and it has no say any more then.
    pub upgrades: bool,
    /// How many connections the kernel carries: they count towards the limit on connections.
    pub carried: Arc<AtomicUsize>,
    /// Counts what is over. They belong to no worker, and are summed with theirs.
    pub counters: Arc<Counters>,
}

/// Makes the kernel carry pairs of connections. All calls are short: a few system calls, no waiting.
pub trait Splice: Debug + Send + Sync {
    /// A non-blocking socket, not yet connected, to reach `endpoint` by; its options and source port are such that the
    /// connection can be joined with the client's.
    ///
    /// # Errors
    /// [`Apart`], when no connection to that endpoint can be.
    fn socket(&self, client: BorrowedFd<'_>, endpoint: SocketAddr) -> Result<TcpStream, Apart>;

    /// Makes everything ready before a request of `request_bytes` is written to `backend`: the client has sent all of it and
    /// no more, and none of it has been written.
    ///
    /// # Errors
    /// [`Apart`]; nothing was changed.
    fn begin(
        &self,
        client: BorrowedFd<'_>,
        backend: BorrowedFd<'_>,
        request_bytes: u32,
        answer: Answer,
    ) -> Result<Box<dyn Pending>, Apart>;
}

/// A pair whose request is under way. Dropping it is [`Self::withdraw`], and resets both ends where that came too late.
pub trait Pending: Debug + Send {
    /// Waits until it is decided who carries the pair.
    fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<Decision>;

    /// Userspace wants to carry on itself, because an answer or more from the client came to its sockets, or time is up.
    fn withdraw(&mut self) -> Decision;

    /// After [`Decision::Carried`]: both sockets are closed without a sign to either peer. `account` is told how it ended.
    fn surrender(self: Box<Self>, client: OwnedFd, backend: OwnedFd, account: Box<dyn Account>);
}

/// What is to be told of a carried pair: it holds the place at the endpoint and the line of the access log.
pub trait Account: Send {
    /// Service that it belongs to, `namespace/name:port`.
    fn service(&self) -> &str;

    /// It is over.
    fn close(self: Box<Self>, carried: Carried);
}
