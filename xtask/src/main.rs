//! `cargo xtask VERB`: automation of this repository, one verb a file.
//!
//! Owns: the list of verbs and their dispatch. Goes in: the command line. Comes out: an exit status, 0 for success,
//! 1 for a failure that was printed, 2 for a command line that is not understood.
//! Does not do: any work. A verb's file does.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod dist;
mod fuzz;
mod setup;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask VERB

  setup [--check]       find or install what building and testing need; --check only reports
  build [--release]     build the eBPF object, then the workspace's binaries with it inside
  demo [--keep|--json]  set up, build, serve deploy/examples in network namespaces, print what happened
  test                  everything: fmt, clippy, tidy, unit, kernel and end-to-end tests, vm
  fuzz [TARGET] [--seconds N] [--seed N] [FILE…]
                        look for inputs that break a reader of foreign bytes; with files, try those
  tidy                  check the house rules that a compiler does not
  dist [--quick]        a static binary and an image FROM scratch in target/dist, started and asked; --quick: unoptimised
  vm [6.1|6.12|all]     run the kernel tests in virtual machines with Debian's kernels
  bench [SCENARIO…]     measure against nginx and HAProxy; --list names the scenarios, --help the options";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["setup"] => setup::run(false),
        ["setup", "--check"] => setup::run(true),
        ["build"] => build::run(false),
        ["build", "--release"] => build::run(true),
        ["bench", args @ ..] => bench::run(args),
        ["demo", args @ ..] => demo::run(args),
        ["dist", args @ ..] => dist::run(args),
        ["fuzz", args @ ..] => fuzz::run(args),
        ["test", args @ ..] => test::run(args),
        ["tidy", args @ ..] => tidy::run(args),
        ["vm"] => vm::run("all"),
        ["vm", kernel] => vm::run(kernel),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
