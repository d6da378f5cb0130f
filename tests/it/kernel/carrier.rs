//! What carries connections in the kernel: attached, adopted, updated, followed, refused and removed.
//!
//! The tests run on the server of the [`Lab`], whose interface is `s0`, under every way of attaching that the kernel has.

mod clsact;
mod interfaces;
mod pairs;
mod sets;

use super::lab::Lab;
use lb_tests::netns::Namespace;
use lb_userspace::kernel::{self, AttachBy, Carrier, CarrierSetup, Follower, Interfaces, Unavailable};
use nix::net::if_::if_nametoindex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a change of interfaces may take to be followed: emulated machines are slow.
const FOLLOWED_MAX: Duration = Duration::from_secs(20);

fn setup(lab: &Lab) -> CarrierSetup {
    CarrierSetup::new(lab.pin_dir.clone())
}

fn try_open(lab: &Lab, setup: &CarrierSetup) -> Result<Arc<Carrier>, Unavailable> {
    lab.server.run(|| Carrier::open(setup, kernel::object())).map(Arc::new)
}

fn open(lab: &Lab, setup: &CarrierSetup) -> Arc<Carrier> {
    try_open(lab, setup).unwrap_or_else(|error| panic!("connections cannot be carried, so nothing is tested: {error}"))
}

/// The ways of attaching that this kernel has.
fn ways() -> Vec<AttachBy> {
    let abilities = kernel::probe().expect("asking is allowed");
    let has_tcx = abilities.iter().any(|ability| ability.name == "tcx" && ability.present);
    if has_tcx { vec![AttachBy::Tcx, AttachBy::Clsact] } else { vec![AttachBy::Clsact] }
}

/// Removes pins, and filters, which only the namespace that has them can be asked for.
fn unpin(lab: &Lab) -> Vec<PathBuf> {
    lab.server.run(|| kernel::unpin(&lab.pin_dir)).expect("pins are removed")
}

/// Follows interfaces, and does nothing about events.
fn follow(lab: &Lab, carrier: &Arc<Carrier>) -> Follower {
    lab.server.run(|| carrier.follow(drop)).expect("followed")
}

