//! Connections that have been idle for a while, at the price of a descriptor and some 110 bytes each: no task, no
//! registration with the runtime, no lines of fields. One epoll set watches all of a worker.
//!
//! Goes in: a plain connection between two requests. Comes out: the same, when the client speaks or leaves; or nothing, when
//! its time is up. TLS is not parked: its state is larger than all that is saved, and cannot be taken apart.

use super::client::Client;
use super::clock::{Clock, Deadline};
use super::connection::Connection;
use super::facts::{Arrival, Facts};
use super::worker::{Open, Worker};
use crate::telemetry::Counters;
use rustix::event::epoll;
use slab::Slab;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

/// A connection is parked when it has been idle for so long, milliseconds. Parking and coming back take six system calls
/// together, so one that asks every second keeps its task.
pub const PARK_AFTER_MS: u64 = 1_000;

/// Connections that are taken out at once, before others get their turn.
const BATCH: usize = 64;

/// The parked connections of a worker.
#[derive(Debug)]
pub struct Lot {
    /// Nothing when the machine gave no descriptor for it: then nothing is parked.
    epoll: Option<AsyncFd<OwnedFd>>,
    slots: RefCell<Slab<Parked>>,
    clock: Rc<Clock>,
    counters: Arc<Counters>,
}

/// A parked connection.
#[derive(Debug)]
struct Parked {
    fd: OwnedFd,
    peer: SocketAddr,
    local: SocketAddr,
    secure: bool,
    requests: u64,
    until_ms: u64,
    open: Open,
}

impl Lot {
    /// An empty lot; call it inside the runtime.
    pub fn new(clock: Rc<Clock>, counters: Arc<Counters>) -> Self {
        #[allow(
            deprecated,
            reason = "what replaces it is unsafe, for types that do not keep their descriptor; this one does"
        )]
        let watched = |fd| AsyncFd::with_interest(fd, Interest::READABLE);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(watched);
        let epoll = epoll.inspect_err(|error| tracing::warn!(%error, "idle connections will take more memory")).ok();
        Self { epoll, slots: RefCell::default(), clock, counters }
    }

    /// Whether there is anything to park in.
    pub fn is_there(&self) -> bool {
        self.epoll.is_some()
    }

    /// Parks a connection for so many milliseconds; it is closed when they are over. One that cannot be watched is closed too.
    pub fn park(&self, connection: Connection, open: Open, left_ms: u64) {
        let (Some(set), Client::Plain(tcp)) = (&self.epoll, connection.client) else { return };
        let Facts { peer, local, secure, .. } = *connection.facts;
        let until_ms = self.clock.now_ms().saturating_add(left_ms);
        let mut slots = self.slots.borrow_mut();
        let slot = slots.vacant_entry();
        let watched = tcp.into_std().and_then(|tcp| {
            let fd = OwnedFd::from(tcp);
            let wanted = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            epoll::add(set.get_ref(), &fd, epoll::EventData::new_u64(slot.key() as u64), wanted)?;
            Ok(fd)
        });
        match watched {
            Ok(fd) => {
                slot.insert(Parked { fd, peer, local, secure, requests: connection.requests, until_ms, open });
                self.counters.connections_parked.add(1);
            }
            Err(error) => tracing::warn!(%peer, %error, "an idle connection cannot be watched and is closed"),
        }
    }

    /// Closes those whose time is up.
    pub fn expire(&self) {
        let now_ms = self.clock.now_ms();
        let mut slots = self.slots.borrow_mut();
        let before = slots.len();
        slots.retain(|_, parked| parked.until_ms > now_ms);
        self.counters.connections_parked.sub((before - slots.len()) as u64);
    }

    /// Brings connections back as their clients speak or leave, for ever.
    pub async fn watch(worker: Rc<Worker>) {
        let Some(set) = &worker.lot.epoll else { return };
        let mut events = Vec::with_capacity(BATCH);
        // An error means that the runtime ends.
        while let Ok(mut ready) = set.readable().await {
            events.clear();
            let waited = epoll::wait(set.get_ref(), rustix::buffer::spare_capacity(&mut events), Some(&NO_TIME));
            if waited.unwrap_or(0) < BATCH {
                ready.clear_ready();
            }
            events.iter().for_each(|event| worker.lot.bring_back(&worker, event.data.u64() as usize));
            tokio::task::yield_now().await;
        }
    }

    /// Brings all back: they are to be closed, or get a last chance.
    pub fn empty(&self, worker: &Rc<Worker>) {
        let keys: Vec<usize> = self.slots.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.bring_back(worker, key));
    }

    fn bring_back(&self, worker: &Rc<Worker>, key: usize) {
        let Some(parked) = self.slots.borrow_mut().try_remove(key) else { return };
        self.counters.connections_parked.sub(1);
        if let Some(set) = &self.epoll {
            // An error means that it is not watched any more, which is what is wanted.
            let _ = epoll::delete(set.get_ref(), &parked.fd);
        }
        let Parked { fd, peer, local, secure, requests, open, .. } = parked;
        let tcp = match TcpStream::from_std(fd.into()) {
            Ok(tcp) => tcp,
            Err(error) => return tracing::warn!(%peer, %error, "an idle connection cannot be taken up again"),
        };
        // Only a balancer in front makes a plain connection a secure one.
        let facts = Rc::new(Facts::new(Arrival { peer, local, announced: secure }, None));
        let deadline = Deadline::new(&worker.clock);
        let mut connection = Connection::new(worker.clone(), Client::Plain(tcp), deadline, facts);
        connection.requests = requests;
        worker.serve(Box::new(connection), open);
    }
}

const NO_TIME: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
