//! Programs that only the bench needs: peers and load. `cargo xtask setup` does not install them.
//!
//! Goes in: the machine. Comes out: every program is there, or an error with the command that brings it.

use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs and their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("taskset", "util-linux"),
    ("prlimit", "util-linux"),
    ("sysctl", "procps"),
    ("kill", "procps"),
];

/// Installs what is missing where it can.
pub fn check_or_install() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    ensure!(root, "the bench makes network namespaces, so it needs root");
    let missing: Vec<&str> = PROGRAMS.iter().filter(|(p, _)| !is_there(p)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_there("apt-get") {
        bail!("this is not Debian: install what its packages `{}` hold", missing.join(" "));
    }
    println!("+ {command}");
    for words in ["update", command.trim_start_matches("apt-get ")] {
        let mut apt = Command::new("apt-get");
        apt.args(words.split(' ')).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        // A package may start a service when it is installed; the bench starts its own.
        apt.env("RUNLEVEL", "1");
        ensure!(apt.status().context("cannot start apt-get")?.success(), "`apt-get {words}` failed");
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|d| Path::new(d).to_owned()))
        .any(|d| d.join(program).is_file())
}
