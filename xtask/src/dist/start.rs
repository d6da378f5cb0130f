//! The image at work: its file system alone, read-only, with the capabilities of the DaemonSet and no more.
//!
//! Goes in: the unpacked image. Comes out: an error with everything that was printed when anything is not as it must be.
//! Does not do: Kubernetes. Everything happens in a network and a mount namespace that end with it.

use super::output;
use crate::build::root;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the DaemonSet adds (`deploy/helm/sluice/templates/daemonset.yaml`); a test of the chart compares.
const CAPABILITIES: [&str; 4] = ["cap_bpf", "cap_net_admin", "cap_net_bind_service", "cap_perfmon"];

/// Their bits (linux/capability.h): 39, 12, 10, 38.
const CAPABILITY_BITS: &str = "000000c000001400";

/// Runs as root in its own namespaces, with the file system, the manifests and the capabilities to drop as arguments.
///
/// A container runtime gives the same: `/proc`, `/sys`, bpffs, a writable `/run/sluice`, and all else read-only.
const SCRIPT: &str = r#"
set -eu
root=$1 manifests=$2 drop=$3
fail() { echo "$1"; cat "$root/run/sluice/log" || true; exit 1; }
ip link set lo up
mount -t tmpfs tmpfs "$root/manifests"
cp "$manifests"/*.yaml "$root/manifests"
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t tmpfs tmpfs "$root/run/sluice"
inside() { exec capsh --drop="$drop" --chroot="$root" --shell=/sluice -- "$@"; }
(inside --version)
inside run --directory /manifests --splice=off > "$root/run/sluice/log" 2>&1 &
agent=$!
tries=0
until [ "$(curl -so /dev/null -w '%{http_code}' http://127.0.0.1:9180/readyz)" = 200 ]; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] || fail "not ready after 30 s"
  kill -0 $agent 2> /dev/null || fail "it ended"
  sleep 0.1
done
ask() { curl -sk -o /dev/null -w "$1 %{http_code}\n" "$2" || fail "$1: no answer"; }
ask healthz http://127.0.0.1:9180/healthz
ask http http://127.0.0.1/
ask https https://127.0.0.1/
sed -n 's/^CapEff:[[:space:]]*/capabilities /p' /proc/$agent/status
curl -s http://127.0.0.1:9180/metrics | sed -n 's/^sluice_steering_active /steering /p'
touch "$root/written" 2> /dev/null && echo "root file system: writable" || echo "root file system: read-only"
kill -TERM $agent
wait $agent && echo "ended 0" || fail "ended $?"
"#;

/// Starts the image, asks it, and ends it.
pub fn try_it(file_system: &Path) -> Result<()> {
    for directory in ["proc", "sys", "run/sluice", "manifests"] {
        fs::create_dir_all(file_system.join(directory)).context("cannot make mount points")?;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"]);
    unshare.arg(file_system).arg(root().join("deploy/examples")).arg(others()?);
    let said = output(&mut unshare).context("the image does not start")?;
    let steering = "steering 1";
    let capabilities = format!("capabilities {CAPABILITY_BITS}");
    // No backend of the examples is there, so an endpoint that refuses is the answer of an agent that routes.
    for want in
        ["healthz 200", "http 502", "https 502", &capabilities, steering, "root file system: read-only", "ended 0"]
    {
        ensure!(said.lines().any(|line| line == want), "the image should say {want:?}, and says:\n{said}");
    }
    println!("started: {}", said.lines().collect::<Vec<_>>().join("; "));
    Ok(())
}

/// Every capability that we have and the DaemonSet does not give, as `capsh --drop` takes them.
fn others() -> Result<String> {
    let said = output(Command::new("capsh").arg("--print"))?;
    let line = said.lines().find_map(|line| line.strip_prefix("Bounding set =")).context("capsh --print")?;
    Ok(line.split(',').filter(|name| !CAPABILITIES.contains(name)).collect::<Vec<_>>().join(","))
}
