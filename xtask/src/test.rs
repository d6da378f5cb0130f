//! `cargo xtask test`: everything that must hold before a change lands, in stages from quick to slow.
//!
//! Owns: the order of the stages and the summary. Goes in: the tree. Comes out: at the end a table of stages with their
//! tests and times, and on the last line `N passed, M failed`. The first stage that fails ends the run.
//! A stage that should run tests and ran none, or skipped one, has failed. Does not do: any checking of its own.

use crate::build::{root, this_program};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// What every call of cargo for the workspace has: lb-ebpf is for another target and built by its own stage.
const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "lb-ebpf"];

/// Tests of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// A stage that ran.
struct Done {
    name: &'static str,
    took: Duration,
    /// `None` for a stage that runs no tests.
    tests: Option<Tally>,
}

/// Runs all stages.
pub fn run(args: &[&str]) -> Result<()> {
    ensure!(args.is_empty(), "`cargo xtask test` takes no arguments: it runs everything");
    let mut done = Vec::new();
    let outcome = stages(&mut done);
    println!();
    for stage in &done {
        println!("{}", stage.line());
    }
    if let Err(error) = &outcome {
        println!("\nFAILED: {error:#}");
    }
    let sum = done.iter().filter_map(|stage| stage.tests).fold(Tally::default(), Tally::plus);
    // A stage without tests that failed is one failure, so that the last line never reads as a success.
    let failed = if outcome.is_err() { sum.failed.max(1) } else { sum.failed };
    println!("\n{} passed, {failed} failed", sum.passed);
    outcome.map_err(|_| anyhow::anyhow!("`cargo xtask test` failed; the stage is named above"))
}

fn stages(done: &mut Vec<Done>) -> Result<()> {
    stage(done, "setup", || xtask("setup"))?;
    stage(done, "format", || cargo(&["fmt", "--all", "--check"], &[], &[]))?;
    stage(done, "tidy", || xtask("tidy"))?;
    stage(done, "build", || xtask("build"))?;
    stage(done, "clippy", || cargo(&["clippy", "--all-targets"], &WORKSPACE, &["-D", "warnings"]))?;
    test_stages(done)?;
    // Long enough to try all seeds and some 10,000 inputs of each target; longer runs are for people.
    // One seed, so that a change is judged by what it changes; `cargo xtask fuzz` alone tries something new each time.
    stage(done, "fuzz", || xtask_with(&["fuzz", "--seconds", "3", "--seed", "1"]))?;
    // The first command of the README, which fails when an answer or the steering counter is not as expected.
    stage(done, "demo", || xtask("demo"))?;
    let start = Instant::now();
    let mut vm = Command::new(this_program());
    let mut tally = Tally::default();
    let status = stream(vm.arg("vm"), |line| tally = tally.plus(result_line(line).unwrap_or_default()))?;
    finish(done, "kernel tests in virtual machines", start, Some(tally), status)?;
    // Last: it links the agent's binary in its place anew, without shared libraries.
    stage(done, "image", || xtask_with(&["dist", "--quick"]))
}

/// One call of cargo, so that nothing is compiled twice: first the unit and doc tests, then the one binary of kernel and
/// end-to-end tests.
fn test_stages(done: &mut Vec<Done>) -> Result<()> {
    let start = Instant::now();
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["test", "--color", "never", "--no-fail-fast"]).args(WORKSPACE);
    let (mut unit, mut end_to_end) = (Tally::default(), Tally::default());
    let mut in_it = false;
    let status = stream(&mut command, |line| {
        match line.trim_start().split_once(' ') {
            Some(("Running", target)) => in_it = target.starts_with("it/") || target.starts_with("tests/it/"),
            Some(("Doc-tests", _)) => in_it = false,
            _ => {}
        }
        let tally = if in_it { &mut end_to_end } else { &mut unit };
        *tally = tally.plus(result_line(line).unwrap_or_default());
    })?;
    // Which of the two failed is in the counts; the time is of both.
    done.push(Done { name: "unit and doc tests", took: Duration::ZERO, tests: Some(unit) });
    ensure!(unit.passed > 0, "no unit test ran");
    finish(done, "kernel and end-to-end tests", start, Some(end_to_end), status)
}

