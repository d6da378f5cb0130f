//! The quota of processor time that the proxies of a scenario have, so that they and not the client are the limit.
//!
//! Client and backend make as many system calls for a request as the proxy between them, so with a core for each side of
//! two cores the client's core is full first, and a proxy that needs less time than the others could not show it. With a
//! part of its core the proxy is the limit, and requests in a second say what it does with its time. All contenders of a
//! scenario run in one control group and take turns, so the quota is the same for all.
//!
//! Goes in: a name, and microseconds of each period. Comes out: the group's file that a process joins by. Does not do:
//! anything on a machine without the `cpu` controller, and says so.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A period of the quota, µs. Five ticks of a kernel with 250 in a second, as a process that never sleeps is stopped at a
/// tick; short beside a round, so that a round has a hundred of them.
const PERIOD_US: u64 = 20_000;

/// The control group of the proxies.
#[derive(Debug)]
pub struct Quota {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// `cpu.cfs_quota_us`, see sched-bwc.rst.
    One,
    /// `cpu.max`, see cgroup-v2.rst.
    Two,
}

impl Quota {
    /// Makes the group; an error says why there can be none.
    pub fn new(name: &str) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let (mount, version) = find(&mounts).context("no mounted control group has the controller `cpu`")?;
        if version == Version::Two {
            // Already so where systemd runs.
            write(&mount.join("cgroup.subtree_control"), "+cpu")?;
        }
        let dir = mount.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let quota = Self { dir, version };
        quota.set(None)?;
        Ok(quota)
    }

    /// The processes of the group may use this part of a core (2.0 is two cores); nothing is no limit.
    pub fn set(&self, cores: Option<f64>) -> Result<()> {
        let micros = cores.map(|cores| (cores * PERIOD_US as f64) as u64);
        match self.version {
            Version::One => {
                write(&self.dir.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                let text = micros.map_or("-1".to_owned(), |micros| micros.to_string());
                write(&self.dir.join("cpu.cfs_quota_us"), &text)
            }
            Version::Two => {
                let text = micros.map_or("max".to_owned(), |micros| micros.to_string());
                write(&self.dir.join("cpu.max"), &format!("{text} {PERIOD_US}"))
            }
        }
    }

    /// A process joins the group when its pid is written here.
    pub fn processes(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }
}

/// Removes the group of that name, if there is one. Its processes have ended.
pub fn remove(name: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let Some(dir) = find(&mounts).map(|(mount, _)| mount.join(name)).filter(|dir| dir.exists()) else { return Ok(()) };
    // A process that was killed just now takes a moment to leave.
    let mut removed = std::fs::remove_dir(&dir);
    for _ in 0..100 {
        if removed.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        removed = std::fs::remove_dir(&dir);
    }
    removed.with_context(|| format!("cannot remove {}", dir.display()))
}

/// Where the `cpu` controller is mounted: a hierarchy of version 1 if one has it, else version 2. See proc_pid_mountinfo(5).
fn find(mounts: &str) -> Option<(PathBuf, Version)> {
    let mut found = None;
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ")?;
        let mount = Path::new(before.split(' ').nth(4)?);
        let mut words = after.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        match kind {
            "cgroup" if options.split(',').any(|option| option == "cpu") => return Some((mount.into(), Version::One)),
            "cgroup2" => {
                let controllers = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
                if controllers.split_whitespace().any(|controller| controller == "cpu") {
                    found = Some((mount.into(), Version::Two));
                }
            }
            _ => {}
        }
    }
    found
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write `{text}` to {}", file.display()))
}
