//! `cargo xtask vm`: the kernel tests in virtual machines that boot Debian's kernels, in software emulation.
//!
//! Owns: which kernels, and the verdict of a boot. Goes in: a kernel's name or `all`. Comes out: one line a kernel, and
//! success only if tests ran and all of them passed. A boot that prints nothing, a panic of the kernel, a time-out and
//! a run of no tests are failures. Does not do: fetching ([`kernel`]), packing ([`initramfs`]), running ([`boot`]).

mod boot;
mod initramfs;
mod kernel;

use crate::build;
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// Kernels of which every run proves the oldest and the newest that Debian supports.
const KERNELS: [kernel::Series; 2] = [
    // Debian 12. Its kernel has no tcx: later programs find their other way of attaching here.
    kernel::Series { name: "6.1", suite: "bookworm" },
    kernel::Series { name: "6.12", suite: "trixie" },
];

/// Runs the kernel tests under one kernel (`6.1`, `6.12`) or `all`.
pub fn run(name: &str) -> Result<()> {
    let chosen: Vec<_> = KERNELS.iter().filter(|series| name == "all" || series.name == name).collect();
    if chosen.is_empty() {
        bail!("no kernel is called {name}; there are {}, or `all`", KERNELS.map(|series| series.name).join(", "));
    }
    crate::setup::run_quietly()?;
    build::ebpf()?;
    let programs = initramfs::Programs { tests: test_binary()?, agent: agent()? };
    for series in chosen {
        let kernel = kernel::fetch(series).with_context(|| format!("cannot get kernel {}", series.name))?;
        let initramfs = initramfs::pack(&kernel, &programs).context("cannot pack the initial file system")?;
        let console = boot::boot(&kernel.image, &initramfs)?;
        let passed = verdict(&console.text, series.name)
            .with_context(|| format!("kernel {}; the end of its console:\n{}", series.name, console.end()))?;
        println!("vm {}: {passed} in {:.1} s", series.name, console.duration.as_secs_f32());
    }
    Ok(())
}

/// What the console must say: which kernel, that tests passed, that their process ended well.
fn verdict(console: &str, series: &str) -> Result<String> {
    ensure!(!console.contains("Kernel panic"), "the kernel panicked");
    let after = |mark: &str| console.lines().find_map(|line| Some(line.trim().split_once(mark)?.1.trim().to_owned()));
    let release = after(initramfs::SAYS_KERNEL).context("the machine did not reach our init")?;
    ensure!(release.starts_with(&format!("{series}.")), "kernel {release} was booted");
    let program = after("program under test:").context("no test said which program it loaded")?;
    let status = after(initramfs::SAYS_STATUS).context("the tests did not end")?;
    let result = after("test result:").context("the tests did not say their result")?;
    let count = |what: &str| {
        let counts =
            result.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u32>().ok());
        counts.with_context(|| format!("no number of tests that {what}: {result}"))
    };
    let (passed, failed, ignored) = (count("passed")?, count("failed")?, count("ignored")?);
    ensure!(status == "0" && failed == 0, "{failed} tests failed, status {status}");
    ensure!(ignored == 0, "{ignored} tests were skipped");
    ensure!(passed > 0, "no test ran");
    // The form of cargo's own line, which `cargo xtask test` adds up.
    Ok(format!("kernel {release}, {program}, test result: ok. {passed} passed; {failed} failed; {ignored} ignored"))
}

/// Builds the integration tests and answers where their binary is.
fn test_binary() -> Result<std::path::PathBuf> {
    let output = Command::new("cargo")
        .current_dir(build::root())
        // The whole workspace, as `cargo xtask test` has it: for fewer packages cargo picks other features and compiles
        // everything anew.
        .args(["test", "--workspace", "--exclude", "lb-ebpf", "--test", "it", "--no-run", "--message-format", "json"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the integration tests do not compile");
    let messages = String::from_utf8(output.stdout).context("cargo speaks UTF-8")?;
    let mut executable = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "it";
        message["executable"].as_str().filter(|_| is_it).map(std::path::PathBuf::from)
    });
    executable.next_back().context("cargo built no binary for the integration tests")
}

/// Builds the agent and answers where its binary is.
fn agent() -> Result<std::path::PathBuf> {
    build::workspace(false)?;
    Ok(build::target_dir().join("debug/sluice"))
}

#[cfg(test)]
mod tests {
    use super::verdict;

    const GOOD: &str = "sluice-vm kernel: 6.1.0-53-cloud-amd64\r\nprogram under test: sluice_lookup\r\n\
        test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.0s\r\n\
        sluice-vm status: 0\r\n";

    fn check(console: &str, error: &str) {
        let found = verdict(console, "6.1").expect_err("this boot is a failure").to_string();
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn only_tests_that_ran_and_passed_are_a_success() {
        let said = verdict(GOOD, "6.1").expect("all is well");
        assert!(said.contains("6.1.0-53") && said.contains("12 passed"), "{said}");
        check("", "did not reach our init");
        check("sluice-vm kernel: 6.1.0\r\nprogram under test: x\r\n", "did not end");
        check(&GOOD.replace("12 passed", "0 passed"), "no test ran");
        check(&GOOD.replace("0 failed", "2 failed"), "2 tests failed");
        check(&GOOD.replace("0 ignored", "1 ignored"), "skipped");
        check(&GOOD.replace("status: 0", "status: 101"), "status 101");
        check(&GOOD.replace("program under", "nothing under"), "which program");
        check(&GOOD.replace("kernel: 6.1.0", "kernel: 6.12.0"), "was booted");
        check(&format!("{GOOD}Kernel panic - not syncing"), "panicked");
    }
}
