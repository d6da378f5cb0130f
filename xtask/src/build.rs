//! `cargo xtask build`: the eBPF object first, then the workspace's binaries with the object inside.
//!
//! Owns: how the eBPF crate is compiled and where its object lies. Goes in: the tool chain that [`crate::setup`]
//! found. Comes out: `target/bpf/lb-ebpf.o`, which `lb-userspace/build.rs` embeds, and the binaries.
//! Does not do: installing anything.

use crate::setup;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the eBPF object and the workspace's binaries.
pub fn run(release: bool) -> Result<()> {
    let object = ebpf()?;
    println!("eBPF object: {}", object.display());
    workspace(release)
}

/// Builds the eBPF object and answers where it lies. About 40 s the first time, 1 s after.
pub fn ebpf() -> Result<PathBuf> {
    let chain = setup::ebpf_tool_chain()?;
    let target = target_dir().join("bpf-build");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root())
        .args(["build", "--package", "lb-ebpf", "--release", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target)
        // The BPF instruction set v3 (kernel 5.1) has 32-bit jumps, which keep bounds visible to the verifier.
        .env("CARGO_ENCODED_RUSTFLAGS", ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"].join("\u{1f}"))
        // Our flags, not those of the host's build that called us.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    chain.apply(&mut cargo);
    let status = cargo.status().context("cannot start cargo for the eBPF build")?;
    ensure!(status.success(), "the eBPF build failed; `cargo xtask setup --check` tells whether its tools are there");
    place(&target.join("bpfel-unknown-none/release/lb-ebpf"), &target_dir().join("bpf/lb-ebpf.o"))
}

/// Builds the workspace's binaries; they embed the object that [`ebpf`] made.
pub fn workspace(release: bool) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["build", "--bins", "--workspace", "--exclude", "lb-ebpf", "--exclude", "lb-fuzz"]);
    if release {
        cargo.arg("--release");
    }
    ensure!(cargo.status().context("cannot start cargo")?.success(), "cargo build failed");
    Ok(())
}

/// This program, to be started again. Not by its path: a build that it started may have replaced the file, and then the
/// path leads nowhere or to another program. The kernel's link leads to what runs, as long as it runs (proc(5)).
pub fn this_program() -> PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

/// Directory of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the repository.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Copies the object to its place by a rename, and only when its bytes changed: an unchanged one rebuilds nothing.
fn place(built: &Path, object: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    if std::fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(object.to_owned());
    }
    let dir = object.parent().expect("an object lies in a directory");
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let new = object.with_extension("o.new");
    std::fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(object.to_owned())
}
