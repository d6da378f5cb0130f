//! What balancing remembers of a service from one request, and one Snapshot, to the next.
//!
//! Goes in: outcomes of requests, and the service of each new Snapshot. Comes out: the atomics that choosing looks at. All
//! workers share them; there is no lock.

use super::budget::Budget;
use super::circuit::Circuit;
use super::ejection::ejected_max;
use super::endpoint::{self, EndpointState};
use super::slow_start::WINDOW_MS;
use crate::model::Service;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One turn of the cursor in the word that holds it with the requests in work.
const TURN: u64 = 1 << 32;

/// The state of a service, with its endpoints in the order of one Snapshot.
#[derive(Debug, Default)]
pub struct ServiceState {
    shared: Arc<Shared>,
    endpoints: Box<[Arc<EndpointState>]>,
}

/// What does not change with the endpoints.
#[derive(Debug, Default)]
struct Shared {
    /// Turns taken (upper half, wraps) and requests in work (lower half): one addition counts both.
    work: AtomicU64,
    /// Turns that were no new request.
    skips: AtomicU32,
    pending: AtomicU32,
    budget: Budget,
    /// Somebody decides about an ejection.
    ejecting: AtomicBool,
}

impl Shared {
    fn leave(&self) {
        self.work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of a request in work, apart from the Snapshot that it was chosen by.
#[derive(Debug)]
pub struct Occupied {
    shared: Arc<Shared>,
    endpoint: Arc<EndpointState>,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.endpoint.leave();
        self.shared.leave();
    }
}

/// How a request on an endpoint went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, and the answer is its own (an error of the application is).
    Answered,
    /// No connection, none that lasted, no answer in time, or the word of a gateway that has none (502, 503, 504).
    Failed,
}

impl ServiceState {
    /// The state of a service in a new Snapshot: that of the one before for endpoints that stay. Those that join start
    /// slowly; all of a service that is new start warm.
    #[must_use]
    pub fn carry(old: Option<(&Service, &Arc<Self>)>, service: &Service, now_ms: u64) -> Arc<Self> {
        let Some((before, state)) = old else {
            let endpoints = service.endpoints.iter().map(|e| Arc::new(EndpointState::new(e.address, 0))).collect();
            return Arc::new(Self { shared: Arc::default(), endpoints });
        };
        if before.endpoints.iter().map(|e| e.address).eq(service.endpoints.iter().map(|e| e.address)) {
            return state.clone();
        }
        let known: HashMap<SocketAddr, &Arc<EndpointState>> =
            before.endpoints.iter().map(|e| e.address).zip(&state.endpoints).collect();
        let warm_from_ms = if known.is_empty() { 0 } else { now_ms.saturating_add(WINDOW_MS) };
        let endpoint = |address| match known.get(&address) {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(EndpointState::new(address, warm_from_ms)),
        };
        let endpoints = service.endpoints.iter().map(|e| endpoint(e.address)).collect();
        let carried = Self { shared: state.shared.clone(), endpoints };
        carried.take_back(now_ms);
        Arc::new(carried)
    }

