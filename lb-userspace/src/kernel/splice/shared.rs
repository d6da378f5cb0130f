//! What all parts of the splicer share: maps, ports, records, and the pairs with who waits for them.
//!
//! Owns: the parts, and taking a pair out of the kernel. Goes in: nothing. Comes out: parts for the neighbours.
//! Does not do: deciding anything.
//!
//! Each lock is held for a few instructions; none is held while another is taken.

use super::super::carrier::Carrier;
use super::super::ports::Ports;
use super::super::repair;
use super::super::route::Routes;
use super::SplicerSetup;
use super::flows::{Ends, Flows, Totals};
use super::ids::Ids;
use super::segments::Segments;
use lb_core::handoff::Apart;
use lb_core::handoff::join::End;
use lb_core::handoff::life::Limits;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::{fmt, io};

/// The parts.
#[derive(Debug)]
pub(super) struct Shared {
    pub carrier: Arc<Carrier>,
    pub ports: Ports,
    pub routes: Routes,
    pub segments: Segments,
    pub flows: Flows,
    pub totals: Totals,
    pub limits: Limits,
    /// Most that a port rests, nanoseconds.
    pub rest_ns: u64,
    /// Pairs in whose hand-off a byte came to our sockets past the programs.
    pub late: AtomicU64,
    pub backends: Mutex<Backends>,
    ids: Mutex<Ids>,
    /// Who waits for the decision about a record.
    wakers: Mutex<HashMap<u32, Waker>>,
}

/// Answers which of some backends take requests. It is asked by each sweep, so that nobody has to say it at each change of ten
/// thousands of them.
pub struct Eligible(pub Box<Answer>);

type Answer = dyn Fn(&HashSet<SocketAddr>) -> HashSet<SocketAddr> + Send + Sync;

impl fmt::Debug for Eligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eligible")
    }
}

/// Which backends there are.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// `None`: nobody said yet, so none is gone.
    pub eligible: Option<Eligible>,
    /// Since when pairs have had a backend that is none, `CLOCK_MONOTONIC` in nanoseconds.
    pub gone: HashMap<SocketAddr, u64>,
}

impl Shared {
    pub fn new(carrier: Carrier, ports: Ports, routes: Routes, setup: &SplicerSetup, in_use: &HashSet<u32>) -> Self {
        let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let limits = Limits { idle_ns: ns(setup.idle), grace_ns: ns(setup.grace), drain_ns: ns(setup.drain) };
        Self {
            carrier: Arc::new(carrier),
            ports,
            routes,
            segments: Segments::default(),
            flows: Flows::default(),
            totals: Totals::default(),
            limits,
            rest_ns: ns(setup.rest),
            late: AtomicU64::new(0),
            backends: Mutex::default(),
            ids: Mutex::new(Ids::new(setup.pairs_max, in_use)),
            wakers: Mutex::default(),
        }
    }

    /// The interface by which a peer is reached, where our programs are.
    pub fn interface(&self, peer: IpAddr, local: Option<IpAddr>) -> Result<u32, Apart> {
        // An address that is good on one link only says nothing to the look-up of the programs.
        if matches!(peer, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return Err(Apart::Interface);
        }
        let interface = self.routes.interface(peer, local).map_err(|error| failed("look a route up", &error))?;
        self.carrier.covers(interface).then_some(interface).ok_or(Apart::Interface)
    }

    /// Fills in the interface of an end.
    pub fn placed(&self, end: End) -> Result<End, Apart> {
        Ok(End { ifindex: self.interface(end.peer.ip().to_canonical(), Some(end.local.ip()))?, ..end })
    }

    /// A record for a new pair, with how many pairs had it.
    pub fn take_id(&self) -> Option<(u32, u32)> {
        let id = lock(&self.ids).take(repair::monotonic_ns())?;
        Some((id, self.carrier.read(id).generation.wrapping_add(1)))
    }

    pub fn give_id(&self, id: u32) {
        lock(&self.ids).give(id, repair::monotonic_ns());
    }

    /// Takes keys and record of a pair out of the kernel.
    pub fn take_out(&self, id: u32, ends: &Ends) {
        let (up, down) = ends.keys();
        if let Err(error) = self.carrier.remove(id, &up, &down) {
            tracing::error!(%error, id, "a pair of connections stays in the kernel");
        }
    }

    /// Registers who is to be woken when it is decided who has the pair of a record.
    pub fn wait(&self, id: u32, waker: &Waker) {
        lock(&self.wakers).entry(id).and_modify(|known| known.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    pub fn forget(&self, id: u32) {
        lock(&self.wakers).remove(&id);
    }

    pub fn wake(&self, id: u32) {
        let waker = lock(&self.wakers).remove(&id);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records that somebody waits for.
    pub fn awaited(&self) -> Vec<u32> {
        lock(&self.wakers).keys().copied().collect()
    }
}

/// No holder of these locks leaves anything half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason for a system call that failed; what is no matter of the peer's is logged.
pub(super) fn failed(action: &str, error: &io::Error) -> Apart {
    match error.raw_os_error() {
        // The peer has reset the connection.
        Some(libc::ENOTCONN | libc::EINVAL | libc::ECONNRESET) => Apart::Closing,
        _ => {
            tracing::warn!(%error, "cannot {action} for a hand-off");
            Apart::Failed
        }
    }
}
