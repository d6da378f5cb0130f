//! One thread that hears what the programs and the interfaces say.
//!
//! Owns: the thread. Goes in: the ring of events, news of interfaces. Comes out: calls of the user's function, and
//! programs on new interfaces. Does not do: deciding what an event means.

use super::super::elements::from_bytes;
use super::{Carrier, links};
use aya::maps::{MapData, RingBuf};
use lb_common::splice::Event;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often chores are looked at while there are some (sets of other versions, interfaces to leave). Looking at 16,384
/// pairs takes some 20 ms.
const CHORES: Duration = Duration::from_secs(5);

/// Follows until it is dropped.
#[derive(Debug)]
pub struct Follower {
    /// Its end wakes the thread. Always there before `drop`.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(carrier: Arc<Carrier>, on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        let ring = carrier.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ring = ring.ok_or_else(|| io::Error::new(io::ErrorKind::AlreadyExists, "followed already"))?;
        let (stopped, stop) = io::pipe()?;
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let follow = move || {
            tracing::dispatcher::with_default(&dispatch, || follow(&carrier, &mut ring, &stopped, on_event));
            *carrier.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        };
        let thread = std::thread::Builder::new().name("splice-events".to_owned()).spawn(follow)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        // Dropped by what the thread itself calls: it ends when that returns.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread that follows carried connections panicked");
        }
    }
}

fn follow(carrier: &Carrier, ring: &mut RingBuf<MapData>, stopped: &PipeReader, mut on_event: impl FnMut(Event)) {
    let (mut hears, mut chores_done) = (true, Instant::now());
    loop {
        while let Some(event) = ring.next().map(|item| from_bytes::<Event>(&item)) {
            event.map(&mut on_event);
        }
        if hears && let Err(error) = hear(carrier) {
            tracing::error!(%error, "interfaces that come from now on are not covered until the next start");
            hears = false;
        }
        // Events that keep coming do not put chores off.
        if chores_done.elapsed() >= CHORES && carrier.has_chores() {
            carrier.do_chores();
            chores_done = Instant::now();
        }
        let timeout = if carrier.has_chores() { PollTimeout::try_from(CHORES).ok() } else { None };
        let mut fds =
            vec![PollFd::new(ring.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        if hears {
            fds.push(PollFd::new(carrier.news.as_fd(), PollFlags::POLLIN));
            let drivers = carrier.drivers.as_ref().as_ref().ok();
            fds.extend(drivers.map(|drivers| PollFd::new(drivers.as_fd(), PollFlags::POLLIN)));
        }
        match poll(&mut fds, timeout.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "carried connections are no longer followed");
                return;
            }
        }
        if fds[1].any() == Some(true) {
            return;
        }
    }
}

/// Takes in all news that have come. What one interface refuses does not concern the others, so only a socket that is
/// of no use any more is an error.
fn hear(carrier: &Carrier) -> io::Result<()> {
    loop {
        let mut news = links::news(&carrier.news)?;
        if let Ok(drivers) = carrier.drivers.as_ref() {
            news.extend(drivers.news()?);
        }
        if news.is_empty() {
            return Ok(());
        }
        carrier.attach(|attachments, programs| {
            for one in &news {
                if let Err(error) = attachments.heard(one, programs) {
                    tracing::warn!(?one, %error, "cannot follow a change of interfaces");
                }
            }
        });
    }
}
