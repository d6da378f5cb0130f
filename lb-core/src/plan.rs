//! From the bindings that the kernel has to those that we want, as a value: a list of steps in a safe order.
//!
//! Owns: which slot a listener gets and in which order maps change. Goes in: `key → slot` as read from the kernel, and
//! the wanted keys. Comes out: a [`Plan`]. Does not do: any system call; `lb-userspace` applies the steps.
//!
//! The order: sockets first, then keys, then old keys, then the slots that these leave. A slot that a key of the
//! kernel points at is given to no other key in the same plan, so at no moment does a key lead to a socket that is
//! not its own: to the one it had, or to the one it shall have.

use lb_common::lookup::ListenerKey;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// One change of kernel state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Put the listening socket of a wanted key into a slot; the one that was there is replaced at once.
    SetSocket {
        /// Where to.
        slot: u32,
        /// Whose socket.
        key: ListenerKey,
    },
    /// Make a key lead to a slot.
    SetKey {
        /// The key.
        key: ListenerKey,
        /// Its slot, already filled.
        slot: u32,
    },
    /// New connections for this key are no longer ours.
    RemoveKey {
        /// The key.
        key: ListenerKey,
    },
    /// Empty a slot that no key leads to any more.
    ClearSocket {
        /// The slot.
        slot: u32,
    },
}

/// Steps to be applied in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What they amount to.
    pub summary: Summary,
}

/// What a plan changes, in numbers of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Keys that were not there.
    pub added: usize,
    /// Keys that stay; their sockets are replaced.
    pub kept: usize,
    /// Keys that go.
    pub removed: usize,
}

/// More keys are wanted than there are free slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} listeners are wanted, but {slots} slots do not hold them beside those in use; serve fewer addresses")]
pub struct TooManyListeners {
    /// How many keys are wanted.
    pub wanted: usize,
    /// How many slots there are.
    pub slots: u32,
}

/// Plans the way from what the kernel `has` (key and slot) to exactly the `wanted` keys, with slots below `slots`.
///
/// # Errors
///
/// [`TooManyListeners`] when the wanted keys do not fit beside the slots that are in use.
pub fn plan(
    have: &BTreeMap<ListenerKey, u32>,
    wanted: &BTreeSet<ListenerKey>,
    slots: u32,
) -> Result<Plan, TooManyListeners> {
    let kept = keepable(have, wanted, slots);
    let used: BTreeSet<u32> = have.values().copied().collect();
    let mut free = (0..slots).filter(|slot| !used.contains(slot));
    let (mut sockets, mut keys) = (Vec::new(), Vec::new());
    for &key in wanted {
        let slot = match kept.get(&key) {
            Some(&slot) => slot,
            None => {
                let slot = free.next().ok_or(TooManyListeners { wanted: wanted.len(), slots })?;
                keys.push(Step::SetKey { key, slot });
                slot
            }
        };
        sockets.push(Step::SetSocket { slot, key });
    }
    let removed = have.keys().filter(|key| !wanted.contains(key)).map(|&key| Step::RemoveKey { key });
    let left: BTreeSet<u32> = kept.values().copied().collect();
    let cleared = used.iter().filter(|&slot| *slot < slots && !left.contains(slot));
    let cleared = cleared.map(|&slot| Step::ClearSocket { slot });
    let summary = summary(have, wanted);
    Ok(Plan { steps: sockets.into_iter().chain(keys).chain(removed).chain(cleared).collect(), summary })
}

/// Wanted keys that may stay in their slots: the slot exists and no other key leads to it.
fn keepable(
    have: &BTreeMap<ListenerKey, u32>,
    wanted: &BTreeSet<ListenerKey>,
    slots: u32,
) -> BTreeMap<ListenerKey, u32> {
    let mut owners: BTreeMap<u32, usize> = BTreeMap::new();
    for &slot in have.values() {
        *owners.entry(slot).or_default() += 1;
    }
    let alone = |slot: &u32| *slot < slots && owners.get(slot) == Some(&1);
    have.iter().filter(|(key, slot)| wanted.contains(key) && alone(slot)).map(|(&key, &slot)| (key, slot)).collect()
}

fn summary(have: &BTreeMap<ListenerKey, u32>, wanted: &BTreeSet<ListenerKey>) -> Summary {
    let kept = wanted.iter().filter(|key| have.contains_key(key)).count();
    Summary { added: wanted.len() - kept, kept, removed: have.len() - kept }
}
