//! Source ports of connections to backends, such that the kernel may go on with one after its socket is closed.
//!
//! Owns: which port is in use towards which backend, and the sockets that guard ports. Goes in: backends. Comes out: a
//! bound socket, a claim on its port. Does not do: connecting.
//!
//! A pair that the kernel carries has no socket, so nothing but this table keeps its 4-tuple from being taken again. Ports
//! are handed out in turn, each backend for itself, and a port rests after its pair has ended, as long as `lb_core::handoff::rest`
//! says: no late packet of the pair, and no TIME_WAIT of the backend's, stands in the way then. No other program is given such a port by the kernel: our range lies
//! outside `net.ipv4.ip_local_port_range`, and where it does not, a socket that is bound but never connected guards each
//! port that is in use (automatic binds pass by a port that has an owner, kernel 6.18 `inet_csk_find_open_port` and
//! `__inet_hash_connect`).

use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long the turn of a backend is kept that no pair leads to: its ports come round late even so.
const TURN_KEPT: Duration = Duration::from_secs(600);

/// Ports that are tried before there is none: those of other programs, bound without `SO_REUSEADDR`, are passed by.
const TRIES_MAX: usize = 32;

/// The table.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    /// Ports that the kernel hands out by itself.
    automatic: RangeInclusive<u16>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    backends: HashMap<SocketAddr, Backend>,
    /// By family and port: the guard, and by how many backends the port is in use. `None`: it needs no guard.
    guards: HashMap<(bool, u16), (Option<Socket>, usize)>,
}

/// The ports in use towards one backend.
#[derive(Debug)]
struct Backend {
    /// The port that is tried next, counted from the beginning of the range.
    turn: u16,
    /// When it was asked for last.
    asked: Instant,
    busy: HashSet<u16>,
    /// Those of `busy` that rest, in the order in which they may be used again.
    resting: BTreeSet<(Instant, u16)>,
}

/// The ports that the kernel hands out by itself in the network namespace of this thread; the default where it does not tell.
pub(super) fn automatic() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32_768..=60_999,
    }
}

impl Ports {
    pub fn new(range: RangeInclusive<u16>, automatic: RangeInclusive<u16>) -> Self {
        Self { range, automatic, table: Mutex::default() }
    }

    /// A non-blocking socket that is bound to a port which is free towards a backend; `None` when there is none.
    pub fn socket(&self, backend: SocketAddr) -> io::Result<Option<Socket>> {
        for _ in 0..TRIES_MAX {
            let Some(port) = self.next(backend, Instant::now()) else { return Ok(None) };
            match bound(backend.is_ipv4(), port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// The next free port in turn.
    fn next(&self, backend: SocketAddr, now: Instant) -> Option<u16> {
        let mut table = self.table();
        let (first, count) = (*self.range.start(), self.range.len());
        let rested = self.backend(&mut table, backend).rested(now);
        for port in rested {
            table.unguard(backend, port);
        }
        let known = self.backend(&mut table, backend);
        known.asked = now;
        if known.busy.len() >= count {
            return None;
        }
        // One of so many steps meets a port that is not busy.
        for _ in 0..count {
            let port = first + known.turn;
            known.turn = if usize::from(known.turn) + 1 == count { 0 } else { known.turn + 1 };
            if !known.busy.contains(&port) {
                return Some(port);
            }
        }
        None
    }

    /// Takes a port for a pair that the kernel may carry: from now on it is handed out no more towards this backend. Not
    /// when it is none of ours, or a carried pair's.
    pub fn claim(&self, port: u16, backend: SocketAddr) -> io::Result<bool> {
        let mut table = self.table();
        if !self.range.contains(&port) || !self.backend(&mut table, backend).busy.insert(port) {
            return Ok(false);
        }
        let guarded = self.guard(&mut table, backend, port);
        if guarded.is_err() {
            table.free(backend, port);
        }
        guarded.map(|()| true)
    }

    /// Takes a port of a pair that the kernel carries already: one of an earlier agent. It may lie outside the range.
    pub fn adopt(&self, port: u16, backend: SocketAddr) -> io::Result<()> {
        let mut table = self.table();
        match self.backend(&mut table, backend).busy.insert(port) {
            true => self.guard(&mut table, backend, port),
            false => Ok(()),
        }
    }

    /// As [`adopt`](Self::adopt), of a 4-tuple that may be the client's side of a pair: then the port is none of ours.
    pub fn adopt_if_ours(&self, port: u16, backend: SocketAddr) -> io::Result<()> {
        if self.range.contains(&port) { self.adopt(port, backend) } else { Ok(()) }
    }

    /// Gives a port back whose connection was never carried: its socket, if it lives, holds it.
    pub fn give_back(&self, port: u16, backend: SocketAddr) {
        let mut table = self.table();
        table.free(backend, port);
        table.unguard(backend, port);
    }

    /// Lets a port rest whose pair has ended, until then.
    pub fn rest(&self, port: u16, backend: SocketAddr, until: Instant) {
        if let Some(known) = self.table().backends.get_mut(&backend) {
            known.resting.insert((until, port));
        }
    }

    /// Forgets backends none of whose ports is in use. Called now and then, so that the table does not grow.
    pub fn sweep(&self, now: Instant) {
        let mut table = self.table();
        let rested = |(backend, known): (&SocketAddr, &mut Backend)| {
            known.rested(now).into_iter().map(|port| (*backend, port)).collect::<Vec<_>>()
        };
        let rested: Vec<_> = table.backends.iter_mut().flat_map(rested).collect();
        for (backend, port) in rested {
            table.unguard(backend, port);
        }
        table.backends.retain(|_, known| !known.busy.is_empty() || now < known.asked + TURN_KEPT);
    }

    /// The ports towards a backend; a new one begins anywhere, so that an agent does not begin where the last one did.
    fn backend<'t>(&self, table: &'t mut Table, backend: SocketAddr) -> &'t mut Backend {
        table.backends.entry(backend).or_insert_with(|| Backend {
            turn: fastrand::u16(..) % self.range.len().max(1) as u16,
            asked: Instant::now(),
            busy: HashSet::new(),
            resting: BTreeSet::new(),
        })
    }

    fn guard(&self, table: &mut Table, backend: SocketAddr, port: u16) -> io::Result<()> {
        let key = (backend.is_ipv4(), port);
        if let Some((_, count)) = table.guards.get_mut(&key) {
            *count += 1;
            return Ok(());
        }
        let guard = if self.automatic.contains(&port) { Some(bound(key.0, port)?) } else { None };
        table.guards.insert(key, (guard, 1));
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked while it held the lock left at worst a port that is not handed out again.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn free(&mut self, backend: SocketAddr, port: u16) {
        if let Some(known) = self.backends.get_mut(&backend) {
            known.busy.remove(&port);
        }
    }

    fn unguard(&mut self, backend: SocketAddr, port: u16) {
        let key = (backend.is_ipv4(), port);
        if let Some((_, count)) = self.guards.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.guards.remove(&key);
            }
        }
    }
}

impl Backend {
    /// Takes the ports that have rested long enough.
    fn rested(&mut self, now: Instant) -> Vec<u16> {
        let mut ports = Vec::new();
        while let Some((_, port)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.pop_first();
            ports.push(port);
        }
        for port in &ports {
            self.busy.remove(port);
        }
        ports
    }
}

/// A socket of a family, bound to a port of whatever address; others of ours may be bound to the same.
fn bound(is_v4: bool, port: u16) -> io::Result<Socket> {
    let (domain, any) = match is_v4 {
        true => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        false => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if !is_v4 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(any, port).into())?;
    Ok(socket)
}
