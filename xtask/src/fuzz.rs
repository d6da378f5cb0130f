//! `cargo xtask fuzz`: feeds readers of foreign bytes with what libFuzzer makes of the seeds in `tests/fuzz/corpus`.
//!
//! Owns: how the targets are built (instrumented by `tests/fuzz/instrument.sh`, with the user's own stable compiler) and run.
//! Goes in: a target or none for all, a time for each, or files to try again. Comes out: a line for each target; an input
//! that breaks one is kept in `target/fuzz`, and its path is printed with how to try it again.
//! Does not do: keeping what it found interesting for the next time but below `target`.

use crate::build::{root, target_dir};
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::Command;

/// The targets of `tests/fuzz/src/main.rs`.
const TARGETS: [&str; 9] =
    ["request", "response", "chunks", "proxy-protocol", "client-hello", "names", "routes", "rewrite", "annotations"];

/// Time for each target when none is given, seconds.
const SECONDS: u32 = 60;

/// Longest input, bytes: above every limit that the readers have but that of whole heads.
const INPUT_BYTES_MAX: u32 = 12_288;

/// What one input may take: seconds, and memory in MB.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MB_MAX: u32 = 2_048;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    targets: Vec<&'a str>,
    seconds: u32,
    /// The same seed tries the same inputs in the same order.
    seed: Option<u32>,
    files: Vec<&'a str>,
}

/// Builds and runs.
pub fn run(args: &[&str]) -> Result<()> {
    let plan = Plan::read(args)?;
    let program = build()?;
    let mut broken = Vec::new();
    for target in &plan.targets {
        if !run_target(&program, target, &plan)? {
            broken.push(*target);
        }
    }
    ensure!(broken.is_empty(), "inputs break {}; `cargo xtask fuzz TARGET FILE` tries one again", broken.join(", "));
    Ok(())
}

impl<'a> Plan<'a> {
    fn read(args: &[&'a str]) -> Result<Self> {
        let mut plan = Plan { targets: Vec::new(), seconds: SECONDS, seed: None, files: Vec::new() };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            match *word {
                "--seconds" => {
                    let number = rest.next().context("--seconds needs a number")?;
                    plan.seconds = number.parse().with_context(|| format!("--seconds {number} is no number"))?;
                }
                "--seed" => {
                    let number = rest.next().context("--seed needs a number")?;
                    plan.seed = Some(number.parse().with_context(|| format!("--seed {number} is no number"))?);
                }
                target if plan.targets.is_empty() && TARGETS.contains(&target) => plan.targets.push(target),
                file if !plan.targets.is_empty() && !file.starts_with("--") => plan.files.push(file),
                other => bail!("{other:?} is none of the targets {}", TARGETS.join(", ")),
            }
        }
        if plan.targets.is_empty() {
            plan.targets.extend(TARGETS);
        }
        Ok(plan)
    }
}

/// Builds the targets; answers where the program lies.
fn build() -> Result<PathBuf> {
    let status = Command::new("cargo")
        .current_dir(root())
        .args(["build", "--workspace", "--exclude", "lb-ebpf", "--bin", "sluice-fuzz"])
        .env("RUSTC_WORKSPACE_WRAPPER", root().join("tests/fuzz/instrument.sh"))
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the fuzz targets could not be built");
    Ok(target_dir().join("debug/sluice-fuzz"))
}

/// Runs one target; answers whether it held.
fn run_target(program: &PathBuf, target: &str, plan: &Plan<'_>) -> Result<bool> {
    let kept = target_dir().join("fuzz").join(target);
    std::fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    let mut command = Command::new(program);
    command.env("SLUICE_FUZZ_TARGET", target);
    command.arg(format!("-artifact_prefix={}/{target}-", target_dir().join("fuzz").display()));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"));
    if plan.files.is_empty() {
        command.arg(format!("-max_total_time={}", plan.seconds)).arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.args(["-verbosity=0", "-print_final_stats=1"]);
        command.args(plan.seed.map(|seed| format!("-seed={seed}"))).arg(&kept);
        command.arg(root().join("tests/fuzz/corpus").join(target));
    } else {
        command.args(&plan.files);
    }
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("{target:<16} {}", summary(&said));
    } else {
        println!("{target}:\n{said}");
    }
    Ok(output.status.success())
}

/// What libFuzzer counted, in one line.
fn summary(said: &str) -> String {
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim())
    };
    match (value("number_of_executed_units"), value("new_units_added"), value("peak_rss_mb")) {
        (Some(inputs), Some(new), Some(memory)) => format!("held for {inputs} inputs, {new} of them new; {memory} MB"),
        _ => "held".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let plan = |args: &[&'static str]| Plan::read(args).ok();
        let want = |targets: &[&'static str], seconds, files: &[&'static str]| {
            Some(Plan { targets: targets.to_vec(), seconds, seed: None, files: files.to_vec() })
        };
        assert_eq!(plan(&[]), want(&TARGETS, SECONDS, &[]));
        assert_eq!(plan(&["--seconds", "5"]), want(&TARGETS, 5, &[]));
        assert_eq!(plan(&["chunks", "--seconds", "5"]), want(&["chunks"], 5, &[]));
        assert_eq!(plan(&["chunks", "a", "b"]), want(&["chunks"], SECONDS, &["a", "b"]));
        assert_eq!(plan(&["nothing"]), None);
        assert_eq!(plan(&["--seed", "7"]).and_then(|plan| plan.seed), Some(7));
        assert_eq!(plan(&["--seconds", "x"]), None);
        assert_eq!(plan(&["--seconds"]), None);
    }

    #[test]
    fn counts() {
        let said =
            "INFO: x\nstat::number_of_executed_units: 12\nstat::new_units_added:          3\nstat::peak_rss_mb: 39\n";
        assert_eq!(summary(said), "held for 12 inputs, 3 of them new; 39 MB");
        assert_eq!(summary(""), "held");
    }

    #[test]
    fn each_target_has_seeds_and_is_in_the_program() {
        let program = std::fs::read_to_string(root().join("tests/fuzz/src/main.rs")).expect("the targets are there");
        for target in TARGETS {
            assert!(program.contains(&format!("(\"{target}\", ")), "{target}");
            let seeds = root().join("tests/fuzz/corpus").join(target);
            assert!(std::fs::read_dir(seeds).is_ok_and(|mut seeds| seeds.next().is_some()), "{target} has no seed");
        }
        assert_eq!(program.matches("::run),").count(), TARGETS.len());
    }
}
