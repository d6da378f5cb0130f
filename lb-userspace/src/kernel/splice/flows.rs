//! The pairs that the kernel carries: who is to be told when one ends, and how it ends.
//!
//! Owns: the table of carried pairs, and their end. Goes in: surrendered and adopted pairs. Comes out: views for people,
//! accounts closed. Does not do: deciding that a pair is over (`lb_core::handoff::life`).
//!
//! The lock is held for one entry at a time, or to copy numbers: never for a system call. Whoever takes a pair out of the
//! table ends it, so it ends once.

use super::super::repair;
use super::reset;
use super::shared::Shared;
use lb_common::addr;
use lb_common::splice::{CLOSING, Conn, Direction, FlowKey};
use lb_core::handoff::rest::rest_ns;
use lb_core::handoff::{Carried, Ending, FlowView, service_number};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Is told how a pair ended. It is called on a thread of the splicer, so it must be short.
pub type Close = Box<dyn FnOnce(Carried) + Send>;

/// A pair of an earlier agent, of which nobody keeps an account yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclaimed {
    /// Its record.
    pub id: u32,
    /// Its backend.
    pub backend: SocketAddr,
    /// Its service, by [`service_number`](lb_core::handoff::service_number); 0: the earlier agent died before it said.
    pub service: u64,
    generation: u32,
}

/// A pair that the kernel carries.
pub(super) struct Flow {
    pub ends: Ends,
    /// What the record said when the pair got it.
    pub generation: u32,
    /// None, until a pair of an earlier agent is claimed.
    pub service: Option<String>,
    /// Nobody, as above.
    pub close: Option<Close>,
}

/// The four addresses of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub client: SocketAddr,
    /// Where the client connected to.
    pub local: SocketAddr,
    /// Where the backend sees the connection come from.
    pub source: SocketAddr,
    pub backend: SocketAddr,
}

impl Ends {
    /// As the record has them.
    pub fn of(conn: &Conn) -> Self {
        let ours = |direction: &Direction| SocketAddr::new(addr::to_ip(direction.src), direction.src_port);
        let theirs = |direction: &Direction| SocketAddr::new(addr::to_ip(direction.dst), direction.dst_port);
        let (up, down) = (&conn.up, &conn.down);
        Self { client: theirs(down), local: ours(down), source: ours(up), backend: theirs(up) }
    }

    /// The keys of the client's packets and of the backend's.
    pub fn keys(&self) -> (FlowKey, FlowKey) {
        let key = |from: SocketAddr, to: SocketAddr| {
            FlowKey::new(addr::from_ip(from.ip()), from.port(), addr::from_ip(to.ip()), to.port())
        };
        (key(self.client, self.local), key(self.backend, self.source))
    }
}

/// The table, by record.
#[derive(Default)]
pub(super) struct Flows {
    table: Mutex<HashMap<u32, Flow>>,
    /// How many there are, for those who must not wait for the lock.
    count: Arc<AtomicUsize>,
}

impl Flows {
    pub fn add(&self, id: u32, flow: Flow) {
        let mut flows = self.lock();
        flows.insert(id, flow);
        self.count.store(flows.len(), Relaxed);
    }

