//! The laboratory: three network namespaces (client, proxy, backend), two veth pairs and two more
//! for the bare way, where none of Sluice's programs is, the backend, and a directory.
//!
//! Owns: making and removing them. A guard process waits for the end of its standard input, which comes however the
//! bench ends (done, failed, Ctrl-C, killed), then ends what still runs in the namespaces and removes them: one path
//! of cleaning up for all endings. Does not do: starting proxies or load.
//!
//! ```text
//! client 10.77.1.100 ── veth ── 10.77.1.1 sluice, .2 nginx, .3 haproxy, .4 hyper (proxy) 10.77.2.1 ── veth ── 10.77.2.100 backend
//!        10.77.3.100 ── veth ── 10.77.3.1                   plain routing: direct         10.77.4.1 ── veth ── 10.77.4.100
//! ```

use super::peer::certificate;
use super::pods;
use super::process::{Process, wait_for_port};
use super::quota::{self, Quota};
use crate::build::this_program;
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Address of the backend, which listens on port 8000.
pub const BACKEND: &str = "10.77.2.100";

/// Its address by the bare way.
pub const BACKEND_PLAIN: &str = "10.77.4.100";

/// Interfaces of the proxies; those of the bare way are not theirs.
pub const PROXY_INTERFACES: &str = "front,back";

/// The core of client and backend.
pub const CLIENT_CPUS: &str = "0";

/// The core of the backend where the client has one of its own.
pub const BACKEND_CPUS: &str = "1";

/// Without pacing, whatever this machine's default is: the timers of BBR would be what is measured. Of those that do not
/// pace, Reno alone is allowed in every network namespace (`tcp_set_default_congestion_control`, kernel 6.18).
pub const CONGESTION_CONTROL: &str = "reno";

/// A namespace of the laboratory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Where load comes from.
    Client,
    /// Where the proxies run; also routes from client to backend.
    Proxy,
    /// Where the backend runs.
    Backend,
}

const ROOMS: [Room; 3] = [Room::Client, Room::Proxy, Room::Backend];

/// Addresses of the proxies towards the client: Sluice, nginx, HAProxy and hyper run at the same time on the same ports.
const PROXY_ADDRESSES: [&str; 4] = ["10.77.1.1/24", "10.77.1.2/24", "10.77.1.3/24", "10.77.1.4/24"];

/// The namespaces while they exist.
pub struct Lab {
    tag: String,
    dir: PathBuf,
    guard: Child,
    quota: Quota,
    // Dropped before the guard is told to clean up, because `drop` of the Lab waits for it first.
    backend: Option<Process>,
}

impl Lab {
    /// Makes everything and starts the backend.
    pub fn new() -> Result<Self> {
        let tag = format!("slb{}", std::process::id());
        let dir = std::env::temp_dir().join(&tag);
        std::fs::create_dir_all(&dir)?;
        // nginx's workers give up root and must reach their files.
        let guard = Command::new(this_program())
            .args(["bench", "tool", "guard", &tag])
            .arg(&dir)
            .stdin(Stdio::piped())
            // A group of its own, so that Ctrl-C on the terminal does not end it with us.
            .process_group(0)
            .spawn()
            .context("cannot start the guard")?;
        let quota = Quota::new(&tag).context("the proxies cannot be given a quota of processor time")?;
        let mut lab = Self { tag, dir, guard, quota, backend: None };
        lab.build()?;
        lab.backend = Some(lab.start_backend()?);
        Ok(lab)
    }