    /// Its endpoints, in the order of the service's.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<EndpointState>] {
        &self.endpoints
    }

    /// Requests in work.
    #[must_use]
    pub fn in_work(&self) -> u32 {
        in_work(self.shared.work.load(Ordering::Relaxed))
    }

    /// The request that was counted by [`super::choose`] is over.
    pub fn leave(&self, index: usize) {
        if let Some(endpoint) = self.endpoints.get(index) {
            endpoint.leave();
            self.leave_service();
        }
    }

    /// The place of a request that was counted, apart from the Snapshot; it is left when dropped.
    #[must_use]
    pub fn occupied(&self, index: usize) -> Option<Occupied> {
        let endpoint = self.endpoints.get(index)?.clone();
        Some(Occupied { shared: self.shared.clone(), endpoint })
    }

    /// A place for what is in work already, whatever the limits say. It takes no turn.
    #[must_use]
    pub fn occupy(&self, index: usize) -> Option<Occupied> {
        let endpoint = self.endpoints.get(index)?.clone();
        let _counted = endpoint.enter(u32::MAX);
        self.shared.work.fetch_add(1, Ordering::Relaxed);
        Some(Occupied { shared: self.shared.clone(), endpoint })
    }

    /// Counts a request that waits for a connection to an endpoint; `false`: too many do. If not, the caller calls
    /// [`Self::leave_pending`] once.
    #[must_use]
    pub fn enter_pending(&self, index: usize, circuit: &Circuit) -> bool {
        let Some(endpoint) = self.endpoints.get(index) else { return false };
        if !endpoint::enter(&self.shared.pending, circuit.service_pending_max) {
            return false;
        }
        let entered = endpoint.enter_pending(circuit.endpoint_pending_max);
        if !entered {
            self.shared.pending.fetch_sub(1, Ordering::Relaxed);
        }
        entered
    }

    /// It waits no more.
    pub fn leave_pending(&self, index: usize) {
        if let Some(endpoint) = self.endpoints.get(index) {
            endpoint.leave_pending();
            self.shared.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the budget has another try for a request that failed at an endpoint; it is spent then.
    #[must_use]
    pub fn may_retry(&self, now_ms: u64) -> bool {
        // The try has taken a turn, and is no new request.
        let skips = self.shared.skips.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let work = self.shared.work.load(Ordering::Relaxed);
        self.shared.budget.withdraw(turns(work).wrapping_sub(skips), in_work(work), now_ms)
    }

    /// How a request on an endpoint went; `true` when that ejected it.
    pub fn report(&self, index: usize, outcome: Outcome, now_ms: u64) -> bool {
        let Some(endpoint) = self.endpoints.get(index) else { return false };
        match outcome {
            Outcome::Answered => {
                endpoint.health.answered();
                false
            }
            Outcome::Failed => endpoint.health.failed(now_ms) && self.eject(endpoint, now_ms),
        }
    }

    /// How long an endpoint took to answer, microseconds.
    pub fn observe(&self, index: usize, latency_us: u64, now_ms: u64) {
        if let Some(endpoint) = self.endpoints.get(index) {
            endpoint.latency.observe(latency_us, now_ms);
        }
    }

    /// Endpoints that are ejected.
    #[must_use]
    pub fn ejected(&self, now_ms: u64) -> usize {
        self.endpoints.iter().filter(|e| e.is_ejected(now_ms)).count()
    }

    /// Counts a request and takes a turn; `None`: there are too many.
    pub(super) fn enter(&self, requests_max: u32) -> Option<u32> {
        let work = self.shared.work.fetch_add(TURN + 1, Ordering::Relaxed);
        if in_work(work) < requests_max {
            return Some(turns(work));
        }
        self.leave_service();
        self.shared.skips.fetch_add(1, Ordering::Relaxed);
        None
    }

    pub(super) fn leave_service(&self) {
        self.shared.leave();
    }

    /// Takes a further turn for the same request.
    pub(super) fn skip(&self) -> u32 {
        self.shared.skips.fetch_add(1, Ordering::Relaxed);
        turns(self.shared.work.fetch_add(TURN, Ordering::Relaxed))
    }

    /// Ejects an endpoint if fewer than half are. Who finds somebody else deciding leaves it to the next failure: nobody
    /// waits here, and two never take the last place.
    fn eject(&self, endpoint: &EndpointState, now_ms: u64) -> bool {
        if self.shared.ejecting.swap(true, Ordering::Acquire) {
            return false;
        }
        let ejects = !endpoint.is_ejected(now_ms) && self.ejected(now_ms) < ejected_max(self.endpoints.len());
        if ejects {
            endpoint.health.eject(now_ms);
        }
        self.shared.ejecting.store(false, Ordering::Release);
        ejects
    }

    /// Takes back those that are ejected beyond half, because others have left; the ones that would be back first.
    fn take_back(&self, now_ms: u64) {
        let beyond = self.ejected(now_ms).saturating_sub(ejected_max(self.endpoints.len()));
        for _ in 0..beyond {
            let ejected = self.endpoints.iter().filter(|e| e.is_ejected(now_ms));
            if let Some(first) = ejected.min_by_key(|e| e.health.until_ms()) {
                first.health.take_back(now_ms);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn in_work(work: u64) -> u32 {
    work as u32
}

#[allow(clippy::cast_possible_truncation, reason = "the upper half fits")]
fn turns(work: u64) -> u32 {
    (work >> 32) as u32
}
