//! The keys that lead from packets to records.
//!
//! Owns: the map `FLOWS`. Goes in: keys of a pair and its record. Comes out: all pairs. Does not do: the records.
//!
//! Workers insert and remove at the same time, so every call is one system call on shared bytes, without a lock.

use super::super::elements::{Elements, bytes_of, from_bytes};
use super::Pair;
use lb_common::splice::{DOWN, FlowKey, FlowRef, UP};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The map.
#[derive(Debug)]
pub(super) struct Flows(Elements);

impl Flows {
    /// Opens the map behind a pin.
    pub fn open(pin: &Path) -> io::Result<Self> {
        Elements::open(pin).map(Self)
    }

    /// Adds both keys of a pair, the backend's first: the pair cannot be activated before its request is sent, but a
    /// client may send at any time, and then both must be there. On an error neither is left.
    pub fn insert(&self, id: u32, up: &FlowKey, down: &FlowKey) -> io::Result<()> {
        let add = |key: &FlowKey, direction| self.0.insert(bytes_of(key), bytes_of(&FlowRef { conn: id, direction }));
        add(down, DOWN)?;
        add(up, UP).inspect_err(|_| {
            if let Err(error) = self.0.remove(bytes_of(down)) {
                tracing::error!(%error, id, "a key of a pair that was not made stays in the kernel");
            }
        })
    }

    /// Removes both keys of a pair, if they are there and still lead to it.
    pub fn remove(&self, id: u32, up: &FlowKey, down: &FlowKey) -> io::Result<()> {
        let take = |key: &FlowKey| match self.0.get(bytes_of(key))?.as_deref().and_then(from_bytes::<FlowRef>) {
            Some(flow) if flow.conn == id => self.0.remove(bytes_of(key)).map(drop),
            // Taken out by the program, and perhaps another pair's by now.
            _ => Ok(()),
        };
        // Both are tried, whatever becomes of the first.
        let (up, down) = (take(up), take(down));
        up.and(down)
    }

    /// All pairs by their records.
    pub fn pairs(&self) -> io::Result<Vec<Pair>> {
        let mut pairs: BTreeMap<u32, Pair> = BTreeMap::new();
        for (key, value) in self.0.all()? {
            let (Some(key), Some(flow)) = (from_bytes::<FlowKey>(&key), from_bytes::<FlowRef>(&value)) else {
                continue;
            };
            let pair = pairs.entry(flow.conn).or_insert(Pair { id: flow.conn, up: None, down: None });
            match flow.direction {
                UP => pair.up = Some(key),
                _ => pair.down = Some(key),
            }
        }
        Ok(pairs.into_values().collect())
    }

    /// How many keys there are.
    pub fn count(&self) -> io::Result<usize> {
        self.0.all().map(|all| all.len())
    }
}
