//! Interfaces that come, go, change their names and run programs of others.

use super::{follow, index, open, seen, set_of, setup, wait, ways};
use crate::kernel::lab::Lab;
use lb_common::maps::SPLICE_ABI_VERSION;
use lb_userspace::kernel::{AttachBy, CarrierSetup, Interfaces, unpin};

#[test]
fn an_interface_that_comes_later_is_covered_and_forgotten_when_it_goes() {
    for by in ways() {
        let lab = Lab::new();
        let carrier = open(&lab, &CarrierSetup { by: Some(by), ..setup(&lab) });
        let _follower = follow(&lab, &carrier);
        lab.server.ip("link add late type veth peer name peer").expect("a pair is made");
        let late = index(&lab.server, "late");
        // It is down, and no packet comes from there.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!carrier.covers(late));
        lab.server.ip("link set late up\nlink set peer up").expect("they are up");
        wait("a new interface is covered", || carrier.covers(late));
        lab.server.ip("link set late down\nlink set late name renamed\nlink set renamed up").expect("renamed");
        wait("a new name is known", || carrier.report().interfaces.iter().any(|one| one.name == "renamed"));
        assert!(carrier.covers(late));
        lab.server.ip("link del renamed").expect("it is removed");
        wait("an interface that is gone is forgotten", || !carrier.covers(late));
        wait("its links are gone", || pinned(&lab, late) == 0);
        assert!(carrier.covers(index(&lab.server, "s0")));
    }
}

#[test]
fn an_interface_that_moves_to_another_namespace_is_left() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    let _follower = follow(&lab, &carrier);
    lab.server.ip("link add moves type veth peer name stays\nlink set moves up\nlink set stays up").expect("made");
    let moves = index(&lab.server, "moves");
    wait("it is covered", || carrier.covers(moves));
    lab.server.ip(&format!("link set moves netns {}", lab.client.name())).expect("moved");
    wait("it is covered no more", || !carrier.covers(moves) && pinned(&lab, moves) == 0);
}

#[test]
fn a_port_that_leaves_its_bridge_stays_covered() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    let _follower = follow(&lab, &carrier);
    lab.server.ip("link add port type veth peer name far\nlink set port up\nlink add br0 type bridge").expect("made");
    let port = index(&lab.server, "port");
    wait("the port is covered", || carrier.covers(port));
    // The kernel says of a port that leaves that a link is gone, in the family of bridges.
    let lead = concat!("mas", "ter");
    lab.server.ip(&format!("link set port {lead} br0\nlink set port no{lead}")).expect("in and out");
    lab.server.ip("link add after type veth peer name last\nlink set after up").expect("made");
    let after = index(&lab.server, "after");
    wait("later news are heard", || carrier.covers(after));
    assert!(carrier.covers(port));
}

#[test]
fn what_went_while_no_agent_ran_is_forgotten_and_what_came_is_covered() {
    for by in ways() {
        let lab = Lab::new();
        let setup = CarrierSetup { by: Some(by), ..setup(&lab) };
        lab.server.ip("link add old type veth peer name peer\nlink set old up\nlink set peer up").expect("made");
        let old = index(&lab.server, "old");
        let carrier = open(&lab, &setup);
        assert!(carrier.covers(old));
        drop(carrier);
        lab.server.ip("link del old").expect("removed");
        // The same index again: a pin of the one that is gone must not be taken for a link of this one.
        lab.server.ip(&format!("link add new index {old} type veth peer name peer\nlink set new up")).expect("made");
        let carrier = open(&lab, &setup);
        assert!(carrier.covers(old));
        let report = carrier.report();
        let new = report.interfaces.iter().find(|one| one.index == old).expect("it is listed");
        assert_eq!((new.name.as_str(), new.covered), ("new", true));
        drop(carrier);
        lab.server.ip("link del new").expect("removed");
        let carrier = open(&lab, &setup);
        assert!(!carrier.covers(old) && pinned(&lab, old) == 0);
    }
}

