//! The coarse clock of a worker: the time in ticks, the `Date` of responses, and one deadline for each connection.
//!
//! A deadline costs one store when it is set and nothing while it waits: a tick looks at all of them (24 bytes each, so
//! 65,536 connections are 2 MB ten times a second). No timer of the runtime is armed for a request.
//! Deadlines are late by up to two ticks and never early.

use crate::epoch::Epoch;
use crate::telemetry::access_log::civil_from_days;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

/// Time between ticks, milliseconds: the limits it serves are seconds.
pub const TICK_MS: u64 = 100;

/// The time of one worker.
#[derive(Debug)]
pub struct Clock {
    epoch: Epoch,
    now_ms: Cell<u64>,
    date: Cell<[u8; 29]>,
    date_s: Cell<u64>,
    entries: RefCell<Slab<Entry>>,
}

#[derive(Debug)]
struct Entry {
    at_ms: u64,
    waker: Option<Waker>,
}

/// The deadline of one task.
#[derive(Debug)]
pub struct Deadline {
    clock: Rc<Clock>,
    key: usize,
}

impl Clock {
    /// A clock that shows the time now, counted from an epoch; [`Self::run`] moves it.
    pub fn new(epoch: Epoch) -> Rc<Self> {
        let clock = Self {
            epoch,
            now_ms: Cell::new(0),
            date: Cell::new([0; 29]),
            date_s: Cell::new(u64::MAX),
            entries: RefCell::default(),
        };
        clock.tick();
        Rc::new(clock)
    }

    /// Moves the clock to the time now and wakes the tasks whose deadline has come.
    pub fn tick(&self) {
        self.now_ms.set(self.epoch.elapsed_ms());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.date_s.replace(since) != since {
            self.date.set(imf_fixdate(since));
        }
        let now_ms = self.now_ms.get();
        for (_, entry) in self.entries.borrow().iter() {
            if let Some(waker) = entry.waker.as_ref().filter(|_| entry.at_ms <= now_ms) {
                waker.wake_by_ref();
            }
        }
    }

    /// Wakes every task that has a deadline: something other than time has changed.
    pub fn wake_all(&self) {
        self.entries.borrow().iter().filter_map(|(_, entry)| entry.waker.as_ref()).for_each(Waker::wake_by_ref);
    }

    /// Milliseconds since the epoch, exactly; it costs a look at the machine's clock.
    pub fn exact_ms(&self) -> u64 {
        self.epoch.elapsed_ms()
    }

    /// Milliseconds since the epoch, as of the last tick.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The value of `Date`, as of the last tick.
    pub fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    /// Ticks for ever.
    pub async fn run(&self, mut each_tick: impl FnMut()) {
        let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.tick();
            each_tick();
        }
    }
}

impl Deadline {
    /// A deadline that is not set.
    pub fn new(clock: &Rc<Clock>) -> Self {
        let key = clock.entries.borrow_mut().insert(Entry { at_ms: u64::MAX, waker: None });
        Self { clock: clock.clone(), key }
    }

    /// Sets it to so many milliseconds from now.
    pub fn set(&self, after_ms: u64) {
        let at_ms = self.clock.now_ms().saturating_add(after_ms).saturating_add(TICK_MS);
        if let Some(entry) = self.clock.entries.borrow_mut().get_mut(self.key) {
            entry.at_ms = at_ms;
        }
    }

    /// Milliseconds since the worker started, as of the last tick.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Whether it has come; if not, the task is woken when it does.
    pub fn poll(&self, cx: &Context<'_>) -> bool {
        let mut entries = self.clock.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key) else { return false };
        if entry.at_ms <= self.clock.now_ms() {
            return true;
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        false
    }
}

impl Deadline {
    /// Does something until this comes; `None` when it was not done by then.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.poll(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The waker goes after the borrow has ended: it may be the last hold on its task.
        let entry = self.clock.entries.borrow_mut().try_remove(self.key);
        drop(entry);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7) of seconds since 1970.
fn imf_fixdate(since: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = since / 86_400;
    let (year, month, day) = civil_from_days(days);
    let weekday = usize::try_from(days % 7).ok().and_then(|i| DAYS.get(i)).unwrap_or(&"Thu");
    let month = usize::try_from(month).ok().and_then(|m| MONTHS.get(m.checked_sub(1)?)).unwrap_or(&"Jan");
    let (h, m, s) = (since / 3_600 % 24, since / 60 % 60, since % 60);
    let text = format!("{weekday}, {day:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT");
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_rfc() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&imf_fixdate(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
    }

    #[test]
    fn a_deadline_comes_after_its_time_and_not_before() {
        let clock = Clock::new(Epoch::default());
        let deadline = Deadline::new(&clock);
        let cx = Context::from_waker(Waker::noop());
        assert!(!deadline.poll(&cx), "not set");
        deadline.set(1_000);
        assert!(!deadline.poll(&cx));
        clock.now_ms.set(clock.now_ms() + 1_000 + TICK_MS);
        assert!(deadline.poll(&cx));
        assert_eq!(clock.entries.borrow().len(), 1);
        drop(deadline);
        assert!(clock.entries.borrow().is_empty());
    }
}