fn stage(done: &mut Vec<Done>, name: &'static str, work: impl FnOnce() -> Result<ExitStatus>) -> Result<()> {
    println!("\n== {name} ==");
    let start = Instant::now();
    let status = work()?;
    finish(done, name, start, None, status)
}

fn finish(
    done: &mut Vec<Done>,
    name: &'static str,
    start: Instant,
    tests: Option<Tally>,
    status: ExitStatus,
) -> Result<()> {
    done.push(Done { name, took: start.elapsed(), tests });
    ensure!(status.success(), "stage \"{name}\" failed ({status}); no later stage ran");
    match tests {
        Some(tally) if tally.passed == 0 => bail!("stage \"{name}\" ran no test"),
        Some(tally) if tally.ignored > 0 => bail!("stage \"{name}\" skipped {} tests", tally.ignored),
        _ => Ok(()),
    }
}

/// Another verb of this program, in a process of its own, so that it prints as it would alone.
fn xtask(verb: &str) -> Result<ExitStatus> {
    xtask_with(&[verb])
}

fn xtask_with(words: &[&str]) -> Result<ExitStatus> {
    Command::new(this_program()).args(words).status().with_context(|| format!("cannot run xtask {}", words.join(" ")))
}

fn cargo(verb: &[&str], more: &[&str], after: &[&str]) -> Result<ExitStatus> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(verb).args(more);
    if !after.is_empty() {
        command.arg("--").args(after);
    }
    command.status().with_context(|| format!("cannot run {command:?}"))
}

/// Runs a command; each line that it writes, to either stream, is shown and looked at.
fn stream(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    // The command still holds the writing ends, and the pipe ends only when all of them are closed.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader);
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line).into_owned();
        print!("{text}");
        look(&text);
        line.clear();
    }
    Ok(child.wait()?)
}

/// The numbers of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<Tally> {
    let (_, rest) = line.split_once("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| {
            let (number, rest) = part.split_once(' ')?;
            let number = number.parse().ok()?;
            (rest.split_whitespace().next() == Some(what)).then_some(number)
        })
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

impl Done {
    fn line(&self) -> String {
        let tests = self.tests.map_or_else(String::new, |t| format!("{} passed, {} failed", t.passed, t.failed));
        let took = if self.took.is_zero() { "with the next".to_owned() } else { format!("{} s", self.took.as_secs()) };
        format!("{:<34} {took:>13}  {tests}", self.name).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines() {
        let check = |line: &str, want: Option<(u64, u64, u64)>| {
            let want = want.map(|(passed, failed, ignored)| Tally { passed, failed, ignored });
            assert_eq!(result_line(line), want, "{line}");
        };
        let rest = "0 measured; 2 filtered out; finished in 0.17s\n";
        check(&format!("test result: ok. 14 passed; 0 failed; 0 ignored; {rest}"), Some((14, 0, 0)));
        check(&format!("test result: FAILED. 3 passed; 1 failed; 2 ignored; {rest}"), Some((3, 1, 2)));
        check("test a ... ok\n", None);
        check(
            "vm 6.1: kernel 6.1.0, lookup, test result: ok. 32 passed; 0 failed; 0 ignored in 27.5 s\n",
            Some((32, 0, 0)),
        );
        check("vm 6.1: booting\n", None);
    }

    #[test]
    fn a_stage_without_tests_or_with_skipped_ones_fails() {
        let check = |program: &str, tests, want: bool| {
            let status = Command::new(program).status().expect("coreutils are there");
            let outcome = finish(&mut Vec::new(), "sample", Instant::now(), tests, status);
            assert_eq!(outcome.is_ok(), want, "{program} {tests:?}");
        };
        let tally = |passed, failed, ignored| Some(Tally { passed, failed, ignored });
        check("true", None, true);
        check("false", None, false);
        check("true", tally(1, 0, 0), true);
        check("true", tally(0, 0, 0), false);
        check("true", tally(1, 0, 1), false);
    }

    #[test]
    fn both_streams_are_seen() {
        let mut lines = Vec::new();
        let status =
            stream(Command::new("sh").args(["-c", "echo one; echo two >&2"]), |line| lines.push(line.to_owned()));
        assert!(status.expect("sh runs").success());
        assert_eq!(lines, ["one\n", "two\n"]);
    }
}
