//! Sets of pins: adopted, updated in place, of other versions, damaged, and of another shape.

use super::pairs::{conn, key};
use super::{follow, open, seen, set_of, setup, try_open, wait, ways};
use crate::kernel::lab::{self, Lab};
use lb_common::maps::{self, SPLICE_ABI_VERSION};
use lb_common::splice::ACTIVE;
use lb_userspace::kernel::{Carrier, CarrierSetup, Origin, Unavailable, object};
use std::time::Duration;

#[test]
fn the_next_agent_adopts_programs_links_records_and_keys() {
    for by in ways() {
        let lab = Lab::new();
        let setup = CarrierSetup { by: Some(by), ..setup(&lab) };
        let first = open(&lab, &setup);
        first.insert(9, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
        let before = first.report();
        drop(first);
        let second = open(&lab, &setup);
        let after = second.report();
        assert_eq!(after.origin, Origin::Adopted);
        assert_eq!(after.programs, before.programs);
        assert_eq!(after.interfaces, before.interfaces, "links and all");
        assert_eq!(second.read(9), conn(ACTIVE));
        let pairs = second.pairs().expect("read");
        assert_eq!((pairs.len(), pairs[0].id, pairs[0].up), (1, 9, Some(key(1))));
    }
}

#[test]
fn another_program_replaces_ours_in_place() {
    let other = lab::other_encoding(object(), "classifier");
    for by in ways() {
        let lab = Lab::new();
        let setup = CarrierSetup { by: Some(by), ..setup(&lab) };
        let first = open(&lab, &setup);
        first.insert(9, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
        let before = first.report();
        drop(first);
        let second = lab.server.run(|| Carrier::open(&setup, &other)).expect("the object loads");
        let after = second.report();
        assert_eq!(after.origin, Origin::Updated);
        assert_ne!(after.programs, before.programs);
        assert_eq!(after.interfaces, before.interfaces, "the same links");
        assert_eq!(second.pairs().expect("read").len(), 1);
        assert!(seen(&lab, &second) >= 5);
        drop(second);
        let third = lab.server.run(|| Carrier::open(&setup, &other)).expect("the object loads");
        assert_eq!(third.report().origin, Origin::Adopted, "what was updated is pinned");
    }
}

#[test]
fn a_set_of_another_version_carries_until_its_last_pair_has_ended() {
    for by in ways() {
        let lab = Lab::new();
        let setup = CarrierSetup { by: Some(by), others_idle_max: Duration::from_secs(1), ..setup(&lab) };
        let (ours, other) = (set_of(&lab, SPLICE_ABI_VERSION), set_of(&lab, SPLICE_ABI_VERSION + 1));
        let old = open(&lab, &setup);
        old.insert(9, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
        drop(old);
        std::fs::rename(&ours, &other).expect("a set of pins is renamed");
        let new = open(&lab, &setup);
        let report = new.report();
        assert_eq!(report.origin, Origin::Fresh);
        assert_eq!(report.others.iter().map(|set| (&set.path, set.keys)).collect::<Vec<_>>(), [(&other, 2)]);
        let mut keys = new.keys_of_others().expect("read");
        keys.sort();
        assert_eq!(keys, [key(1), key(2)]);
        assert!(new.pairs().expect("read").is_empty());
        assert!(other.exists());
        // Nobody speaks on that pair: after a while it is given up, and then nothing keeps the set.
        let _follower = follow(&lab, &new);
        wait("the other set is removed", || !other.exists());
        wait("and no longer listed", || new.report().others.is_empty());
        assert!(seen(&lab, &new) >= 5);
    }
}

#[test]
fn a_set_of_another_version_that_carries_nothing_is_removed_at_once() {
    let lab = Lab::new();
    drop(open(&lab, &setup(&lab)));
    let other = set_of(&lab, SPLICE_ABI_VERSION + 1);
    std::fs::rename(set_of(&lab, SPLICE_ABI_VERSION), &other).expect("a set of pins is renamed");
    let carrier = open(&lab, &setup(&lab));
    assert!(!other.exists() && carrier.report().others.is_empty());
}

#[test]
fn a_damaged_set_goes_on_carrying_under_another_name() {
    let lab = Lab::new();
    let old = open(&lab, &setup(&lab));
    old.insert(9, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
    drop(old);
    let counters = set_of(&lab, SPLICE_ABI_VERSION).join(maps::SPLICE_COUNTERS);
    std::fs::remove_file(counters).expect("a pin is removed");
    let carrier = open(&lab, &setup(&lab));
    let report = carrier.report();
    assert_eq!((report.origin, report.others.len(), report.others[0].keys), (Origin::Fresh, 1, 2));
    assert!(seen(&lab, &carrier) >= 5);
}

#[test]
fn a_set_of_another_network_namespace_is_not_adopted() {
    let lab = Lab::new();
    let setup = setup(&lab);
    let old = lab.client.run(|| Carrier::open(&setup, object())).expect("opened at the client");
    old.insert(9, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
    drop(old);
    let carrier = open(&lab, &setup);
    assert_eq!((carrier.report().origin, carrier.report().others.len()), (Origin::Fresh, 1));
    assert!(carrier.pairs().expect("read").is_empty());
}

#[test]
fn a_map_of_another_shape_is_refused_with_the_remedy() {
    let lab = Lab::new();
    drop(open(&lab, &setup(&lab)));
    let pin = |name: &str| set_of(&lab, SPLICE_ABI_VERSION).join(name);
    let swap = || {
        for (from, to) in [(maps::FLOWS, "between"), (maps::CONNS, maps::FLOWS), ("between", maps::CONNS)] {
            std::fs::rename(pin(from), pin(to)).expect("a pin is renamed");
        }
    };
    swap();
    let refused = try_open(&lab, &setup(&lab)).expect_err("an array for a hash");
    let Unavailable::Foreign { path, .. } = &refused else { panic!("{refused}") };
    assert_eq!(path, &pin(maps::FLOWS));
    let said = refused.to_string();
    for part in ["type 2", "expected type 1", "320 bytes", "sluice unpin"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    swap();
    assert_eq!(open(&lab, &setup(&lab)).report().origin, Origin::Adopted, "nothing was changed");
}

#[test]
fn what_a_dying_agent_left_half_made_is_removed() {
    let lab = Lab::new();
    drop(open(&lab, &setup(&lab)));
    let unfinished = lab.pin_dir.join("splice-new-1");
    std::fs::create_dir_all(unfinished.join("net-1")).expect("directories are made");
    drop(open(&lab, &setup(&lab)));
    assert!(!unfinished.exists());
}
