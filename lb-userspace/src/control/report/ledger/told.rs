//! An object that something was told about, with its own bound.

use super::super::bucket::Bucket;
use super::EVENTS_PER_OBJECT_MAX;
use crate::control::store::Stored;
use std::sync::Arc;

/// Writes for one object: this many at once, then one a minute. What flaps fills its own bucket only.
const OBJECT_BURST: u32 = 2 * EVENTS_PER_OBJECT_MAX as u32;
const MINUTE: u64 = 60;

/// An object that something was told about.
#[derive(Debug)]
pub struct Told {
    /// `metadata.uid` of it.
    pub uid: Arc<str>,
    bucket: Bucket,
    /// How many entries there are about it.
    pub entries: usize,
    /// When it was last listed.
    pub turn: u64,
    /// Problems of that turn, those that had no room not among them.
    pub listed: usize,
    /// Those that had none.
    pub more: usize,
    /// Whether one of that turn is a fault.
    pub faults: bool,
    /// A fault was told, and that it is gone was not.
    pub owed: bool,
}

impl Told {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(uid: Arc<str>) -> Self {
        // One token for each second of a clock that runs sixty times slower.
        Self {
            uid,
            bucket: Bucket::new(1, OBJECT_BURST, 0),
            entries: 0,
            turn: 0,
            listed: 0,
            more: 0,
            faults: false,
            owed: false,
        }
    }

    /// It is listed in this turn.
    pub fn begin(&mut self, turn: u64) {
        if self.turn != turn {
            (self.turn, self.listed, self.more, self.faults) = (turn, 0, 0, false);
        }
    }

    /// Takes one of its writes, or says when there is one.
    ///
    /// # Errors
    /// The time, milliseconds.
    pub fn take(&mut self, now_ms: u64) -> Result<(), u64> {
        let slow = now_ms / MINUTE;
        if self.bucket.take(slow) { Ok(()) } else { Err((self.bucket.ready_at_ms(slow) + 1) * MINUTE) }
    }
}

/// `metadata.uid`; empty where there is none.
#[must_use]
pub fn uid(stored: &Stored) -> &str {
    stored.object.metadata().uid.as_deref().unwrap_or_default()
}
