//! The systemd unit of the edge gateway: known to systemd, and as narrow as the pod.

use super::chart::render_file;
use super::{only, root, texts};
use lb_tests::agent::{binary, text};
use lb_tests::scratch::Scratch;
use std::process::Command;

fn unit() -> String {
    std::fs::read_to_string(root().join("deploy/systemd/sluice.service")).expect("the unit is there")
}

/// Values of a directive, in order.
fn values<'a>(unit: &'a str, directive: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_knows_every_directive() {
    let scratch = Scratch::new();
    // Verified is whether the program is there, too.
    let here = unit().replace("/usr/local/bin/sluice", &binary("sluice").display().to_string());
    scratch.write("sluice.service", here);
    let verify = |path: &std::path::Path| {
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output().expect("it runs");
        (output.status.success(), text(&output))
    };
    let path = scratch.path().join("sluice.service");
    let (good, said) = verify(&path);
    // What it says of other units of this machine is not about ours.
    assert!(good && !said.contains("sluice.service"), "{said}");

    scratch.write("sluice.service", unit().replace("NoNewPrivileges=", "NoNewPrivilege="));
    let (_, said) = verify(&path);
    assert!(said.contains("NoNewPrivilege"), "a slip is found: {said}");
}

#[test]
fn it_has_the_rights_of_the_pod_and_time_to_end() {
    let unit = unit();
    let objects = render_file("").objects();
    let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let mut want: Vec<String> =
        texts(&pod["securityContext"]["capabilities"]["add"]).into_iter().map(|name| format!("CAP_{name}")).collect();
    want.sort_unstable();
    let [bounding] = values(&unit, "CapabilityBoundingSet")[..] else { panic!("one set of capabilities") };
    let mut has: Vec<&str> = bounding.split_whitespace().collect();
    has.sort_unstable();
    assert_eq!(has, want);
    for (directive, want) in [("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("RuntimeDirectory", "sluice")] {
        assert_eq!(values(&unit, directive), [want], "{directive}");
    }
    // Pins below /sys must be writable.
    assert!(values(&unit, "ProtectKernelTunables").is_empty());

    let help = Command::new(binary("sluice")).args(["run", "--help"]).output().expect("sluice runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let [start] = values(&unit, "ExecStart")[..] else { panic!("one command") };
    for flag in start.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{flag} of {start}");
    }
    let [stop] = values(&unit, "TimeoutStopSec")[..] else { panic!("one limit") };
    assert!(stop.parse::<u64>().expect("seconds") >= 30 + 5, "longer than --drain-seconds is by default");
    let [nofile] = values(&unit, "LimitNOFILE")[..] else { panic!("one limit") };
    assert!(nofile.parse::<u64>().expect("a number") >= 132_096, "as many as --limit-connections needs by default");
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["64"]);
}
