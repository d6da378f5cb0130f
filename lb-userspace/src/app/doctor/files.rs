//! The run directory, and how many files may be open.
//!
//! Goes in: the directory and the limits. Comes out: a check for each. A file is made and removed.

use super::super::descriptors;
use super::existing;
use crate::config::Limits;
use crate::kernel::doctor::{Check, State};
use nix::sys::resource::{Resource, getrlimit};
use std::io;
use std::path::Path;

pub fn checks(run_dir: &Path, limits: &Limits) -> Vec<Check> {
    vec![run_directory(run_dir), open_files(limits)]
}

fn run_directory(run_dir: &Path) -> Check {
    let shown = run_dir.display();
    let needed_for = "the control socket and the lock of an agent; without it the agent does not start";
    match try_write(existing(run_dir)) {
        Ok(()) => Check::ok("run directory", format!("{shown} can be written"), needed_for),
        Err(error) => Check::ok("run directory", format!("{shown} cannot be written: {error}"), needed_for).but(
            State::Missing,
            "mount a tmpfs there that the agent's user owns (an emptyDir of medium Memory, RuntimeDirectory= of systemd)",
        ),
    }
}

fn try_write(dir: &Path) -> io::Result<()> {
    let tried = dir.join(format!(".doctor-{}", std::process::id()));
    std::fs::create_dir(&tried)?;
    std::fs::remove_dir(&tried)
}

fn open_files(limits: &Limits) -> Check {
    let needed_for = "--limit-connections; beyond it connections are refused";
    let needed = descriptors::needed(limits);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= needed => {
            Check::ok("open files", format!("{hard}, and {needed} are needed"), needed_for)
        }
        Ok((_, hard)) => Check::ok("open files", format!("{hard}, and {needed} are needed"), needed_for).but(
            State::Degraded,
            format!(
                "about {} connections fit: raise it (LimitNOFILE= of systemd, --ulimit nofile= of containers), or lower \
                 --limit-connections",
                descriptors::connections(hard)
            ),
        ),
        Err(error) => Check::ok("open files", format!("cannot be read: {error}"), needed_for)
            .but(State::Degraded, "nothing: the agent goes on with the limit that it has"),
    }
}
