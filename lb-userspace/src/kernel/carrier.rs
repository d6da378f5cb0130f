//! What carries connections in the kernel: the programs on interfaces, the maps that they share with us, and one thread
//! that hears from both.
//!
//! Owns: the set of pins of the splice. Goes in: keys and records of pairs. Comes out: records, events, counters, a
//! report. Does not do: deciding which connections are joined, or when a pair ends (`splice`).
//!
//! Dropping it leaves the kernel as it is: pairs are carried on, and the next [`open`](Carrier::open) finds them.

mod attach;
mod clsact;
mod drivers;
mod flows;
mod follow;
mod layout;
mod links;
pub(super) mod netlink;
mod others;
mod probe;
mod records;
mod report;
pub(super) mod set;
mod setup;
pub(super) mod survey;

pub use follow::Follower;
pub use probe::probe;
pub use report::{Ability, CarrierReport, InterfaceReport, OtherSet};
pub use setup::{AttachBy, CarrierSetup, Interfaces};

use super::{Unavailable, bpffs, netns, pins};
use attach::Attachments;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::maps;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{Conn, Event, FREE, FlowKey};
use set::Programs;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

/// Carries pairs of connections in the network namespace in which it was opened.
pub struct Carrier {
    flows: flows::Flows,
    records: records::Records,
    counters: PerCpuArray<MapData, u64>,
    /// There unless it is followed.
    events: Mutex<Option<RingBuf<MapData>>>,
    news: netlink::Socket,
    /// An error where nobody asks.
    drivers: Arc<io::Result<drivers::Drivers>>,
    attachments: Mutex<Attachments>,
    /// Interfaces on which pairs may be carried: read at every hand-off, while attaching may take its time.
    covered: RwLock<HashSet<u32>>,
    programs: Programs,
    others: Mutex<others::Others>,
    dir: PathBuf,
    origin: super::Origin,
    /// Held as long as we may write the maps.
    _lock: pins::Lock,
}

/// A pair as its keys tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Its record.
    pub id: u32,
    /// The key of packets from the client.
    pub up: Option<FlowKey>,
    /// The key of packets from the backend.
    pub down: Option<FlowKey>,
}

impl Carrier {
    /// Loads or adopts programs and maps, and attaches them in the network namespace of this thread.
    ///
    /// An interface that refuses is no error: [`report`](Self::report) says why, and [`covers`](Self::covers) no.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] says what this machine or our privileges lack, and the remedy.
    pub fn open(setup: &CarrierSetup, object: &[u8]) -> Result<Self, Unavailable> {
        if object.is_empty() {
            return Err(Unavailable::ObjectMissing);
        }
        super::unavailable::check_kernel()?;
        let by = probe::check(setup.by)?;
        bpffs::ensure(&setup.pin_dir)?;
        let failed = |e| Unavailable::from_io(format!("use {}", setup.pin_dir.display()), e);
        let pin_dir = std::fs::canonicalize(&setup.pin_dir).map_err(failed)?;
        let lock = pins::Lock::take(&pin_dir, pins::Kind::Splice)?;
        let netns = netns::current()?;
        let mut set = set::open(&pin_dir, object, &netns, setup.xdp)?;
        let open = || {
            // Before interfaces are listed, so that none that comes meanwhile is missed.
            let news = links::listen(by == AttachBy::Clsact)?;
            let (flows, records) =
                (flows::Flows::open(&set.dir.join(maps::FLOWS))?, records::Records::open(&set.dir.join(maps::CONNS))?);
            Ok((news, netlink::Socket::open()?, flows, records))
        };
        let (news, socket, flows, records) = open().map_err(|e| Unavailable::from_io("use our maps", e))?;
        let place = (set::links(&set.dir, &netns), clsact::mark(&set.dir));
        let drivers =
            Arc::new(if setup.xdp { drivers::Drivers::open() } else { Err(io::ErrorKind::Unsupported.into()) });
        let wanted = (by, setup.interfaces.clone());
        let mut attachments = Attachments::new(wanted, place, set.ports, socket, Arc::clone(&drivers));
        attachments.start(&set.programs).map_err(|e| Unavailable::from_io("attach to interfaces", e))?;
        set.programs.settle(&set.dir).map_err(|e| Unavailable::from_io("pin our programs", e))?;
        let others = set::others(&pin_dir).map_err(failed)?;
        let carrier = Self {
            flows,
            records,
            counters: set.counters,
            events: Mutex::new(Some(set.events)),
            news,
            drivers,
            covered: RwLock::new(attachments.covered()),
            attachments: Mutex::new(attachments),
            programs: set.programs,
            others: Mutex::new(others::Others::new(others, setup.others_idle_max, Instant::now())),
            dir: set.dir,
            origin: set.origin,
            _lock: lock,
        };
        carrier.leave_if_idle();
        tracing::info!(
            origin = carrier.origin.name(),
            by = by.name(),
            program = carrier.programs.ingress.report.id,
            tag = carrier.programs.ingress.report.tag,
            interfaces = locked_read(&carrier.covered).len(),
            "connections can be carried in the kernel"
        );
        Ok(carrier)
    }