    /// Directory for files of this run; removed with the laboratory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run in a room, on these CPUs (`taskset` syntax). Its process keeps the pid that is spawned.
    pub fn command(&self, room: Room, cpus: &str, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(room), "taskset", "--cpu-list", cpus]);
        // Room for 10,000 connections and their upstreams; equal for all, whatever the shell's limit is.
        command.args(["prlimit", "--nofile=20000:20000"]).arg(program.as_ref());
        command.stdin(Stdio::null());
        command
    }

    /// The same for a proxy, under the quota that [`Self::limit`] sets.
    pub fn proxy_command(&self, cpus: &str, program: impl AsRef<Path>) -> Command {
        let inner = self.command(Room::Proxy, cpus, program);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(self.quota.processes());
        command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        command
    }

    /// All proxies together may use so many cores from now on; nothing is no limit.
    pub fn limit(&self, cores: Option<f64>) -> Result<()> {
        self.quota.set(cores)
    }

    /// Until it is dropped the backend has the other core, so that the client has one of its own.
    pub fn spread(&self) -> Result<Spread<'_>> {
        let backend = self.backend.as_ref().context("the backend runs")?;
        backend.move_to(BACKEND_CPUS)?;
        Ok(Spread(backend))
    }

    /// Processor seconds of the backend so far.
    pub fn backend_seconds(&self) -> Result<f64> {
        self.backend.as_ref().context("the backend runs")?.cpu_seconds()
    }

    /// This binary as a tool in a room.
    pub fn tool(&self, room: Room, cpus: &str, args: &[&str]) -> Result<Command> {
        let mut command = self.command(room, cpus, this_program());
        command.args(["bench", "tool"]).args(args);
        Ok(command)
    }

    fn name(&self, room: Room) -> String {
        name(&self.tag, room)
    }

    fn build(&self) -> Result<()> {
        for room in ROOMS {
            ip(&["netns", "add", &self.name(room)])?;
            self.inside(room, &["ip", "link", "set", "lo", "up"])?;
        }
        self.pair(Room::Client, ("eth0", "front"), "10.77.1.100/24", &PROXY_ADDRESSES)?;
        self.pair(Room::Backend, ("eth0", "back"), "10.77.2.100/24", &["10.77.2.1/24"])?;
        self.pair(Room::Client, ("eth1", "plain-front"), "10.77.3.100/24", &["10.77.3.1/24"])?;
        self.pair(Room::Backend, ("eth1", "plain-back"), "10.77.4.100/24", &["10.77.4.1/24"])?;
        self.inside(Room::Client, &["ip", "route", "add", "10.77.4.0/24", "via", "10.77.3.1"])?;
        self.inside(Room::Backend, &["ip", "route", "add", "10.77.3.0/24", "via", "10.77.4.1"])?;
        self.inside(Room::Client, &["ip", "route", "add", "default", "via", "10.77.1.1"])?;
        self.inside(Room::Backend, &["ip", "route", "add", "default", "via", "10.77.2.1"])?;
        // All addresses of this network are pods of the backend's.
        self.inside(Room::Backend, &["ip", "route", "add", "local", pods::NETWORK, "dev", "lo"])?;
        self.inside(Room::Proxy, &["ip", "route", "add", pods::NETWORK, "via", BACKEND])?;
        // Ports for 10,000 connections and for a connection for each request; forwarding for `direct`.
        for room in ROOMS {
            self.inside(room, &["sysctl", "-qw", "net.ipv4.ip_local_port_range=10240 65535"])?;
            self.inside(room, &["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"])?;
            self.inside(room, &["sysctl", "-qw", &format!("net.ipv4.tcp_congestion_control={CONGESTION_CONTROL}")])?;
        }
        // Not those that Sluice reaches endpoints by.
        self.inside(Room::Proxy, &["sysctl", "-qw", "net.ipv4.ip_local_port_range=30000 65535"])?;
        self.inside(Room::Proxy, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        let hosts = hosts_file(&self.name(Room::Client));
        let text = "10.77.1.1 sluice.bench\n10.77.1.2 nginx.bench\n10.77.1.3 haproxy.bench\n10.77.1.4 hyper.bench\n10.77.4.100 direct.bench\n10.77.1.1 passthrough.sluice.bench\n";
        std::fs::create_dir_all(hosts.parent().expect("the file lies in a directory"))?;
        std::fs::write(&hosts, text).with_context(|| format!("cannot write {}", hosts.display()))
    }

    /// A veth pair between a room and the proxy's.
    fn pair(&self, room: Room, names: (&str, &str), address: &str, proxy_addresses: &[&str]) -> Result<()> {
        let (here, proxy) = (self.name(room), self.name(Room::Proxy));
        let (near, far) = names;
        ip(&["link", "add", near, "netns", &here, "type", "veth", "peer", "name", far, "netns", &proxy])?;
        self.inside(room, &["ip", "address", "add", address, "dev", near])?;
        self.inside(room, &["ip", "link", "set", near, "up"])?;
        for address in proxy_addresses {
            self.inside(Room::Proxy, &["ip", "address", "add", address, "dev", far])?;
        }
        self.inside(Room::Proxy, &["ip", "link", "set", far, "up"])
    }

    fn inside(&self, room: Room, words: &[&str]) -> Result<()> {
        let name = self.name(room);
        let mut all = vec!["netns", "exec", &name];
        all.extend(words);
        ip(&all)
    }

    fn start_backend(&self) -> Result<Process> {
        let dir = self.dir.join("backend");
        let bodies = dir.join("files/body");
        std::fs::create_dir_all(&bodies)?;
        for (name, bytes) in [("1k", 1 << 10), ("100k", 100 << 10), ("10m", 10 << 20)] {
            std::fs::write(bodies.join(name), vec![b'x'; bytes])?;
        }
        certificate(&dir, "backend.bench")?;
        let text = include_str!("backend.conf").replace("@DIR@", &path_text(&dir)?).replace("@ADDRESS@", BACKEND);
        let text = text.replace("@PLAIN@", BACKEND_PLAIN);
        let file = dir.join("nginx.conf");
        std::fs::write(&file, text)?;
        let mut command = self.command(Room::Backend, CLIENT_CPUS, "nginx");
        command.arg("-c").arg(&file).arg("-p").arg(&dir);
        let mut process = Process::start("backend", command, &self.dir.join("backend.log"))?;
        wait_for_port(self, &mut process, BACKEND, 8000)?;
        Ok(process)
    }
}

