//! From wanted listeners to kernel maps: validate, read what is there, plan, do.
//!
//! Owns: carrying out the steps of a [`plan`](lb_core::plan). Goes in: served addresses with sockets. Comes out: what
//! changed. Does not do: deciding the order (`lb_core::plan`), judging sockets (`sockets`).

use super::object::Maps;
use super::sockets::{self, Refused};
use aya::maps::MapError;
use lb_common::lookup::{Listener, ListenerKey};
use lb_common::maps::{LISTENERS_MAX, SERVED_MAX};
use lb_core::plan::{Step, Summary, TooManyListeners, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// Why listeners could not be steered to.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// A socket does not fit its address.
    #[error("{addr}: {refused}")]
    Socket {
        /// The served address.
        addr: SocketAddr,
        /// Why.
        refused: Refused,
    },
    /// An address is there twice.
    #[error("{0} is served twice")]
    Duplicate(SocketAddr),
    /// More addresses than [`SERVED_MAX`].
    #[error("{0} addresses are to be served; the limit is {SERVED_MAX}")]
    TooMany(usize),
    /// The slots do not hold the new listeners beside those in use.
    #[error(transparent)]
    Slots(#[from] TooManyListeners),
    /// The kernel refused a change; part of the plan is carried out. Steering again starts from what is there.
    #[error("cannot {action} in the kernel's maps: {source}")]
    Map {
        /// What was to be done.
        action: &'static str,
        /// The error.
        source: MapError,
    },
}

/// Makes the maps hold exactly these listeners.
pub(super) fn steer(maps: &mut Maps, listeners: &[(SocketAddr, BorrowedFd<'_>)]) -> Result<Summary, SteerError> {
    let wanted = wanted(listeners)?;
    let have: BTreeMap<ListenerKey, u32> = maps
        .listeners
        .iter()
        .map(|entry| entry.map(|(key, listener)| (key, listener.slot)))
        .collect::<Result<_, _>>()
        .map_err(|source| SteerError::Map { action: "read listeners", source })?;
    let plan = plan(&have, &wanted.keys().copied().collect::<BTreeSet<_>>(), LISTENERS_MAX)?;
    for step in plan.steps {
        apply(maps, &wanted, step)?;
    }
    Ok(plan.summary)
}

/// Keys with their sockets, each judged.
fn wanted<'fd>(
    listeners: &[(SocketAddr, BorrowedFd<'fd>)],
) -> Result<BTreeMap<ListenerKey, BorrowedFd<'fd>>, SteerError> {
    if listeners.len() > SERVED_MAX as usize {
        return Err(SteerError::TooMany(listeners.len()));
    }
    let mut wanted = BTreeMap::new();
    for &(addr, socket) in listeners {
        sockets::check(addr, socket).map_err(|refused| SteerError::Socket { addr, refused })?;
        if wanted.insert(sockets::key(addr), socket).is_some() {
            return Err(SteerError::Duplicate(addr));
        }
    }
    Ok(wanted)
}

fn apply(maps: &mut Maps, wanted: &BTreeMap<ListenerKey, BorrowedFd<'_>>, step: Step) -> Result<(), SteerError> {
    let (action, result) = match step {
        Step::SetSocket { slot, key } => {
            let socket = wanted.get(&key).expect("a plan places only sockets of wanted keys");
            ("place a socket", maps.sockets.set(slot, socket, 0))
        }
        Step::SetKey { key, slot } => ("add a listener", maps.listeners.insert(key, Listener { slot }, 0)),
        Step::RemoveKey { key } => ("remove a listener", maps.listeners.remove(&key)),
        Step::ClearSocket { slot } => ("clear a slot", cleared(maps.sockets.clear_index(&slot))),
    };
    result.map_err(|source| SteerError::Map { action, source })
}

/// The kernel empties the slot of a socket that closes, and answers `EINVAL` to who empties it again.
fn cleared(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(error) if is_empty_slot(&error) => Ok(()),
        result => result,
    }
}

fn is_empty_slot(error: &MapError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    matches!(source.and_then(io::Error::raw_os_error), Some(libc::EINVAL | libc::ENOENT))
}
