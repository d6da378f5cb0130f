//! A worker: one thread, one runtime, its own sockets, pool and buffers. Nothing on the request path is shared but the
//! Snapshot and the state of balancing.
//!
//! Goes in: listeners and a [`Phase`]. Comes out, at the end: how many connections had to be cut.

use super::buffer::Store;
use super::clock::{Clock, Deadline};
use super::connection::Connection;
use super::h2::client::Shared;
use super::handshake::{self, Prepared};
use super::listener::Protocol;
use super::parked::Lot;
use super::passthrough::{self, Passing};
use super::splice::account::Ledger;
use super::tls::Terminator;
use super::upstream::Key;
use super::upstream::pool::Pool;
use super::upstream::tls::Ways;
use crate::config::{Hsts, Limits};
use crate::epoch::Epoch;
use crate::publish::{Published, Reader};
use crate::telemetry::{AccessLog, Counters};
use ipnet::IpNet;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Ticks of the clock between two sweeps of the pool: a second.
const SWEEP_TICKS: u64 = 10;
/// Wait after a failed accept (out of descriptors, usually), milliseconds, so that it does not spin.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How long a listener that is told to stop still looks for connections that wait, milliseconds.
const STOP_LOOK_MS: u64 = 2;
/// How often a draining worker looks whether its connections are done, milliseconds.
const DRAIN_LOOK_MS: u64 = 10;

/// What the workers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Serve.
    Serving,
    /// Accept no more, and let connections end after their request.
    Stopping,
    /// As before, and end at this time at the latest.
    Draining(Instant),
}

/// What a worker is made of; it can be sent to its thread.
#[derive(Debug)]
pub struct Parts {
    /// Limits.
    pub limits: Limits,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The access log.
    pub log: AccessLog,
    /// The Snapshot.
    pub reader: Reader,
    /// TLS.
    pub tls: Arc<Terminator>,
    /// `Strict-Transport-Security`.
    pub hsts: Option<Hsts>,
    /// Peers whose connections begin with a PROXY protocol header.
    pub in_front: Arc<[IpNet]>,
    /// Client connections of all workers.
    pub open: Arc<AtomicUsize>,
    /// How connections are handed to the kernel.
    pub splicing: Option<Arc<Ledger>>,
    /// The zero of its clock.
    pub epoch: Epoch,
    /// Seed of request ids.
    pub seed: u64,
}

/// What the connections of a worker share.
pub struct Worker {
    /// Limits.
    pub limits: Limits,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The access log.
    pub log: AccessLog,
    /// The time.
    pub clock: Rc<Clock>,
    /// Idle connections to endpoints.
    pub pool: Pool,
    /// Connections to endpoints that speak HTTP/2.
    pub shared: Shared<Key>,
    /// TLS to endpoints.
    pub ways: Ways,
    /// Buffers that are not in use.
    pub buffers: Store,
    /// TLS.
    pub tls: Arc<Terminator>,
    /// `Strict-Transport-Security`.
    pub hsts: Option<Hsts>,
    /// Peers whose connections begin with a PROXY protocol header.
    pub in_front: Arc<[IpNet]>,
    /// Connections that have been idle for a while.
    pub lot: Lot,
    /// How connections are handed to the kernel; `None`: it carries none.
    pub splicing: Option<Arc<Ledger>>,
    /// No request may follow the one at work.
    pub draining: Cell<bool>,
    reader: RefCell<Reader>,
    serving: RefCell<Rc<Serving>>,
    swept: RefCell<(u64, HashSet<SocketAddr>)>,
    random: RefCell<fastrand::Rng>,
    connections: Cell<usize>,
    open: Arc<AtomicUsize>,
}

/// What serves, as requests of one worker hold it: they count in the worker's own memory, so that cores do not fight
/// over one counter.
#[derive(Debug)]
pub struct Serving(Arc<Published>);

impl Deref for Serving {
    type Target = Published;

    fn deref(&self) -> &Published {
        &self.0
    }
}

/// 32 hexadecimal digits.
pub struct RequestId([u8; 32]);