    /// How many there are, from now on.
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.count.clone()
    }

    /// Numbers, generations and backends of pairs that nobody has claimed.
    fn unclaimed(&self) -> Vec<(u32, u32, SocketAddr)> {
        let flows = self.lock();
        let unclaimed = flows.iter().filter(|(_, flow)| flow.service.is_none());
        unclaimed.map(|(id, flow)| (*id, flow.generation, flow.ends.backend)).collect()
    }

    /// Gives a pair of an earlier agent its account; `false`: it is over, or claimed.
    fn claim(&self, (id, generation): (u32, u32), service: String, close: Close) -> bool {
        let mut flows = self.lock();
        let flow = flows.get_mut(&id).filter(|flow| flow.generation == generation && flow.service.is_none());
        flow.map(|flow| (flow.service, flow.close) = (Some(service), Some(close))).is_some()
    }

    /// Numbers and ends of all pairs.
    pub fn all(&self) -> Vec<(u32, Ends)> {
        self.lock().iter().map(|(id, flow)| (*id, flow.ends)).collect()
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The ends of a pair, when it is still the one of that generation.
    pub fn ends(&self, id: u32, generation: u32) -> Option<Ends> {
        self.lock().get(&id).filter(|flow| flow.generation == generation).map(|flow| flow.ends)
    }

    /// Takes a pair out that is not carried after all.
    pub fn forget(&self, id: u32, ends: &Ends) {
        self.take(id, ends);
    }

    fn take(&self, id: u32, ends: &Ends) -> Option<Flow> {
        let mut flows = self.lock();
        let taken = flows.get(&id).is_some_and(|flow| flow.ends == *ends).then(|| flows.remove(&id))?;
        self.count.store(flows.len(), Relaxed);
        taken
    }

    fn services(&self) -> HashMap<u32, Option<String>> {
        self.lock().iter().map(|(id, flow)| (*id, flow.service.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Flow>> {
        // An entry is put in or taken out as a whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flows").field(&self.len()).finish()
    }
}

/// Ends a pair: takes its keys and record out, resets both ends if it is not over by itself, and tells its account.
/// Answers whether it was there to be ended.
pub(super) fn end(shared: &Shared, id: u32, ends: &Ends, ending: Ending, with_reset: bool) -> bool {
    let Some(flow) = shared.flows.take(id, ends) else { return false };
    let conn = cut(shared, id, ends, with_reset);
    let carried = Carried::read(&conn, Some(ending));
    shared.totals.add(&carried);
    tracing::debug!(id, client = %ends.client, backend = %ends.backend, ?carried, "a carried connection is over");
    if let Some(close) = flow.close {
        close(carried);
    }
    true
}

/// Takes a carried pair out of the kernel, and gives its port and record back. Answers how far it was.
pub(super) fn cut(shared: &Shared, id: u32, ends: &Ends, with_reset: bool) -> Conn {
    shared.take_out(id, ends);
    // The programs have left it; its numbers stay until it is used again.
    let conn = shared.carrier.read(id);
    if with_reset {
        reset::both(&conn);
    }
    let rest = Duration::from_nanos(rest_ns(&conn, repair::monotonic_ns(), shared.rest_ns));
    shared.ports.rest(ends.source.port(), ends.backend, Instant::now() + rest);
    shared.give_id(id);
    conn
}

/// Pairs of an earlier agent that nobody has claimed.
pub(super) fn unclaimed(shared: &Shared) -> Vec<Unclaimed> {
    let read =
        |(id, generation, backend)| Unclaimed { id, generation, backend, service: shared.carrier.read(id).service };
    shared.flows.unclaimed().into_iter().map(read).collect()
}

/// Keeps an account of one from now on.
pub(super) fn claim(shared: &Shared, pair: &Unclaimed, service: String, close: Close) -> bool {
    let number = service_number(&service);
    let is_claimed = shared.flows.claim((pair.id, pair.generation), service, close);
    if is_claimed && number != pair.service {
        shared.carrier.set_service(pair.id, number);
    }
    is_claimed
}

/// All pairs for people.
pub(super) fn views(shared: &Shared, now_ns: u64) -> Vec<FlowView> {
    let mut services = shared.flows.services();
    let ms = |since: u64| now_ns.saturating_sub(since) / 1_000_000;
    let view = |(id, ends): (u32, Ends)| {
        let conn = shared.carrier.read(id);
        let Ends { client, local, source, backend } = ends;
        let service = services.remove(&id).flatten();
        let carried = Carried::read(&conn, None);
        let state = if conn.state == CLOSING { "closing" } else { "active" };
        FlowView {
            id,
            client,
            local,
            source,
            backend,
            service,
            carried,
            age_ms: ms(conn.begun_ns),
            idle_ms: ms(conn.seen_ns()),
            state,
        }
    };
    let mut views: Vec<_> = shared.flows.all().into_iter().map(view).collect();
    views.sort_unstable_by_key(|view| view.id);
    views
}

/// What all pairs that are over came to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    bytes: [AtomicU64; 2],
    packets: [AtomicU64; 2],
}

impl Totals {
    fn add(&self, carried: &Carried) {
        for (total, value) in self.bytes.iter().zip([carried.bytes_up, carried.bytes_down]) {
            total.fetch_add(value, Relaxed);
        }
        for (total, value) in self.packets.iter().zip([carried.packets_up, carried.packets_down]) {
            total.fetch_add(value, Relaxed);
        }
    }

    /// With what the pairs that live have carried so far.
    pub fn with(&self, live: &[Carried]) -> Carried {
        let sum = |totals: &[AtomicU64; 2], at: usize, of: fn(&Carried) -> u64| {
            live.iter().map(of).fold(totals[at].load(Relaxed), u64::saturating_add)
        };
        Carried {
            bytes_up: sum(&self.bytes, 0, |c| c.bytes_up),
            bytes_down: sum(&self.bytes, 1, |c| c.bytes_down),
            packets_up: sum(&self.packets, 0, |c| c.packets_up),
            packets_down: sum(&self.packets, 1, |c| c.packets_down),
            status: None,
            ending: None,
        }
    }
}
