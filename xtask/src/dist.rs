//! `cargo xtask dist [--quick]`: what is given away, made and tried: a static binary, and an image with nothing else in it.
//!
//! Owns: the order of steps and `target/dist`. Goes in: the tree. Comes out: `target/dist/sluice` (static, stripped) and
//! `target/dist/sluice-VERSION.tar` (for `docker load`, `ctr images import`, `kind load image-archive`), after the binary
//! was seen to need no library ([`elf`]) and the image ([`image`]) to start and to answer with the rights that the
//! DaemonSet gives it ([`start`]). `--quick` leaves out optimisation: it tries the same steps in a tenth of the time,
//! and is a stage of `cargo xtask test`. Does not do: pushing anything anywhere.

mod elf;
mod image;
mod start;

use crate::build::{self, root, target_dir};
use crate::setup;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes and tries everything.
pub fn run(args: &[&str]) -> Result<()> {
    let quick = match args {
        [] => false,
        ["--quick"] => true,
        _ => bail!("`cargo xtask dist` takes --quick or nothing"),
    };
    setup::run_quietly()?;
    build::ebpf()?;
    let dist = target_dir().join("dist");
    let context = dist.join("context");
    fs::create_dir_all(&context).with_context(|| format!("cannot make {}", context.display()))?;
    let binary = context.join("sluice");
    fs::copy(compile(quick)?, &binary).with_context(|| format!("cannot write {}", binary.display()))?;
    call(Command::new("strip").arg(&binary))?;
    let bytes = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    elf::check_static(&bytes)?;
    println!("binary: static, {} MB", bytes.len() / 1_000_000);
    let version = version(&binary)?;
    let archive = dist.join(format!("sluice-{version}.tar"));
    image::build(&context, &format!("sluice:{version}"), &archive)?;
    let file_system = dist.join("root");
    image::unpack(&archive, &file_system)?;
    println!("image: {}, with one file", archive.display());
    start::try_it(&file_system)?;
    let given = dist.join("sluice");
    fs::copy(&binary, &given).with_context(|| format!("cannot write {}", given.display()))?;
    if quick {
        println!("not optimised (--quick): not to be given away");
    } else {
        println!("{}\n{}", given.display(), archive.display());
    }
    Ok(())
}

/// Links the agent against nothing that is loaded at run time, and answers where cargo put it.
///
/// Only the last step differs from an ordinary build: the `libc` crate and `std` decide at that point which glibc they are
/// linked to. So dependencies are not compiled again, and no musl is needed. glibc 2.34 and later has the readers of
/// `/etc/hosts` and of DNS in itself, so names are found without shared libraries as well.
fn compile(quick: bool) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["rustc", "--package", "lb-userspace", "--bin", "sluice"]);
    if !quick {
        cargo.arg("--release");
    }
    call(cargo.args(["--", "-C", "target-feature=+crt-static"]))?;
    Ok(target_dir().join(if quick { "debug" } else { "release" }).join("sluice"))
}

/// What the binary says of itself.
fn version(binary: &Path) -> Result<String> {
    let said = output(Command::new(binary).arg("--version"))?;
    let version = said.trim().strip_prefix("sluice ").with_context(|| format!("{said:?} is no version"))?;
    Ok(version.to_owned())
}

/// Runs a command that must succeed.
fn call(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "failed ({status}): {command:?}");
    Ok(())
}

/// As [`call`], for what the command prints.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed ({}): {command:?}\n{said}{errors}", output.status);
    Ok(said)
}
