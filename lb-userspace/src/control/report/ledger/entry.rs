//! An Event in the ledger.

use super::super::note::Type;
use super::{Deed, EventWrite, Key};
use lb_core::model::ObjectRef;
use std::sync::Arc;

/// Whether the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Not from us.
    No,
    /// Somebody made it: another agent, or this one before it was started again.
    Somewhere,
    /// It was written so many times, the last time then (milliseconds).
    Times(i32, u64),
}

/// An Event in the ledger.
#[derive(Debug)]
pub struct Entry {
    /// What it is about.
    pub object: Arc<ObjectRef>,
    /// `metadata.uid` of that.
    pub uid: Arc<str>,
    /// Its type.
    pub type_: Type,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub note: Arc<str>,
    /// Whether the API has it.
    pub shown: Shown,
    /// Whether it is so now.
    pub lasts: bool,
    /// When it was last so.
    pub turn: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Its place in the queue.
    pub due_ms: Option<u64>,
}

impl Entry {
    /// What is to be written for it.
    #[must_use]
    pub fn write(&self, key: Key) -> EventWrite {
        let deed = match self.shown {
            Shown::No => Deed::Create,
            Shown::Somewhere => Deed::Adopt,
            Shown::Times(count, _) => Deed::Count(count.saturating_add(1)),
        };
        EventWrite {
            key,
            object: self.object.clone(),
            uid: self.uid.clone(),
            type_: self.type_,
            reason: self.reason,
            note: self.note.clone(),
            deed,
        }
    }
}
