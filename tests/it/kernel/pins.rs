//! Pins: one agent at a time, and removal that leaves nothing.

use super::lab::{Lab, Socket, connect};
use lb_userspace::kernel::{Unavailable, UnpinError, unpin};

const ADDR: &str = "10.77.0.2:80";

#[test]
fn two_agents_do_not_share_pins() {
    let lab = Lab::new();
    let first = lab.open();
    let refused = lab.try_open().expect_err("the pins are held");
    assert!(matches!(refused, Unavailable::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains(&lab.pin_dir.display().to_string()), "{refused}");
    assert!(matches!(unpin(&lab.pin_dir), Err(UnpinError::Locked { .. })));
    drop(first);
    lab.try_open().expect("the lock ends with its holder");
}

#[test]
fn unpin_detaches_and_leaves_nothing() {
    let lab = Lab::new();
    let listener = lab.listen(Socket::V4);
    let mut steering = lab.open();
    lab.steer(&mut steering, &[(ADDR, &listener)]);
    let pins = steering.report().pins;
    drop(steering);
    connect(&lab.client, ADDR).expect("steering outlives the agent");
    let removed = unpin(&lab.pin_dir).expect("pins are removed");
    assert!(pins.iter().all(|pin| removed.contains(pin)), "{removed:?}");
    assert!(!lab.pin_dir.exists());
    connect(&lab.client, ADDR).expect_err("nobody steers any more");
    assert_eq!(unpin(&lab.pin_dir).expect("nothing to do is no error"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn unpin_leaves_the_pins_of_others() {
    let lab = Lab::new();
    drop(lab.open());
    let other = lab.pin_dir.join("someone-else");
    std::fs::create_dir(&other).expect("a directory is made");
    unpin(&lab.pin_dir).expect("pins are removed");
    assert!(other.exists());
    std::fs::remove_dir(&other).expect("a directory is removed");
    std::fs::remove_dir(&lab.pin_dir).expect("nothing else is in it");
}

#[test]
fn what_a_dying_agent_left_half_made_is_removed() {
    let lab = Lab::new();
    drop(lab.open());
    let unfinished = lab.pin_dir.join("new-1");
    std::fs::create_dir(&unfinished).expect("a directory is made");
    drop(lab.open());
    assert!(!unfinished.exists());
}

#[test]
fn a_bpffs_is_mounted_where_none_is() {
    let mut lab = Lab::new();
    lab.pin_dir = std::env::temp_dir().join(format!("sluice-test-bpffs-{}", std::process::id()));
    let steering = lab.open();
    assert!(steering.report().pins.iter().all(|pin| pin.starts_with(&lab.pin_dir) && pin.exists()));
    drop(steering);
    unpin(&lab.pin_dir).expect("pins are removed");
    // Detached, because a process that another test is just starting may share our descriptors for a moment.
    nix::mount::umount2(&lab.pin_dir, nix::mount::MntFlags::MNT_DETACH).expect("it was a mount point");
    std::fs::remove_dir(&lab.pin_dir).expect("it is empty");
}