    /// Makes a pair known to the programs: the record, with the state that it has, and both keys.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when one of the keys is of another pair, an error with `E2BIG` when the map is full. Nothing stays.
    pub fn insert(&self, id: u32, up: &FlowKey, down: &FlowKey, conn: &Conn) -> io::Result<()> {
        self.records.write(id, conn)?;
        self.flows.insert(id, up, down).inspect_err(|_| self.records.set_state(id, FREE))
    }

    /// Takes a pair out: its keys, of which the programs may have taken one, then its record, which is
    /// [`FREE`] afterwards.
    ///
    /// # Errors
    ///
    /// Of the system calls; what could be taken out is.
    pub fn remove(&self, id: u32, up: &FlowKey, down: &FlowKey) -> io::Result<()> {
        let removed = self.flows.remove(id, up, down);
        self.records.set_state(id, FREE);
        removed
    }

    /// The record. While packets pass, its fields may be of two moments.
    #[must_use]
    pub fn read(&self, id: u32) -> Conn {
        self.records.read(id)
    }

    /// Changes the state of a record in one step.
    ///
    /// # Errors
    ///
    /// The state that it has, when that is not `from`.
    pub fn exchange_state(&self, id: u32, from: u32, to: u32) -> Result<(), u32> {
        self.records.exchange_state(id, from, to)
    }

    /// Says in a record which service its pair belongs to, for agents to come.
    pub fn set_service(&self, id: u32, service: u64) {
        self.records.set_service(id, service);
    }

    /// All pairs that the programs know, by their keys.
    ///
    /// # Errors
    ///
    /// Of the system calls.
    pub fn pairs(&self) -> io::Result<Vec<Pair>> {
        self.flows.pairs()
    }

    /// Keys of pairs that programs of another version carry, as far as their keys look like ours: tuples that must not
    /// be used again.
    ///
    /// # Errors
    ///
    /// Of the system calls.
    pub fn keys_of_others(&self) -> io::Result<Vec<FlowKey>> {
        locked(&self.others).keys()
    }

    /// Whether our programs run on an interface.
    #[must_use]
    pub fn covers(&self, ifindex: u32) -> bool {
        locked_read(&self.covered).contains(&ifindex)
    }

    /// Follows the programs and the interfaces: `on_event` is called, on a thread of its own, with what the programs say,
    /// and interfaces that come are attached to. To be called in the network namespace in which the carrier was opened.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when it is followed already.
    pub fn follow(self: &Arc<Self>, on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Follower> {
        Follower::start(Arc::clone(self), on_event)
    }

    /// Packets by outcome since the maps were made, summed over the CPUs; names are those of [`SpliceOutcome`].
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let one = |outcome: SpliceOutcome| {
            let values = self.counters.get(&outcome.index(), 0);
            let values = values.inspect_err(|error| tracing::warn!(%error, "cannot read a counter")).ok()?;
            Some((outcome.name(), values.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value))))
        };
        SpliceOutcome::ALL.into_iter().filter_map(one).collect()
    }

    /// What is in the kernel on our behalf.
    #[must_use]
    pub fn report(&self) -> CarrierReport {
        report::report(self)
    }

    /// Changes what is attached, and makes it known to [`covers`](Self::covers).
    fn attach(&self, change: impl FnOnce(&mut Attachments, &Programs)) {
        let mut attachments = locked(&self.attachments);
        change(&mut attachments, &self.programs);
        let covered = attachments.covered();
        *self.covered.write().unwrap_or_else(PoisonError::into_inner) = covered;
    }

    fn has_chores(&self) -> bool {
        !locked(&self.others).is_empty() || locked(&self.attachments).has_unwanted()
    }

    fn do_chores(&self) {
        locked(&self.others).sweep(Instant::now());
        self.leave_if_idle();
    }

    /// Detaches from interfaces that were wanted once, unless pairs may pass there.
    fn leave_if_idle(&self) {
        if locked(&self.attachments).has_unwanted() && self.flows.count().is_ok_and(|count| count == 0) {
            self.attach(|attachments, _| attachments.release_unwanted());
        }
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("pins", &self.dir).finish_non_exhaustive()
    }
}

/// A thread that panicked left nothing half done that matters here: each change is one call of the kernel.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn locked_read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
