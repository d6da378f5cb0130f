//! What every connection and the handle share.
//!
//! Goes in: nothing. Comes out: storage, tokens, faults and calls, each behind a lock of its own that is held for the
//! shortest time. Does not do: deciding.

use super::access::Tokens;
use super::call::Calls;
use super::fault::Faults;
use super::store::Store;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The state of a server.
#[derive(Debug)]
pub struct Shared {
    store: Mutex<Store>,
    tokens: Mutex<Tokens>,
    calls: Mutex<Calls>,
    /// What it does wrong.
    pub faults: Faults,
    /// The version of the last change, for those who wait for one.
    pub changed: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let (changed, _) = watch::channel(0);
        Self {
            store: Mutex::new(Store::new()),
            tokens: Mutex::default(),
            calls: Mutex::default(),
            faults: Faults::new(),
            changed,
        }
    }

    /// The storage. A panic of another holder does not matter: the storage changes in one step.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watches that the storage changed.
    pub fn announce(&self) {
        let version = self.store().version();
        self.changed.send_replace(version);
    }
}
