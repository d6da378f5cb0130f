//! The splicer: hands pairs of connections to the kernel and keeps the books of those that it carries.
//!
//! Owns: the order of a hand-off, ports and records, the table of carried pairs. Goes in: two sockets of the proxy whose
//! request is whole. Comes out: a [`Pending`] that says who has the pair, and later how it ended.
//! Does not do: the translation (`lb-ebpf`), the maps and where programs sit (`carrier`), the arithmetic (`lb_core::handoff`).
//!
//! The order, with no race and no lost byte: the numbers of both sockets are read; record and keys are put in; only if
//! nothing has come to either socket meanwhile is the request written. From the first packet of the answer on the kernel
//! carries the pair, and both sockets are closed without a sign to their peers. No socket is kept as a place-holder: one
//! whose request is acknowledged by a packet that the programs took would time out after a quarter of an hour, and would cost
//! a descriptor and its memory for as long as the connection lives. `ports` keeps the 4-tuples instead.

mod adopt;
mod flows;
mod ids;
mod pending;
mod reset;
mod segments;
mod shared;
mod sweep;

pub use flows::{Close, Unclaimed};
pub use pending::Pending;

use super::carrier::{Carrier, CarrierReport, CarrierSetup, Follower};
use super::ports::{self, Ports};
use super::route::Routes;
use super::{Unavailable, object, repair};
use flows::Ends;
use lb_common::maps::CONNS_MAX;
use lb_core::handoff::join::{Joined, Request, join};
use lb_core::handoff::{Answer, Apart, Carried, Ending, FlowView};
use pending::Sockets;
use serde::Serialize;
use shared::{Eligible, Shared, failed, lock};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How the splicer works.
#[derive(Debug, Clone)]
pub struct SplicerSetup {
    /// Where programs and maps are, and by which interfaces.
    pub carrier: CarrierSetup,
    /// Source ports towards backends. The kernel should not hand them out by itself: see `net.ipv4.ip_local_port_range`.
    pub ports: RangeInclusive<u16>,
    /// Most pairs at once; at most [`CONNS_MAX`].
    pub pairs_max: u32,
    /// A pair by which nothing passes so long is reset.
    pub idle: Duration,
    /// So long a pair that is closing can still be found by late packets.
    pub grace: Duration,
    /// A pair whose backend is no longer one is reset after that.
    pub drain: Duration,
    /// A port is not used again towards the same backend for at most that long: see [`lb_core::handoff::rest`].
    pub rest: Duration,
}

impl SplicerSetup {
    /// As the agent does it, unless it is told otherwise.
    #[must_use]
    pub fn new(carrier: CarrierSetup) -> Self {
        Self {
            carrier,
            ports: 20_000..=29_999,
            pairs_max: CONNS_MAX,
            idle: Duration::from_secs(3600),
            grace: Duration::from_secs(5),
            drain: Duration::from_secs(300),
            rest: Duration::from_secs(60),
        }
    }
}

/// Which pairs are to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// All of them.
    All,
    /// The one of a record.
    Id(u32),
    /// Those of a client.
    Client(IpAddr),
    /// Those to a backend.
    Backend(SocketAddr),
}

/// What the splicer has come to since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Splicing {
    /// Pairs that the kernel carries.
    pub pairs: usize,
    /// All that was carried, by pairs that live or that ended under this agent.
    pub carried: Carried,
    /// Pairs in whose hand-off a byte came to our sockets past the programs. It was not acknowledged, so its sender repeated it.
    pub late: u64,
}

/// Hands pairs of connections to the kernel.
///
/// Dropping it leaves the kernel as it is: pairs go on, and the next [`open`](Self::open) lists them again.
#[derive(Debug)]
pub struct Splicer {
    shared: Arc<Shared>,
    /// Forwards events until it is dropped.
    _follower: Follower,
    _sweeper: sweep::Sweeper,
}

impl Splicer {
    /// Loads or adopts programs and maps, takes over the pairs that they carry, and looks after them from now on. Must be
    /// called in the network namespace of the sockets.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] says what this machine or our privileges lack, and the remedy.
    pub fn open(setup: &SplicerSetup) -> Result<Self, Unavailable> {
        let carrier = Carrier::open(&setup.carrier, object())?;
        let ports = Ports::new(setup.ports.clone(), ports::automatic());
        let routes = Routes::open().map_err(|e| Unavailable::from_io("open a socket for routes", e))?;
        let adopted =
            adopt::adopt(&carrier, &ports).map_err(|e| Unavailable::from_io("list carried connections", e))?;
        let in_use: HashSet<u32> = adopted.iter().map(|(id, _)| *id).collect();
        let shared = Arc::new(Shared::new(carrier, ports, routes, setup, &in_use));
        for (id, flow) in adopted {
            shared.flows.add(id, flow);
        }
        let told = Arc::clone(&shared);
        let follow = || {
            let follower = shared.carrier.follow(move |event| sweep::on_event(&told, &event))?;
            Ok((follower, sweep::Sweeper::start(Arc::clone(&shared))?))
        };
        let (follower, sweeper) =
            follow().map_err(|e: io::Error| Unavailable::from_io("start a thread for carried connections", e))?;
        Ok(Self { shared, _follower: follower, _sweeper: sweeper })
    }

