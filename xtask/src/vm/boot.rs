//! One boot of a virtual machine under qemu, in software emulation, with its console on our side.
//!
//! Owns: the machine and its time limit. Goes in: a kernel and an initial file system. Comes out: what the console
//! said. Does not do: judging it.

use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// From power-on to power-off. A boot takes 4 s and the tests some 20 s on two idle cores, 90 s on busy ones.
const BOOT_MAX: Duration = Duration::from_secs(900);

/// Everything that qemu can emulate but `cmpxchg16b`: qemu 7.2 (Debian 12) now and then leaves a pointer in EFLAGS
/// after it, and kernel 6.12, whose allocator runs it in line, then dies of an alignment check. The kernel has another way.
const CPU: &str = "max,-cx16";

/// How often an unfinished machine is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Lines of a failed boot that are shown.
const END_LINES: usize = 60;

/// What a machine said.
pub struct Console {
    pub text: String,
    pub duration: Duration,
}

impl Console {
    /// Its last lines.
    pub fn end(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(END_LINES)..].join("\n")
    }
}

/// Boots and waits until the machine powers off.
pub fn boot(kernel: &Path, initramfs: &Path) -> Result<Console> {
    let start = Instant::now();
    let mut machine = Command::new("qemu-system-x86_64")
        .args(["-machine", "q35", "-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", "1024"])
        .args(["-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        // A kernel that panics reboots at once, which ends the machine.
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start qemu-system-x86_64: run `cargo xtask setup`")?;
    let mut output = machine.stdout.take().context("qemu has no output")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    let ended = loop {
        if machine.try_wait().context("cannot wait for qemu")?.is_some() {
            break true;
        }
        if start.elapsed() > BOOT_MAX {
            machine.kill().context("cannot end qemu")?;
            machine.wait().context("cannot wait for qemu")?;
            break false;
        }
        std::thread::sleep(POLL);
    };
    let bytes = reader.join().ok().context("the reader of the console panicked")?.context("cannot read the console")?;
    let console = Console { text: String::from_utf8_lossy(&bytes).into_owned(), duration: start.elapsed() };
    if !ended {
        bail!("the machine did not end within {} s; the end of its console:\n{}", BOOT_MAX.as_secs(), console.end());
    }
    Ok(console)
}
