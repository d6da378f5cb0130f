//! How long the steps of a hand-off take: what they add to the first request of a connection that the kernel carries after it.
//!
//! Goes in: a step and its time. Comes out: a histogram of each step. Shared by the workers: a connection counts thrice in its
//! life, so there is nothing to gain by one for each of them. Does not measure the dialling of the endpoint nor its answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets, microseconds.
pub const BOUNDS_US: [u64; 16] = [5, 10, 15, 20, 25, 30, 40, 50, 65, 80, 100, 150, 200, 500, 1_000, 10_000];

/// A step of a hand-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A socket towards the endpoint that can be joined, before it is dialled.
    Socket,
    /// Numbers are read and entries put in, before the request is written: the kernel takes over at the first answer.
    Begin,
    /// The kernel carries the connection; both sockets are closed silently.
    Surrender,
}

/// Every step, in its order.
const STEPS: [(Step, &str); 3] = [(Step::Socket, "socket"), (Step::Begin, "begin"), (Step::Surrender, "surrender")];

/// The histograms.
#[derive(Debug, Default)]
pub struct Handoffs([Times; STEPS.len()]);

#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// A histogram as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTimes {
    /// Name of the step.
    pub step: &'static str,
    /// How many took at most the bound of the same place and more than the one before; the last: more than all bounds.
    pub counts: Vec<u64>,
    /// Sum of all times.
    pub sum: Duration,
}

impl Handoffs {
    /// Does a step and counts its time.
    pub fn time<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.count(step, start.elapsed());
        done
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<StepTimes> {
        let one = |(times, (_, step)): (&Times, &(Step, &'static str))| StepTimes {
            step,
            counts: times.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum: Duration::from_nanos(times.sum_ns.load(Relaxed)),
        };
        self.0.iter().zip(&STEPS).map(one).collect()
    }

    fn count(&self, step: Step, took: Duration) {
        let times = &self.0[step as usize];
        let bucket = BOUNDS_US.partition_point(|bound| took > Duration::from_micros(*bound));
        times.buckets[bucket].fetch_add(1, Relaxed);
        times.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_histogram_whose_buckets_hold_their_upper_bound() {
        let handoffs = Handoffs::default();
        let check = |step, us, bucket: usize| {
            handoffs.count(step, Duration::from_micros(us));
            let all = handoffs.all();
            let (_, name) = STEPS[step as usize];
            let found = all.iter().find(|times| times.step == name).expect("every step is there");
            assert_eq!(found.counts[bucket], 1, "{step:?} {us}");
        };
        check(Step::Socket, 5, 0);
        check(Step::Begin, 6, 1);
        check(Step::Begin, 50, 7);
        check(Step::Surrender, 60_000_000, BOUNDS_US.len());
        assert_eq!(handoffs.all()[1].sum, Duration::from_micros(56));
        assert!(STEPS.iter().enumerate().all(|(place, (step, _))| *step as usize == place));
    }

    #[test]
    fn a_timed_step_gives_its_result() {
        let handoffs = Handoffs::default();
        assert_eq!(handoffs.time(Step::Socket, || 7), 7);
        assert_eq!(handoffs.all()[0].counts.iter().sum::<u64>(), 1);
    }
}
