//! How large the segments are that backends take, where a connection of theirs cannot tell.
//!
//! Owns: what was learned of backends. Goes in: ends. Comes out: the option `TCP_MAXSEG` of the next connection, and what
//! the backend takes on this one. Does not do: the rule (`lb_core::handoff::join`).
//!
//! A backend may send the client no more than the client takes, so it is dialled with `TCP_MAXSEG` as the client's. That
//! option bounds what we send as well as what we announce, and what the backend itself announced is lost. A client that
//! takes less than we announced to it (behind a tunnel, say) would therefore never be joined: nobody could say whether the
//! backend takes what the client may send. So the first connection for such a client goes without the option, cannot be
//! joined, but shows what the backend announced.

use lb_core::handoff::join::{End, TIMESTAMP_BYTES};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something learned holds: a backend's interface seldom changes while it keeps its address.
const KNOWN: Duration = Duration::from_secs(600);

/// Most backends that are remembered.
const BACKENDS_MAX: usize = 16_384;

/// Largest value of `TCP_MAXSEG` (kernel 6.18, `MAX_TCP_WINDOW`); no announcement is larger in practice.
const MAXSEG_MAX: u32 = 32_767;

/// What backends are known to take, by address, options not subtracted.
#[derive(Debug, Default)]
pub(super) struct Segments(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Segments {
    /// `TCP_MAXSEG` for a connection to a backend that is to be joined with this client; `None`: leave it.
    pub fn limit(&self, client: &End, backend: IpAddr) -> Option<u32> {
        let limit = taken(client);
        let is_known = limit >= client.mss_in || self.known(backend, Instant::now()).is_some();
        is_known.then_some(limit.min(MAXSEG_MAX))
    }

    /// Learns from a connection of a backend, or fills in what it cannot tell.
    pub fn settle(&self, client: &End, backend: &mut End) {
        let (limit, now, address) = (taken(client), Instant::now(), backend.peer.ip());
        let was_limited = backend.mss_in <= limit;
        if limit >= client.mss_in || !was_limited {
            let mut known = self.lock();
            if known.len() >= BACKENDS_MAX {
                known.clear();
            }
            known.insert(address, (taken(backend), now + KNOWN));
        } else if let Some(known) = self.known(address, now) {
            backend.mss_out = backend.mss_out.max(known.saturating_sub(option(backend)));
        }
    }

    fn known(&self, backend: IpAddr, now: Instant) -> Option<u32> {
        self.lock().get(&backend).filter(|(_, until)| now < *until).map(|(mss, _)| *mss)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, (u32, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an end's peer takes, options not subtracted.
fn taken(end: &End) -> u32 {
    end.mss_out + option(end)
}

fn option(end: &End) -> u32 {
    if end.timestamps { TIMESTAMP_BYTES } else { 0 }
}