/// See [`Lab::spread`].
pub struct Spread<'a>(&'a Process);

impl Drop for Spread<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.move_to(CLIENT_CPUS) {
            eprintln!("  the backend keeps a core of its own: {error:#}");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.backend = None;
        // Closing the pipe is the sign to clean up.
        drop(self.guard.stdin.take());
        if !self.guard.wait().is_ok_and(|status| status.success()) {
            eprintln!("the laboratory {} was not removed whole: see `ip netns`", self.tag);
        }
    }
}

/// The guard: waits until the bench is gone, then removes what it made. Every step is tried even when one fails.
pub fn guard(tag: &str, dir: &Path) -> Result<()> {
    // An error of the pipe means its end as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let mut faults = Vec::new();
    for room in ROOMS {
        let name = name(tag, room);
        if Path::new("/run/netns").join(&name).exists() {
            faults.extend(end_processes(&name).err());
            faults.extend(ip(&["netns", "delete", &name]).err());
        }
        let hosts = hosts_file(&name);
        if hosts.exists() {
            faults.extend(
                std::fs::remove_dir_all(hosts.parent().expect("a file lies in a directory")).err().map(Into::into),
            );
        }
    }
    faults.extend(quota::remove(tag).err());
    faults.extend(std::fs::remove_dir_all(dir).err().map(Into::into));
    ensure!(faults.is_empty(), "cannot clean up: {faults:?}");
    Ok(())
}

/// Ends what runs in a namespace of ours, each by its pid: nothing of anybody else can be there.
fn end_processes(name: &str) -> Result<()> {
    let output = Command::new("ip").args(["netns", "pids", name]).output()?;
    for pid in String::from_utf8(output.stdout)?.split_whitespace() {
        // It may have ended by itself.
        Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status()?;
    }
    Ok(())
}

fn name(tag: &str, room: Room) -> String {
    format!("{tag}-{}", format!("{room:?}").to_lowercase())
}

/// `ip netns exec` lays this file over `/etc/hosts`.
fn hosts_file(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name).join("hosts")
}

/// A path as text for a configuration file.
pub fn path_text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("the temporary directory's name is not UTF-8")?.to_owned())
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("cannot start ip")?;
    let fault = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), fault.trim());
    Ok(())
}
