//! Filters of `clsact`: beside those of others, found again, and put back when somebody removes them.

use super::{follow, index, open, seen, setup, unpin, wait};
use crate::kernel::lab::Lab;
use lb_userspace::kernel::{AttachBy, CarrierSetup, Origin};
use std::process::{Command, Output};

/// Runs `tc` at the server, and answers how it went. Not by `nsenter`: that of busybox runs the `tc` of busybox, which knows no clsact.
fn try_tc(lab: &Lab, arguments: &str, more: &[&str]) -> Output {
    let run = || Command::new("tc").args(arguments.split(' ')).args(more).output();
    lab.server.run(run).expect("tc runs")
}

fn tc(lab: &Lab, arguments: &str, more: &[&str]) {
    let output = try_tc(lab, arguments, more);
    assert!(output.status.success(), "tc {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `tc` says about the filters of an interface of the server.
fn filters(lab: &Lab, interface: &str) -> String {
    // Where clsact is not, tc says so on standard error: there are no filters.
    let show = |way| {
        let output = try_tc(lab, "filter show dev", &[interface, way]);
        String::from_utf8(output.stdout).expect("tc speaks UTF-8")
    };
    show("ingress") + &show("egress")
}

pub fn assert_no_filters(lab: &Lab, interface: &str) {
    let filters = filters(lab, interface);
    assert!(!filters.contains("sluice"), "{filters}");
}

fn by_filters(lab: &Lab) -> CarrierSetup {
    CarrierSetup { by: Some(AttachBy::Clsact), ..setup(lab) }
}

#[test]
fn filters_are_adopted_and_not_added_twice() {
    let lab = Lab::new();
    drop(open(&lab, &by_filters(&lab)));
    let before = filters(&lab, "s0");
    assert!(before.contains("sluice_splice") && before.contains("sluice_silence"), "{before}");
    let carrier = open(&lab, &by_filters(&lab));
    assert_eq!(carrier.report().origin, Origin::Adopted);
    assert_eq!(filters(&lab, "s0"), before);
    assert!(seen(&lab, &carrier) >= 5);
}

#[test]
fn filters_of_others_stay() {
    let lab = Lab::new();
    tc(&lab, "qdisc add dev s0 clsact", &[]);
    // Filters that match nothing; the first has the first priority, for one protocol, which ours cannot share.
    let nothing = ["bytecode", "1,6 0 0 0"];
    tc(&lab, "filter add dev s0 ingress prio 1 protocol ip bpf", &nothing);
    tc(&lab, "filter add dev s0 egress prio 5 protocol ip bpf", &nothing);
    let of_others = || filters(&lab, "s0").matches("bytecode").count();
    assert_eq!(of_others(), 2, "{}", filters(&lab, "s0"));
    let carrier = open(&lab, &by_filters(&lab));
    assert!(carrier.covers(index(&lab.server, "s0")), "{:?}", carrier.report().interfaces);
    assert!(seen(&lab, &carrier) >= 5);
    drop(carrier);
    assert_eq!(of_others(), 2, "{}", filters(&lab, "s0"));
    unpin(&lab);
    assert_no_filters(&lab, "s0");
    assert_eq!(of_others(), 2, "{}", filters(&lab, "s0"));
}

#[test]
fn a_filter_that_somebody_removes_is_put_back() {
    let lab = Lab::new();
    let carrier = open(&lab, &by_filters(&lab));
    let _follower = follow(&lab, &carrier);
    let is_whole = || {
        let filters = filters(&lab, "s0");
        filters.contains("sluice_splice") && filters.contains("sluice_silence")
    };
    for removal in ["filter del dev s0 ingress", "filter del dev s0 egress", "qdisc del dev s0 clsact"] {
        assert!(is_whole(), "{}", filters(&lab, "s0"));
        tc(&lab, removal, &[]);
        wait(removal, is_whole);
    }
    assert!(seen(&lab, &carrier) >= 5);
}