impl RequestId {
    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// Runs a worker until its phase says that it is over; answers how many connections were cut.
pub async fn run(
    parts: Parts,
    listeners: Vec<(SocketAddr, Protocol, TcpListener)>,
    phase: watch::Receiver<Phase>,
) -> usize {
    let worker = Worker::new(parts);
    for (served, protocol, socket) in listeners {
        tokio::task::spawn_local(worker.clone().accept(served, protocol, socket, phase.clone()));
    }
    tokio::task::spawn_local(Lot::watch(worker.clone()));
    let ticking = worker.clone();
    let mut ticks = 0_u64;
    tokio::task::spawn_local(async move {
        ticking.clock.run(|| ticking.each_tick(&mut ticks)).await;
    });
    worker.drained(phase).await
}

impl Worker {
    fn new(mut parts: Parts) -> Rc<Self> {
        let clock = Clock::new(parts.epoch);
        let serving = Rc::new(Serving(parts.reader.load().clone()));
        Rc::new(Self {
            pool: Pool::new(clock.clone(), parts.counters.clone(), &parts.limits),
            shared: Shared::new(clock.clone()),
            ways: Ways::default(),
            lot: Lot::new(clock.clone(), parts.counters.clone()),
            limits: parts.limits,
            counters: parts.counters,
            log: parts.log,
            clock,
            buffers: Store::default(),
            draining: Cell::new(false),
            reader: RefCell::new(parts.reader),
            serving: RefCell::new(serving),
            swept: RefCell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(parts.seed)),
            connections: Cell::new(0),
            open: parts.open,
            tls: parts.tls,
            hsts: parts.hsts,
            in_front: parts.in_front,
            splicing: parts.splicing,
        })
    }

    /// What serves now.
    pub fn serving(&self) -> Rc<Serving> {
        let mut reader = self.reader.borrow_mut();
        let newest = reader.load();
        let mut held = self.serving.borrow_mut();
        if !Arc::ptr_eq(newest, &held.0) {
            *held = Rc::new(Serving(newest.clone()));
        }
        held.clone()
    }

    /// A new request id.
    pub fn request_id(&self) -> RequestId {
        let mut random = self.random.borrow_mut();
        let mut digits = [0; 32];
        for half in digits.chunks_exact_mut(16) {
            let mut bits = random.u64(..);
            for digit in half {
                *digit = b"0123456789abcdef"[(bits & 15) as usize];
                bits >>= 4;
            }
        }
        RequestId(digits)
    }

    /// Random bits.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Random bytes, for what nobody must guess but whose guessing harms nobody.
    pub fn random_bytes(&self) -> [u8; 16] {
        (u128::from(self.random()) << 64 | u128::from(self.random())).to_ne_bytes()
    }

    fn each_tick(&self, ticks: &mut u64) {
        *ticks += 1;
        self.lot.expire();
        if !ticks.is_multiple_of(SWEEP_TICKS) {
            return;
        }
        // Also lets go of an old Snapshot when no request comes.
        let published = self.serving();
        let (version, eligible) = &mut *self.swept.borrow_mut();
        if *version != published.snapshot.version {
            *version = published.snapshot.version;
            *eligible = published.snapshot.services.iter().flat_map(|s| &s.endpoints).map(|e| e.address).collect();
        }
        self.pool.sweep(eligible);
        self.shared.sweep(self.limits.pool_idle_ms_max, |key| eligible.contains(&key.endpoint));
        self.ways.sweep();
    }

