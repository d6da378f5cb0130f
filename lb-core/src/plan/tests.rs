//! Plans are applied to a model of the kernel's maps, and after every step each key must lead to a socket of its own.

use super::*;
use lb_common::addr;
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

/// Whose socket lies in a slot, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Old(ListenerKey),
    New(ListenerKey),
}

/// The maps.
#[derive(Debug, Default)]
struct Kernel {
    keys: BTreeMap<ListenerKey, u32>,
    sockets: BTreeMap<u32, Socket>,
}

impl Kernel {
    fn new(keys: &BTreeMap<ListenerKey, u32>) -> Self {
        let sockets = keys.iter().map(|(&key, &slot)| (slot, Socket::Old(key))).collect();
        Self { keys: keys.clone(), sockets }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::SetSocket { slot, key } => {
                self.sockets.insert(slot, Socket::New(key));
            }
            Step::SetKey { key, slot } => {
                self.keys.insert(key, slot);
            }
            Step::RemoveKey { key } => {
                assert!(self.keys.remove(&key).is_some(), "removing an absent key is an error of the kernel");
            }
            Step::ClearSocket { slot } => {
                assert!(
                    !self.keys.values().any(|used| *used == slot),
                    "slot {slot} is cleared while a key leads to it"
                );
                self.sockets.remove(&slot);
            }
        }
    }

    /// Keys that the kernel held in a slot of their own lead to their old or new socket; all others to their new one.
    fn check(&self, had: &Self) {
        for (key, slot) in &self.keys {
            let now = self.sockets.get(slot);
            let unchanged = had.keys.get(key) == Some(slot) && now == had.sockets.get(slot);
            assert!(unchanged || now == Some(&Socket::New(*key)), "{key:?} leads to {now:?}");
        }
    }
}

fn key(n: u16) -> ListenerKey {
    ListenerKey::tcp(addr::from_v4([10, 0, (n >> 8) as u8, n as u8]), 80)
}

fn check(have: &BTreeMap<ListenerKey, u32>, wanted: &BTreeSet<ListenerKey>, slots: u32) {
    let plan = plan(have, wanted, slots).expect("the slots are enough");
    let had = Kernel::new(have);
    let mut kernel = Kernel::new(have);
    for step in &plan.steps {
        kernel.apply(*step);
        kernel.check(&had);
    }
    let keys: BTreeSet<_> = kernel.keys.keys().copied().collect();
    assert_eq!(&keys, wanted);
    for (key, slot) in &kernel.keys {
        assert!(*slot < slots);
        assert_eq!(kernel.sockets.get(slot), Some(&Socket::New(*key)));
    }
    let Summary { added, kept, removed } = plan.summary;
    assert_eq!((added + kept, kept + removed), (wanted.len(), have.len()));
}

#[test]
fn the_order_is_sockets_keys_old_keys_old_slots() {
    let have = BTreeMap::from([(key(1), 0), (key(2), 1)]);
    let plan = plan(&have, &BTreeSet::from([key(2), key(3)]), 4).expect("four slots hold three keys");
    assert_eq!(
        plan.steps,
        [
            Step::SetSocket { slot: 1, key: key(2) },
            Step::SetSocket { slot: 2, key: key(3) },
            Step::SetKey { key: key(3), slot: 2 },
            Step::RemoveKey { key: key(1) },
            Step::ClearSocket { slot: 0 },
        ]
    );
    assert_eq!(plan.summary, Summary { added: 1, kept: 1, removed: 1 });
}

#[test]
fn too_many_listeners_are_an_error_and_not_a_partial_plan() {
    let have = BTreeMap::from([(key(1), 0), (key(2), 1)]);
    let wanted = BTreeSet::from([key(3), key(4)]);
    assert_eq!(plan(&have, &wanted, 3), Err(TooManyListeners { wanted: 2, slots: 3 }));
}

proptest! {
    /// Slots of the kernel may repeat or lie outside: another version may have written them.
    #[test]
    fn every_step_is_safe_and_the_end_is_what_is_wanted(
        have in btree_map((0u16..12).prop_map(key), 0u32..16, 0..12),
        wanted in btree_set((0u16..12).prop_map(key), 0..12),
    ) {
        check(&have, &wanted, 24);
        check(&have, &wanted, 12 + 12);
    }
}
