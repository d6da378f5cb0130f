//! What happens to pairs without a call: events of the programs, and a look at every pair each second.
//!
//! Owns: one thread, and what an event leads to. Goes in: events, time. Comes out: waiters woken, pairs ended.
//! Does not do: reading the ring (`carrier`), the rules (`lb_core::handoff::life`).
//!
//! An event makes things quick; the look makes them sure, for a full ring loses events.

use super::super::repair;
use super::flows::{self, Ends};
use super::shared::{Backends, Shared, lock};
use lb_common::splice::{CLOSING, EVENT_ACTIVATED, EVENT_REFUSED, EVENT_REUSED, Event, WAITING};
use lb_core::handoff::life::{self, Fate};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at every pair until it is dropped.
#[derive(Debug)]
pub(super) struct Sweeper {
    /// Its end stops the thread. Always there before `drop`.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// The thread is in the network namespace of the calling one, so that resets leave from there.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let look = move || {
            tracing::dispatcher::with_default(&dispatch, || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    sweep(&shared, repair::monotonic_ns());
                }
            });
        };
        let thread = std::thread::Builder::new().name("splice-sweep".to_owned()).spawn(look)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after carried connections panicked");
        }
    }
}

/// What an event of the programs leads to.
pub(super) fn on_event(shared: &Shared, event: &Event) {
    match event.kind {
        EVENT_ACTIVATED | EVENT_REFUSED => shared.wake(event.conn),
        EVENT_REUSED => {
            // The client's key is out, and its 4-tuple another connection's.
            if let Some(ends) = shared.flows.ends(event.conn, event.generation) {
                let ending = life::ending(&shared.carrier.read(event.conn));
                flows::end(shared, event.conn, &ends, ending, false);
            }
        }
        // A closing pair is looked at until its grace is over.
        _ => {}
    }
}

fn sweep(shared: &Shared, now_ns: u64) {
    for id in shared.awaited() {
        if shared.carrier.read(id).state != WAITING {
            shared.wake(id);
        }
    }
    let all = shared.flows.all();
    let gone = gone(&mut lock(&shared.backends), &all, now_ns);
    for (id, ends) in all {
        let conn = shared.carrier.read(id);
        match life::fate(&conn, now_ns, gone.get(&ends.backend).copied(), &shared.limits) {
            Fate::Lives => {}
            Fate::Ended(ending) => drop(flows::end(shared, id, &ends, ending, false)),
            Fate::Reset(ending) => drop(flows::end(shared, id, &ends, ending, true)),
            Fate::Stray => {
                tracing::warn!(id, state = conn.state, "a carried connection has a record that says it is none");
                flows::end(shared, id, &ends, life::ending(&conn), conn.state != CLOSING);
            }
        }
    }
    shared.ports.sweep(Instant::now());
}

/// Since when backends of these pairs have been none.
fn gone(backends: &mut Backends, all: &[(u32, Ends)], now_ns: u64) -> HashMap<SocketAddr, u64> {
    let Backends { eligible, gone } = backends;
    let Some(eligible) = eligible else { return HashMap::new() };
    let used: HashSet<SocketAddr> = all.iter().map(|(_, ends)| ends.backend).collect();
    let eligible = if used.is_empty() { HashSet::new() } else { eligible.0(&used) };
    gone.retain(|backend, _| used.contains(backend) && !eligible.contains(backend));
    for backend in used.into_iter().filter(|backend| !eligible.contains(backend)) {
        gone.entry(backend).or_insert(now_ns);
    }
    gone.clone()
}

#[cfg(test)]
mod tests {
    use super::super::shared::Eligible;
    use super::*;

    #[test]
    fn a_backend_is_gone_since_it_was_missed_first() {
        let backend = |number: u8| SocketAddr::from(([10, 2, 0, number], 80));
        let pair =
            |number| (0, Ends { client: backend(9), local: backend(9), source: backend(9), backend: backend(number) });
        let all = [pair(1), pair(2), pair(2)];
        let mut backends = Backends::default();
        assert!(gone(&mut backends, &all, 5).is_empty(), "nobody said which there are");
        let only = |number| Some(Eligible(Box::new(move |_: &HashSet<SocketAddr>| HashSet::from([backend(number)]))));
        backends.eligible = only(1);
        assert_eq!(gone(&mut backends, &all, 10), HashMap::from([(backend(2), 10)]));
        assert_eq!(gone(&mut backends, &all, 20), HashMap::from([(backend(2), 10)]));
        backends.eligible = only(2);
        assert_eq!(gone(&mut backends, &all, 30), HashMap::from([(backend(1), 30)]));
        assert!(gone(&mut backends, &all[1..], 40).is_empty(), "no pair uses the other any more");
    }
}