    /// Accepts until told to stop, then what is waiting already; then the socket closes.
    async fn accept(
        self: Rc<Self>,
        served: SocketAddr,
        protocol: Protocol,
        socket: TcpListener,
        mut phase: watch::Receiver<Phase>,
    ) {
        let mut stop = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        loop {
            let accepted = poll_fn(|cx| match socket.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => stop.as_mut().poll(cx).map(|_| None),
            });
            match accepted.await {
                Some(Ok((tcp, peer))) => self.admit(tcp, peer, served, protocol),
                Some(Err(error)) => {
                    tracing::warn!(%served, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
                None => break,
            }
        }
        // The poller may not have told yet of what came last: let it look once more.
        tokio::time::sleep(Duration::from_millis(STOP_LOOK_MS)).await;
        while let Some(Ok((tcp, peer))) = poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
        {
            self.admit(tcp, peer, served, protocol);
        }
    }

    fn admit(self: &Rc<Self>, tcp: TcpStream, peer: SocketAddr, served: SocketAddr, protocol: Protocol) {
        let Some(open) = Open::new(self) else {
            self.counters.connections_refused.add(1);
            return;
        };
        // Both in boxes: the task lives as long as the connection, most of it idle, and what it takes to begin does not.
        let begun = Box::pin(self.clone().begin(tcp, peer, (served, protocol)));
        tokio::task::spawn_local(async move {
            match begun.await {
                Some(Begun::Requests(connection)) => serve(connection, open).await,
                // In a box: connections that are passed through are few, and the task is for the others.
                Some(Begun::Passing(worker, deadline, passing)) => {
                    Box::pin(passthrough::serve(worker, deadline, *passing)).await;
                    drop(open);
                }
                None => {}
            }
        });
    }

    /// Serves a connection that was parked.
    pub fn serve(self: &Rc<Self>, connection: Box<Connection>, open: Open) {
        tokio::task::spawn_local(serve(connection, open));
    }

    async fn begin(self: Rc<Self>, tcp: TcpStream, peer: SocketAddr, served: (SocketAddr, Protocol)) -> Option<Begun> {
        let deadline = Deadline::new(&self.clock);
        Some(match handshake::prepare(&self, tcp, &deadline, peer, served).await? {
            Prepared::Requests(client, facts) => {
                Begun::Requests(Box::new(Connection::new(self, client, deadline, Rc::new(facts))))
            }
            Prepared::Passing(passing) => Begun::Passing(self, deadline, passing),
        })
    }

    async fn drained(self: &Rc<Self>, mut phase: watch::Receiver<Phase>) -> usize {
        // The sender lives as long as the Proxy; without it there is nobody to serve for.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        self.draining.set(true);
        self.lot.empty(self);
        self.clock.wake_all();
        let until = match phase.wait_for(|phase| matches!(phase, Phase::Draining(_))).await.map(|phase| *phase) {
            Ok(Phase::Draining(until)) => until,
            _ => Instant::now(),
        };
        while self.connections.get() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(DRAIN_LOOK_MS)).await;
        }
        self.connections.get()
    }
}

/// A connection that has begun.
enum Begun {
    Requests(Box<Connection>),
    Passing(Rc<Worker>, Deadline, Box<Passing>),
}

/// Serves a connection to its end, or parks it.
async fn serve(connection: Box<Connection>, open: Open) {
    if let Some((connection, left_ms)) = connection.serve().await {
        let worker = connection.worker.clone();
        worker.lot.park(*connection, open, left_ms);
    }
}

/// Counts a connection as long as it lives.
#[derive(Debug)]
pub struct Open {
    worker: Rc<Worker>,
}

impl Open {
    /// `None` when as many are open as all workers may have together.
    fn new(worker: &Rc<Worker>) -> Option<Self> {
        // All workers share the number: connections are not spread evenly, so a share for each would refuse too early.
        // Those that the kernel carries count too: who sets a limit means connections, whoever carries them.
        let carried = worker.splicing.as_ref().map_or(0, |ledger| ledger.splicing.carried.load(Ordering::Relaxed));
        if worker.open.fetch_add(1, Ordering::Relaxed) + carried >= worker.limits.connections_max {
            worker.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        worker.connections.set(worker.connections.get() + 1);
        worker.counters.connections_accepted.add(1);
        worker.counters.connections_active.add(1);
        Some(Self { worker: worker.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open.fetch_sub(1, Ordering::Relaxed);
        self.worker.connections.set(self.worker.connections.get().saturating_sub(1));
        self.worker.counters.connections_active.sub(1);
    }
}
