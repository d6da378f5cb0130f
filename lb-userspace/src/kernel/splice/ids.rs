//! Numbers of records: which are free.
//!
//! Owns: the list. Goes in: records in use at the start, the time. Comes out: a record to be used.
//! Does not do: the records. Time is that of `CLOCK_MONOTONIC`, nanoseconds.

use std::collections::{HashSet, VecDeque};

/// How long a record rests, nanoseconds: a packet that found its key may still be on its way to it. That takes
/// microseconds, or as long as a virtual CPU is stopped.
const REST_NS: u64 = 1_000_000_000;

/// The records that are free, in the order in which they became so.
#[derive(Debug)]
pub(super) struct Ids(VecDeque<(u32, u64)>);

impl Ids {
    /// All below `count` but those in use.
    pub fn new(count: u32, in_use: &HashSet<u32>) -> Self {
        Self((0..count).filter(|id| !in_use.contains(id)).map(|id| (id, 0)).collect())
    }

    /// A record that has rested; `None`: none is free.
    pub fn take(&mut self, now_ns: u64) -> Option<u32> {
        self.0.pop_front_if(|(_, rested_ns)| *rested_ns <= now_ns).map(|(id, _)| id)
    }

    /// Gives a record back. Nothing leads to it any more.
    pub fn give(&mut self, id: u32, now_ns: u64) {
        self.0.push_back((id, now_ns + REST_NS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_rests_before_it_is_used_again() {
        let mut ids = Ids::new(3, &HashSet::from([1]));
        assert_eq!((ids.take(5), ids.take(5), ids.take(5)), (Some(0), Some(2), None));
        ids.give(2, 10);
        ids.give(1, 20);
        assert_eq!(ids.take(9 + REST_NS), None);
        assert_eq!((ids.take(10 + REST_NS), ids.take(10 + REST_NS), ids.take(20 + REST_NS)), (Some(2), None, Some(1)));
    }
}