#[test]
fn programs_of_others_run_beside_ours() {
    for by in ways() {
        let lab = Lab::new();
        let ours = open(&lab, &CarrierSetup { by: Some(by), ..setup(&lab) });
        // Another program, of the same kind for want of another: it has pins, maps and counters of its own.
        let other_dir = lab.pin_dir.with_file_name(format!("sluice-beside-{}", std::process::id()));
        let other = CarrierSetup { pin_dir: other_dir.clone(), by: Some(by), ..setup(&lab) };
        let theirs = open(&lab, &other);
        assert!(seen(&lab, &ours) >= 5 && seen(&lab, &theirs) >= 5, "{by:?}: each packet meets both");
        drop(theirs);
        lab.server.run(|| unpin(&other_dir)).expect("the other is removed");
        assert!(seen(&lab, &ours) >= 5, "{by:?}: ours stays");
    }
}

#[test]
fn xdp_runs_where_the_driver_can_and_only_when_wanted() {
    let lab = Lab::new();
    let s0 = |carrier: &lb_userspace::kernel::Carrier| {
        carrier.report().interfaces.into_iter().find(|one| one.name == "s0").expect("s0 is listed")
    };
    let with_xdp = CarrierSetup { xdp: true, ..setup(&lab) };
    let carrier = open(&lab, &with_xdp);
    assert!(s0(&carrier).xdp && s0(&carrier).covered, "{:?}", s0(&carrier));
    drop(carrier);
    let carrier = open(&lab, &with_xdp);
    assert!(s0(&carrier).xdp, "adopted: {:?}", s0(&carrier));
    drop(carrier);
    let carrier = open(&lab, &setup(&lab));
    assert!(!s0(&carrier).xdp && s0(&carrier).covered, "{:?}", s0(&carrier));
    assert!(!set_of(&lab, SPLICE_ABI_VERSION).join(lb_common::maps::SPLICE_XDP_PROGRAM).exists());
    drop(carrier);
    // Somebody else's program in XDP: tc carries, and the reason is said.
    let other = lab.pin_dir.with_file_name(format!("sluice-xdp-other-{}", std::process::id()));
    let theirs = open(&lab, &CarrierSetup { pin_dir: other.clone(), xdp: true, ..setup(&lab) });
    assert!(s0(&theirs).xdp);
    let carrier = open(&lab, &with_xdp);
    let said = s0(&carrier);
    assert!(said.covered && !said.xdp && said.xdp_reason.is_some(), "{said:?}");
    drop(theirs);
    unpin(&other).expect("the other is removed");
}

#[test]
fn an_interface_without_ethernet_is_refused_with_a_reason() {
    let lab = Lab::new();
    let interfaces = Interfaces::Named(vec!["tun7".to_owned(), "lo".to_owned()]);
    lab.server.ip("tuntap add tun7 mode tun\nlink set tun7 up").expect("a tunnel is made");
    let carrier = open(&lab, &CarrierSetup { interfaces, ..setup(&lab) });
    let tunnel = index(&lab.server, "tun7");
    assert!(!carrier.covers(tunnel) && !carrier.covers(index(&lab.server, "lo")));
    let report = carrier.report();
    let said = report.interfaces.iter().find(|one| one.index == tunnel).expect("it was asked for, so it is listed");
    assert!(said.reason.as_ref().is_some_and(|reason| reason.contains("Ethernet")), "{said:?}");
    assert_eq!(report.interfaces.len(), 1, "the loopback and what was not asked for are not listed: {report:?}");
}

/// Links of an interface that have pins.
fn pinned(lab: &Lab, index: u32) -> usize {
    let set = std::fs::read_dir(set_of(lab, SPLICE_ABI_VERSION)).expect("the set is there").flatten();
    let links = set.filter(|entry| entry.path().is_dir()).flat_map(|dir| std::fs::read_dir(dir.path()).expect("read"));
    links.flatten().filter(|link| link.file_name().to_string_lossy().ends_with(&format!("-{index}"))).count()
}

#[test]
fn switching_between_links_and_filters_leaves_one_of_them() {
    if !ways().contains(&AttachBy::Tcx) {
        // Only filters here, and the other tests have those.
        return;
    }
    let lab = Lab::new();
    for by in [AttachBy::Tcx, AttachBy::Clsact, AttachBy::Tcx] {
        let carrier = open(&lab, &CarrierSetup { by: Some(by), ..setup(&lab) });
        let links = if by == AttachBy::Tcx { 2 } else { 0 };
        assert_eq!(pinned(&lab, index(&lab.server, "s0")), links);
        if by == AttachBy::Tcx {
            super::clsact::assert_no_filters(&lab, "s0");
        }
        assert!(seen(&lab, &carrier) >= 5);
    }
}
