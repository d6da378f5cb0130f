//! `cargo xtask vm`: the kernel tests in virtual machines that boot Debian's kernels, in software emulation.
//!
//! Owns: fetching the kernels, the initial file system, the boot and its verdict.

use anyhow::{Result, bail};

/// Runs the kernel tests under one kernel (`6.1`, `6.12`) or `all`.
pub fn run(kernel: &str) -> Result<()> {
    bail!("kernel {kernel} is not known")
}
