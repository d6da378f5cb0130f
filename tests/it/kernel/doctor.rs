//! What the doctor says of pins that earlier agents left, and of filters of others, on whatever kernel this is.

use super::lab::Lab;
use lb_common::maps;
use lb_userspace::kernel::doctor::{Asked, Check, State, Want, examine};
use lb_userspace::kernel::{self, AttachBy, Carrier, CarrierSetup, Interfaces};
use std::process::Command;

fn asked(lab: &Lab) -> Asked {
    Asked {
        pin_dir: lab.pin_dir.clone(),
        steering: Want::Required,
        splice: Want::Required,
        interfaces: Interfaces::Auto { except: Vec::new() },
        ports: 20_000..=29_999,
        xdp: true,
        loads: true,
    }
}

fn look(lab: &Lab, name: &str) -> Check {
    let checks = lab.server.run(|| examine(&asked(lab)));
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name}: {checks:#?}")).clone()
}

fn open(lab: &Lab, by: Option<AttachBy>) -> Carrier {
    let setup = CarrierSetup { by, ..CarrierSetup::new(lab.pin_dir.clone()) };
    lab.server.run(|| Carrier::open(&setup, kernel::object())).expect("connections can be carried")
}

#[test]
fn this_kernel_has_what_is_needed() {
    let lab = Lab::new();
    let checks = lab.server.run(|| examine(&asked(&lab)));
    for check in &checks {
        println!("{} {}: {}", check.name, check.state.name(), check.found);
    }
    let missing: Vec<&Check> = checks.iter().filter(|check| check.state == State::Missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(!lab.pin_dir.exists(), "nothing stays");
}

#[test]
fn pins_of_earlier_agents_are_told_with_what_becomes_of_them() {
    let lab = Lab::new();
    let name = "pins of earlier agents";
    drop(lab.open());
    drop(open(&lab, None));
    let ours = lab.pin_dir.join(format!("splice-{}", maps::SPLICE_ABI_VERSION));
    let adopted = look(&lab, name);
    let want = format!("abi-{} is adopted; splice-{} is adopted", maps::ABI_VERSION, maps::SPLICE_ABI_VERSION);
    assert_eq!((adopted.state, adopted.found), (State::Ok, want));

    // A map of another shape under the name of one of ours: an agent would refuse it.
    std::fs::rename(ours.join(maps::FLOWS), ours.join("kept")).expect("renamed");
    std::fs::rename(ours.join(maps::SPLICE_COUNTERS), ours.join(maps::FLOWS)).expect("renamed");
    let refused = look(&lab, name);
    assert_eq!(refused.state, State::Missing, "{refused:?}");
    assert!(refused.remedy.as_ref().is_some_and(|remedy| remedy.contains("sluice unpin")), "{refused:?}");
    std::fs::rename(ours.join(maps::FLOWS), ours.join(maps::SPLICE_COUNTERS)).expect("renamed");
    std::fs::rename(ours.join("kept"), ours.join(maps::FLOWS)).expect("renamed");

    let version = |name, version: u32| lab.pin_dir.join(format!("{name}-{version}"));
    std::fs::rename(&ours, version("splice", 7_000)).expect("renamed");
    std::fs::rename(version("abi", maps::ABI_VERSION), version("abi", 7_000)).expect("renamed");
    let others = look(&lab, name);
    assert_eq!(others.state, State::Ok, "{others:?}");
    assert!(others.found.contains("abi-7000 is of another version, steers until"), "{others:?}");
    assert!(others.found.contains("splice-7000 is of another version, and carries on"), "{others:?}");
}

#[test]
fn filters_of_others_are_told_by_the_order_in_which_they_run() {
    let lab = Lab::new();
    let tc = |arguments: &str, more: &[&str]| {
        let run = || Command::new("tc").args(arguments.split(' ')).args(more).output();
        let output = lab.server.run(run).expect("tc runs");
        assert!(output.status.success(), "tc {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // For one protocol, so ours cannot have this priority; and one far behind.
    tc("qdisc add dev s0 clsact", &[]);
    tc("filter add dev s0 ingress prio 1 protocol ip bpf", &["bytecode", "1,6 0 0 0"]);
    let _carrier = open(&lab, Some(AttachBy::Clsact));
    let before = look(&lab, "tc programs of others");
    assert_eq!(before.state, State::Degraded, "{before:?}");
    assert!(before.found.starts_with("before ours: s0 in: filter"), "{before:?}");
    tc("filter add dev s0 egress prio 50 protocol ip bpf", &["bytecode", "1,6 0 0 0"]);
    let both = look(&lab, "tc programs of others");
    assert!(both.found.contains("; behind ours: s0 out: filter"), "{both:?}");
    tc("filter del dev s0 ingress prio 1", &[]);
    let behind = look(&lab, "tc programs of others");
    assert_eq!(behind.state, State::Ok, "{behind:?}");
}
