//! One agent after another on the same pins: nothing is refused, the link stays.

use super::lab::{self, Lab, Socket, connect};
use lb_common::maps::ABI_VERSION;
use lb_userspace::kernel::{Origin, Steering};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ADDR: &str = "10.77.0.2:80";

/// Connects in a loop while `change` happens; answers how many connections were made. None may be refused.
fn while_connecting(lab: &Lab, change: impl FnOnce()) -> usize {
    let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                connect(&lab.client, ADDR).unwrap_or_else(|e| panic!("a connection was refused: {e}"));
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait_for(&made, 20);
        change();
        wait_for(&made, made.load(Ordering::Relaxed) + 20);
        done.store(true, Ordering::Relaxed);
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    made.into_inner()
}

/// Waits for connections; a client that failed makes no more, so there is an end to it.
fn wait_for(made: &AtomicUsize, count: usize) {
    for _ in 0..2000 {
        if made.load(Ordering::Relaxed) >= count {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// An agent steers; another opens the same pins with `object` (or its own) and steers to its own sockets.
fn check(origin: Origin, prepare: impl FnOnce(&Lab), open: impl FnOnce(&Lab) -> Steering) {
    let lab = Lab::new();
    let (old, new) = (lab.listen(Socket::V4), lab.listen(Socket::V4));
    let mut first = lab.open();
    lab.steer(&mut first, &[(ADDR, &old)]);
    let before = (first.report(), lab::counters(&first));
    let mut second = None;
    let made = while_connecting(&lab, || {
        drop(first);
        prepare(&lab);
        let mut steering = open(&lab);
        lab.steer(&mut steering, &[(ADDR, &new)]);
        second = Some(steering);
    });
    let second = second.expect("the second agent is there");
    let (served_old, served_new) = (lab::drain(&old), lab::drain(&new));
    assert_eq!(served_old + served_new, made, "every connection waits at one of the two");
    assert!(served_old >= 20 && served_new >= 20, "{served_old} before, {served_new} after");
    let report = second.report();
    assert_eq!(report.origin, origin);
    match origin {
        Origin::Fresh => assert_ne!(report.link_id, before.0.link_id),
        Origin::Adopted | Origin::Updated => {
            assert_eq!(report.link_id, before.0.link_id);
            assert_eq!(lab::grown(&before.1, &lab::counters(&second)), [("steered", made as u64)]);
        }
    }
    let same_program = report.program.id == before.0.program.id;
    assert_eq!(same_program, origin == Origin::Adopted, "{:?} after {:?}", report.program, before.0.program);
    let sets = std::fs::read_dir(&lab.pin_dir).expect("the pin directory is there").count();
    assert_eq!(sets, 1, "only our own set of pins is left");
    still_serves(&lab, &new);
}

fn still_serves(lab: &Lab, listener: &TcpListener) {
    connect(&lab.client, ADDR).expect("served");
    assert_eq!(lab::drain(listener), 1);
}

#[test]
fn the_next_agent_adopts_program_link_and_maps() {
    check(Origin::Adopted, |_| {}, Lab::open);
}

#[test]
fn another_program_replaces_ours_through_the_link() {
    let object = lab::other_encoding(lb_userspace::kernel::object(), "sk_lookup");
    let open = |lab: &Lab| lab.server.run(|| Steering::open_object(&lab.pin_dir, &object)).expect("the object loads");
    check(Origin::Updated, |_| {}, open);
}

#[test]
fn pins_of_another_version_steer_until_ours_are_filled() {
    let rename = |lab: &Lab| {
        let set = |version| lab.pin_dir.join(format!("abi-{version}"));
        std::fs::rename(set(ABI_VERSION), set(ABI_VERSION + 1)).expect("a set of pins is renamed");
    };
    check(Origin::Fresh, rename, Lab::open);
}

#[test]
fn a_set_without_all_its_pins_is_replaced() {
    let damage = |lab: &Lab| {
        let pin = lab.pin_dir.join(format!("abi-{ABI_VERSION}")).join(lb_common::maps::COUNTERS);
        std::fs::remove_file(pin).expect("a pin is removed");
    };
    check(Origin::Fresh, damage, Lab::open);
}

#[test]
fn a_set_of_another_network_namespace_is_replaced() {
    let lab = Lab::new();
    drop(lab.client.run(|| Steering::open(&lab.pin_dir)).expect("attached to the client's namespace"));
    let listener = lab.listen(Socket::V4);
    let mut steering = lab.open();
    assert_eq!(steering.report().origin, Origin::Fresh);
    lab.steer(&mut steering, &[(ADDR, &listener)]);
    still_serves(&lab, &listener);
    assert_eq!(std::fs::read_dir(&lab.pin_dir).expect("the pin directory is there").count(), 1);
}
