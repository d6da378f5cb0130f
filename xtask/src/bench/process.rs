//! A process that the bench started, and what it costs: processor time and resident memory, with its children.
//!
//! Goes in: a command. Comes out: a [`Process`] that is ended by its pid when it is dropped.

use super::lab::{CLIENT_CPUS, Lab, Room};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kernel clock ticks in a second as `/proc` counts them (USER_HZ, 100 on every Linux architecture that we run on).
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running process and its output.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command with its output in a file.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Its pid, also as text for commands.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the last lines of its output if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.last_lines()),
        }
    }

    /// Seconds of processor time of it and its children so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in family(self.pid())? {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            ticks += stat_ticks(&stat).with_context(|| format!("/proc/{pid}/stat has an unknown form"))?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// It and its children run on these CPUs from now on (`taskset` syntax).
    pub fn move_to(&self, cpus: &str) -> Result<()> {
        for pid in family(self.pid())? {
            let mut command = Command::new("taskset");
            let output = command.args(["--all-tasks", "--cpu-list", "--pid", cpus]).arg(pid.to_string()).output()?;
            ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Resident bytes of it and its children; pages that they share are counted once (`Pss`).
    pub fn resident_bytes(&self) -> Result<f64> {
        let mut kilobytes = 0;
        for pid in family(self.pid())? {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("smaps_rollup has no Pss")?;
            kilobytes += line.split_whitespace().nth(1).context("Pss has no value")?.parse::<u64>()?;
        }
        Ok(kilobytes as f64 * 1024.0)
    }

    /// The end of its output.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Asks it to end, waits, and kills it when it does not listen.
    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end within {PATIENCE:?} of SIGTERM and was killed", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("  {error:#}");
        }
    }
}

/// Waits until a connection to a port succeeds, from where load comes.
pub fn wait_for_port(lab: &Lab, process: &mut Process, address: &str, port: u16) -> Result<()> {
    await_ready(lab, process, &format!("{address}:{port}"), "-")
}

/// Waits until an address serves a path, or takes a connection where that is `-`; answers at once when the process ends.
pub fn await_ready(lab: &Lab, process: &mut Process, target: &str, path: &str) -> Result<()> {
    let mut tool = lab.tool(Room::Client, CLIENT_CPUS, &["await-ready", target, path])?;
    let mut tool = tool.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    while tool.try_wait()?.is_none() {
        if let Err(ended) = process.ensure_running() {
            tool.kill()?;
            tool.wait()?;
            return Err(ended);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = tool.wait_with_output()?;
    let fault = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} does not serve: {}\n{}", process.name, fault.trim(), process.last_lines());
    Ok(())
}

/// Busy seconds of the whole machine so far, all CPUs added up: everything but idle and waiting for disks.
pub fn machine_busy_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    Ok(busy_ticks(line).context("/proc/stat has an unknown form")? as f64 / TICKS_PER_SECOND)
}

/// `cpu user nice system idle iowait irq softirq steal …` → ticks that were not idle. See proc_stat(5).
pub fn busy_ticks(line: &str) -> Option<u64> {
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = fields.get(3)? + fields.get(4)?;
    // Stolen time is the host's, and guest time (after it) is part of user time already.
    Some(fields.iter().take(7).sum::<u64>() - idle)
}

/// Seconds of processor time of the programs that this one started, waited for, and their children.
pub fn children_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    Ok(children_ticks(&stat).context("/proc/self/stat has an unknown form")? as f64 / TICKS_PER_SECOND)
}

/// `cutime + cstime` of `/proc/PID/stat`. See proc_pid_stat(5).
pub fn children_ticks(stat: &str) -> Option<u64> {
    let mut fields = after_command(stat)?.split_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// `utime + stime` of `/proc/PID/stat`; the command in brackets may hold blanks. See proc_pid_stat(5).
pub fn stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = after_command(stat)?.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn after_command(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest)
}

/// A process with its children and theirs.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while the list is read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = after_command(&stat).and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found)
}
