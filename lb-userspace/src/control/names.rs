//! Names: the hosts that `ExternalName` Services name, resolved at run time, for as long as some Service names them.
//!
//! Goes in: the names of a [`Store`]. Comes out: [`Answer`]s, put into the store. The resolver is the system's
//! (`getaddrinfo`), which takes /etc/resolv.conf as its owner wrote it and needs no crate; it does not tell how long an answer
//! holds, so every name is asked for again every [`AGAIN`]. It may block for half a minute, so it has threads of its
//! own, and the bounds of [`super::store::external`] leave nobody without one. Does not decide who may name what.

pub mod address;
pub mod answer;

use super::store::Store;
use crate::config;
use answer::Answer;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a name is resolved.
pub const AGAIN: Duration = Duration::from_secs(30);

/// How soon a name is resolved again that could be before and cannot be now.
const AGAIN_SOON: Duration = Duration::from_secs(5);

/// Names that are resolved at once. One namespace has 32 at most, and one of these that nobody answers for takes some 10 s:
/// so a whole namespace of them takes 40 s, and the others wait no longer.
const THREADS: usize = 8;

/// Finds the addresses of a name, or says why there are none.
pub type Resolve = dyn Fn(&str) -> Result<Vec<IpAddr>, String> + Send + Sync;

/// Names that are resolved. Dropping it stops that, once what is being resolved is.
#[derive(Debug)]
pub struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    deny: Vec<IpNet>,
    resolve: Box<Resolve>,
    /// Called when there is something to take, once until it is taken.
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<Arc<str>, Entry>,
    /// Names whose answers were not taken yet.
    fresh: BTreeSet<Arc<str>>,
    stopped: bool,
}

struct Entry {
    due: Instant,
    /// A thread is at it.
    busy: bool,
    answer: Option<Answer>,
}

impl Names {
    /// Starts threads for names, with the resolver of the system.
    #[must_use]
    pub fn start(settings: &config::ExternalNames, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self::resolved_by(Box::new(system), settings, wake)
    }

    /// Starts threads for names, with a resolver.
    #[must_use]
    pub fn resolved_by(
        resolve: Box<Resolve>,
        settings: &config::ExternalNames,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (state, changed, deny) = (Mutex::default(), Condvar::new(), settings.deny.clone());
        let shared = Arc::new(Shared { state, changed, deny, resolve, wake: Box::new(wake) });
        for _ in 0..THREADS {
            let work = shared.clone();
            if let Err(error) = thread::Builder::new().name("names".to_owned()).spawn(move || work.run()) {
                tracing::error!(%error, "ExternalName Services are resolved slowly, or not at all");
            }
        }
        Self { shared }
    }

    /// Resolves the names that a store has now, and puts what was found into it. Answers whether something changed.
    pub fn follow(&self, store: &mut Store) -> bool {
        let wanted = store.external_names();
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.names.retain(|name, _| wanted.contains(name));
        for name in &wanted {
            if !state.names.contains_key(name) {
                state.names.insert(name.clone(), Entry { due: now, busy: false, answer: None });
            }
        }
        let fresh = std::mem::take(&mut state.fresh);
        let answers = fresh.into_iter().filter_map(|name| {
            let answer = state.names.get(&name)?.answer.clone()?;
            Some((name, answer))
        });
        let answers: Vec<(Arc<str>, Answer)> = answers.collect();
        drop(state);
        self.shared.changed.notify_all();
        answers.into_iter().fold(false, |changed, (name, answer)| store.resolved(&name, answer) || changed)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            let idle = state.names.iter().filter(|(_, entry)| !entry.busy);
            let next = idle.min_by_key(|(_, entry)| entry.due).map(|(name, entry)| (name.clone(), entry.due));
            state = match next {
                Some((name, due)) if due <= now => self.ask(state, &name),
                next => {
                    let wait = next.map_or(AGAIN, |(_, due)| due.saturating_duration_since(now));
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Resolves a name, and takes in what came of it.
    fn ask<'s>(&'s self, mut state: MutexGuard<'s, State>, name: &Arc<str>) -> MutexGuard<'s, State> {
        if let Some(entry) = state.names.get_mut(name) {
            entry.busy = true;
        }
        drop(state);
        let found = (self.resolve)(name);
        let mut state = self.lock();
        // Nobody may name it any more.
        let Some(entry) = state.names.get_mut(name) else { return state };
        let soon = found.is_err() && entry.answer.as_ref().is_some_and(|before| before.failing.is_none());
        let answer = match found {
            Ok(found) => Answer::of(found, &self.deny),
            Err(why) => Answer::failed(entry.answer.as_ref(), why, now_s()),
        };
        (entry.due, entry.busy) = (Instant::now() + if soon { AGAIN_SOON } else { AGAIN }, false);
        if entry.answer.as_ref() != Some(&answer) {
            entry.answer = Some(answer);
            let first = state.fresh.is_empty();
            state.fresh.insert(name.clone());
            if first {
                (self.wake)();
            }
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("deny", &self.deny).finish_non_exhaustive()
    }
}

/// The resolver of the system. The name is absolute, as that of a CNAME record is: no search domain is tried.
fn system(name: &str) -> Result<Vec<IpAddr>, String> {
    match (format!("{name}."), 0).to_socket_addrs() {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