fn index(namespace: &Namespace, name: &str) -> u32 {
    namespace.run(|| if_nametoindex(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn set_of(lab: &Lab, version: u32) -> PathBuf {
    lab.pin_dir.join(format!("splice-{version}"))
}

/// Waits until something is so.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FOLLOWED_MAX, "{what}: not after {FOLLOWED_MAX:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends packets to the server, and answers how many more of them the programs have seen at least.
fn seen(lab: &Lab, carrier: &Carrier) -> u64 {
    let all = || carrier.counters().iter().map(|(_, packets)| packets).sum::<u64>();
    let before = all();
    for _ in 0..5 {
        // Nobody listens: what matters is that a SYN comes in.
        drop(super::lab::connect(&lab.client, "10.77.0.2:9"));
    }
    all() - before
}

#[test]
fn an_interface_runs_our_programs_until_unpinned() {
    for by in ways() {
        let lab = Lab::new();
        let setup = CarrierSetup { by: Some(by), ..setup(&lab) };
        let carrier = open(&lab, &setup);
        let s0 = index(&lab.server, "s0");
        assert!(carrier.covers(s0), "{:?}", carrier.report());
        assert!(!carrier.covers(index(&lab.server, "lo")), "the loopback is never covered");
        assert!(seen(&lab, &carrier) >= 5, "{by:?}: {:?}", carrier.counters());
        let report = carrier.report();
        println!("carried by {}: {:?}", report.attached_by.name(), report.interfaces);
        assert_eq!(report.attached_by, by);
        assert_eq!(report.interfaces[0].links.len(), if by == AttachBy::Tcx { 2 } else { 0 });
        drop(carrier);
        let removed = unpin(&lab);
        assert!(removed.contains(&report.pins), "{removed:?}");
        assert!(!lab.pin_dir.exists());
        clsact::assert_no_filters(&lab, "s0");
        let again = open(&lab, &setup);
        assert_eq!(again.report().origin, kernel::Origin::Fresh);
    }
}

#[test]
fn the_kernel_is_asked_what_it_can_do() {
    let abilities = kernel::probe().expect("asking is allowed");
    for ability in &abilities {
        assert_eq!(ability.present, ability.reason.is_none(), "{ability:?}");
    }
    let has = |name: &str| abilities.iter().find(|ability| ability.name == name).expect("it is asked about").present;
    assert!(has("ring_buffer") && has("coarse_clock") && has("xdp"), "{abilities:?}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("there is a kernel");
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().expect("a major number"), numbers.next().expect("a minor number"));
    assert_eq!(has("tcx"), version >= (6, 6), "{release}: {abilities:?}");
}

#[test]
fn look_up_and_splice_share_a_pin_directory_and_no_memory() {
    let lab = Lab::new();
    let steering = lab.open();
    let names = |dir: &str| {
        let entries = std::fs::read_dir(lab.pin_dir.join(dir)).expect("a set of pins");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    let of_lookup = names(&format!("abi-{}", lb_common::maps::ABI_VERSION));
    assert!(!of_lookup.iter().any(|name| name == lb_common::maps::FLOWS), "{of_lookup:?}");
    assert!(!set_of(&lab, lb_common::maps::SPLICE_ABI_VERSION).exists());
    let carrier = open(&lab, &setup(&lab));
    let of_splice = names(&format!("splice-{}", lb_common::maps::SPLICE_ABI_VERSION));
    assert!(!of_splice.iter().any(|name| name == lb_common::maps::LISTENERS), "{of_splice:?}");
    let report = carrier.report();
    let bytes: u64 = report.maps.iter().map(|map| map.bytes.expect("the kernel tells the memory of a map")).sum();
    let cpus = std::thread::available_parallelism().expect("CPUs are counted").get() as u32;
    assert!(bytes <= lb_common::maps::splice_memory_bytes_max(cpus), "{bytes} bytes: {:?}", report.maps);
    let (second, of_other) = (try_open(&lab, &setup(&lab)), lab.try_open());
    for refused in [second.err(), of_other.err()] {
        assert!(matches!(refused, Some(Unavailable::Locked { .. })), "{refused:?}");
    }
    drop(steering);
    assert!(kernel::unpin(&lab.pin_dir).is_err(), "the carrier still holds the lock");
    drop(carrier);
    kernel::unpin(&lab.pin_dir).expect("nobody holds it any more");
}

#[test]
fn an_object_without_our_programs_is_refused_and_nothing_is_left() {
    let lab = Lab::new();
    let refused = lab.server.run(|| Carrier::open(&setup(&lab), b"not an object")).expect_err("refused");
    assert!(matches!(refused, Unavailable::Object(_)), "{refused}");
    assert_eq!(std::fs::read_dir(&lab.pin_dir).expect("the pin directory is there").count(), 0);
}

#[test]
fn only_chosen_interfaces_are_covered() {
    let lab = Lab::new();
    let s0 = index(&lab.server, "s0");
    let check = |interfaces: Interfaces, want: bool| {
        let carrier = open(&lab, &CarrierSetup { interfaces: interfaces.clone(), ..setup(&lab) });
        assert_eq!(carrier.covers(s0), want, "{interfaces:?}: {:?}", carrier.report().interfaces);
        // What another choice attached is detached, for no pair is carried.
        assert_eq!(seen(&lab, &carrier) >= 5, want, "{interfaces:?}");
    };
    check(Interfaces::Auto { except: vec!["s0".to_owned()] }, false);
    check(Interfaces::Auto { except: Vec::new() }, true);
    check(Interfaces::Named(vec!["eth7".to_owned()]), false);
    check(Interfaces::Named(vec!["s*".to_owned()]), true);
    check(Interfaces::Auto { except: vec!["s*".to_owned()] }, false);
}
