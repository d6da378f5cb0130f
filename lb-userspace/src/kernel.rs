//! The kernel room: what we run in the kernel and how it is loaded, kept, filled and read.
//!
//! Owns: aya, libc, bpffs and every `unsafe` of the agent. Goes in: served addresses with their listening sockets.
//! Comes out: steering by `sk_lookup`, counters, a report. Does not do: opening listeners, choosing addresses, Kubernetes.
//!
//! Kernel state outlives the agent: it is pinned under `<pin_dir>/abi-<N>`, adopted by the next agent, and changed only
//! by applying a [`plan`](lb_core::plan).

mod apply;
mod attach;
mod bpffs;
mod capability;
mod carrier;
mod counters;
pub mod doctor;
mod elements;
mod events;
mod memory;
mod netns;
mod object;
mod pins;
mod ports;
mod repair;
mod report;
mod route;
mod sockets;
mod splice;
mod syscall;
mod unavailable;

pub use apply::SteerError;
pub use carrier::{
    Ability, AttachBy, Carrier, CarrierReport, CarrierSetup, Follower, InterfaceReport, Interfaces, OtherSet, Pair,
    probe,
};
pub use memory::give_back;
pub use object::object;
pub use pins::{UnpinError, unpin};
pub use report::{MapReport, Origin, ProgramReport, Report};
pub use splice::{Close, Pending, Selector, Splicer, SplicerSetup, Splicing, Unclaimed, canonical};
pub use unavailable::Unavailable;

use attach::Attached;
use lb_core::plan::Summary;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Steering of new connections in the network namespace in which it was opened.
///
/// Dropping it leaves the kernel as it is: connections go on to the sockets that are open, and the next
/// [`open`](Self::open) adopts program, link and maps.
pub struct Steering {
    attached: Attached,
    /// Forwards log records until it is dropped.
    _events: events::Forwarder,
    /// Held as long as we may write the maps.
    _lock: pins::Lock,
}

impl Steering {
    /// Loads or adopts program and maps, attaches to the network namespace of this thread, pins under `pin_dir`.
    ///
    /// Mounts a bpffs where none is: at `/sys/fs/bpf` for a `pin_dir` below it, else at `pin_dir`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] says what this machine or our privileges lack, and the remedy.
    pub fn open(pin_dir: &Path) -> Result<Self, Unavailable> {
        Self::open_object(pin_dir, object())
    }

    /// As [`open`](Self::open), with an eBPF object of the caller: how an upgrade is tried.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_object(pin_dir: &Path, object: &[u8]) -> Result<Self, Unavailable> {
        if object.is_empty() {
            return Err(Unavailable::ObjectMissing);
        }
        unavailable::check_kernel()?;
        bpffs::ensure(pin_dir)?;
        let lock = pins::Lock::take(pin_dir, pins::Kind::Lookup)?;
        let (attached, events) = attach::open(pin_dir, object)?;
        Ok(Self { attached, _events: events, _lock: lock })
    }

    /// Makes the kernel steer exactly these listeners: a served address, and one listening socket of the group of
    /// sockets (`SO_REUSEPORT`) that serve it. The kernel spreads connections over the group.
    ///
    /// The port of an address is the served one; the socket may be bound to any. `[::]` serves both families when its
    /// socket does. Call it again when sockets are replaced: the new ones take over at once, and connections that wait
    /// in the queue of an old socket stay there.
    ///
    /// # Errors
    ///
    /// [`SteerError`]; nothing was changed unless it is [`SteerError::Map`].
    pub fn steer(&mut self, listeners: &[(SocketAddr, BorrowedFd<'_>)]) -> Result<Summary, SteerError> {
        let summary = apply::steer(&mut self.attached.maps, listeners)?;
        // Until now the programs of an earlier version steered, with the sockets that they had.
        self.attached.remove_replaced();
        Ok(summary)
    }

    /// Removes all listeners: new connections are no longer ours. Program, link and pins stay.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`].
    pub fn withdraw(&mut self) -> Result<(), SteerError> {
        apply::steer(&mut self.attached.maps, &[])?;
        self.attached.remove_replaced();
        Ok(())
    }

    /// Packets by outcome since the maps were made, summed over the CPUs; names are those of
    /// [`LookupOutcome`](lb_common::outcome::LookupOutcome).
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`].
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, SteerError> {
        counters::read(&self.attached.maps.counters)
    }

    /// What is in the kernel on our behalf.
    #[must_use]
    pub fn report(&self) -> Report {
        report::report(&self.attached)
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("pins", &self.attached.set).finish_non_exhaustive()
    }
}