    /// A non-blocking socket, not yet connected, to reach `endpoint` by; its options and source port are such that the
    /// connection can be joined with the client's.
    ///
    /// # Errors
    ///
    /// [`Apart`], when no connection to that endpoint can be.
    pub fn socket(&self, client: BorrowedFd<'_>, endpoint: SocketAddr) -> Result<TcpStream, Apart> {
        let endpoint = canonical(endpoint);
        let client = repair::outline(client).map_err(|e| failed("look at a client's connection", &e))?;
        let peer = client.peer.ip().to_canonical();
        if peer.is_ipv4() != endpoint.is_ipv4() {
            return Err(Apart::Family);
        }
        if client.special {
            return Err(Apart::Option);
        }
        self.shared.interface(peer, Some(client.local.ip()))?;
        self.shared.interface(endpoint.ip(), None)?;
        let open = || {
            let Some(socket) = self.shared.ports.socket(endpoint)? else { return Ok(None) };
            if let Some(mss) = self.shared.segments.limit(&client, endpoint.ip()) {
                socket.set_tcp_mss(mss)?;
            }
            Ok(Some(TcpStream::from(socket)))
        };
        open().map_err(|e: io::Error| failed("make a socket", &e))?.ok_or(Apart::Ports)
    }

    /// Makes everything ready before a request of `request_bytes` is written to `backend`: the client has sent all of it and
    /// no more, and none of it has been written.
    ///
    /// # Errors
    ///
    /// [`Apart`]; nothing was changed.
    pub fn begin(
        &self,
        client: BorrowedFd<'_>,
        backend: BorrowedFd<'_>,
        request_bytes: u32,
        answer: Answer,
    ) -> Result<Pending, Apart> {
        let shared = &self.shared;
        // Read before the clocks of the connections are, so that what is reckoned from it is never behind them.
        let begun_ns = repair::monotonic_ns();
        let end =
            |socket| repair::end(socket).map_err(|e| failed("read a connection", &e)).and_then(|e| shared.placed(e));
        let (client_end, mut backend_end) = (end(client)?, end(backend)?);
        shared.segments.settle(&client_end, &mut backend_end);
        let request = Request { bytes: request_bytes, answer, begun_ns, generation: 0 };
        let Joined { mut conn, up, down } = join(&client_end, &backend_end, &request)?;
        let hold = || Ok((client.try_clone_to_owned()?, backend.try_clone_to_owned()?));
        let (client, backend) = hold().map_err(|e: io::Error| failed("hold sockets", &e))?;
        let sockets = Sockets { client: (client, client_end.rcv_nxt), backend: (backend, backend_end.rcv_nxt) };
        let ends = Ends::of(&conn);
        let (id, generation) = shared.take_id().ok_or(Apart::Full)?;
        match shared.ports.claim(ends.source.port(), ends.backend) {
            Ok(true) => {}
            claimed => {
                shared.give_id(id);
                return Err(claimed.map_or_else(|e| failed("guard a port", &e), |_| Apart::Ports));
            }
        }
        conn.generation = generation;
        // From here on its end gives everything back.
        let pending = Pending::new(Arc::clone(shared), id, generation, ends, sockets);
        shared.carrier.insert(id, &up, &down, &conn).map_err(|e| refused(&e))?;
        // A packet that came before the keys were there is in a socket, and the kernel must not go on without it.
        if pending.moved() { Err(Apart::Ahead) } else { Ok(pending) }
    }

    /// Every pair that the kernel carries, by its record.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowView> {
        flows::views(&self.shared, repair::monotonic_ns())
    }

    /// Resets both ends of pairs; answers how many. Must be called in the network namespace of the splicer.
    pub fn reset(&self, selector: Selector) -> usize {
        let wanted = |(id, ends): &(u32, Ends)| match selector {
            Selector::All => true,
            Selector::Id(wanted) => *id == wanted,
            Selector::Client(client) => ends.client.ip() == client.to_canonical(),
            Selector::Backend(backend) => ends.backend == canonical(backend),
        };
        let all = self.shared.flows.all().into_iter().filter(wanted);
        all.filter(|(id, ends)| flows::end(&self.shared, *id, ends, Ending::Administrator, true)).count()
    }

    /// Pairs of an earlier agent of which nobody keeps an account yet.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<Unclaimed> {
        flows::unclaimed(&self.shared)
    }

    /// Keeps an account of such a pair: `close` is told how it ends. `false`, and `close` is dropped: it is over, or somebody
    /// else's.
    pub fn claim(&self, pair: &Unclaimed, service: String, close: Close) -> bool {
        flows::claim(&self.shared, pair, service, close)
    }

    /// How many pairs the kernel carries, now and from now on.
    #[must_use]
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.shared.flows.count()
    }

    /// Says who knows which of some backends take requests: pairs of others are reset after a time. Addresses are plain IPv4
    /// ones where they can be. It is asked on a thread of the splicer.
    pub fn endpoints(&self, eligible: impl Fn(&HashSet<SocketAddr>) -> HashSet<SocketAddr> + Send + Sync + 'static) {
        lock(&self.shared.backends).eligible = Some(Eligible(Box::new(eligible)));
    }

    /// Packets by outcome; names are those of [`SpliceOutcome`](lb_common::outcome::SpliceOutcome).
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.carrier.counters()
    }

    /// What the splicer has come to.
    #[must_use]
    pub fn splicing(&self) -> Splicing {
        let live: Vec<_> = self.flows().into_iter().map(|flow| flow.carried).collect();
        let late = self.shared.late.load(Relaxed);
        Splicing { pairs: live.len(), carried: self.shared.totals.with(&live), late }
    }

    /// What is in the kernel on our behalf.
    #[must_use]
    pub fn report(&self) -> CarrierReport {
        self.shared.carrier.report()
    }
}

/// An IPv4 address as such, in whatever form it is.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Why record and keys could not be put in.
fn refused(error: &io::Error) -> Apart {
    match error.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => Apart::Full,
        _ => failed("put a pair in", error),
    }
}
