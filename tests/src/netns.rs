//! One network namespace: made by `ip netns add`, entered by threads and processes, removed when dropped.
//!
//! Goes in: a label. Comes out: a [`Namespace`] whose loopback is up. Processes are started by `nsenter --net`, not by
//! `ip netns exec`: the latter mounts another /sys, and a bpffs mounted there would be seen by nobody else.

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where `ip netns` keeps its namespaces.
const DIRECTORY: &str = "/run/netns";

/// What our names begin with; the process id follows, so that leftovers of killed runs can be told.
const PREFIX: &str = "slt-";

/// How long a connect inside a namespace may take: every peer is one hop away.
const CONNECT_MAX: Duration = Duration::from_secs(5);

static COUNTER: AtomicUsize = AtomicUsize::new(0);
static SWEEP: Once = Once::new();

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes a namespace with its loopback up. Removes what a killed run left behind first, once a process.
    ///
    /// # Errors
    /// When `ip netns add` fails: usually for lack of CAP_SYS_ADMIN.
    pub fn new(label: &str) -> Result<Self> {
        SWEEP.call_once(sweep);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]), "")?;
        let file = File::open(Path::new(DIRECTORY).join(&name)).with_context(|| format!("cannot open netns {name}"))?;
        let namespace = Self { name, file };
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// The name, as `ip netns list` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `ip` commands in the namespace, one a line.
    ///
    /// # Errors
    /// The message of `ip`, with the commands.
    pub fn ip(&self, commands: &str) -> Result<()> {
        run(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), commands)
    }

    /// Runs a closure on a thread inside the namespace and waits for it. Sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves the calling thread into the namespace, for as long as the thread lives.
    pub fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("a privileged thread may enter a namespace of ours");
    }

    /// A command that will run in the namespace and share every mount with us.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Connects from inside the namespace; the stream can then be used by any thread.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.run(|| TcpStream::connect_timeout(&address, CONNECT_MAX))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sets a sysctl below `/proc/sys/net`, as in `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| std::fs::write(&path, value)).with_context(|| format!("cannot set {path}"))
    }

    /// Local addresses of TCP sockets that listen in the namespace, both families, as the kernel lists them.
    ///
    /// # Errors
    /// When `/proc` does not have the lists.
    pub fn listening_ports(&self) -> Result<Vec<u16>> {
        let read = |name: &str| self.run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")));
        let mut ports = Vec::new();
        for name in ["tcp", "tcp6"] {
            ports.extend(read(name)?.lines().skip(1).filter_map(listening_port));
        }
        Ok(ports)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("ip").args(["netns", "del", &self.name]), "") {
            eprintln!("could not remove network namespace {}: {error:#}", self.name);
        }
    }
}

/// Joins two namespaces by a veth pair that is up on both sides, with the given addresses (`10.1.0.1/24`).
///
/// # Errors
/// The message of `ip`.
pub fn join(left: (&Namespace, &str, &[&str]), right: (&Namespace, &str, &[&str])) -> Result<()> {
    let (a, a_name, _) = left;
    let (b, b_name, _) = right;
    let pair =
        ["link", "add", "name", a_name, "netns", a.name(), "type", "veth", "peer", "name", b_name, "netns", b.name()];
    run(Command::new("ip").args(pair), "")?;
    for (namespace, interface, addresses) in [left, right] {
        // nodad: an IPv6 address is usable at once, not after a second of duplicate address detection.
        let address = |a: &&str| {
            let nodad = if a.contains(':') { " nodad" } else { "" };
            format!("address add {a} dev {interface}{nodad}\n")
        };
        let commands: String = addresses.iter().map(address).collect();
        namespace.ip(&format!("link set dev {interface} up\n{commands}"))?;
    }
    Ok(())
}

/// The port of a line of `/proc/net/tcp` whose state is LISTEN (0A).
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    if state != "0A" {
        return None;
    }
    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
}

/// Removes namespaces of test processes that no longer exist.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(pid) = pid
            && !Path::new("/proc").join(pid).exists()
            && let Err(error) = run(Command::new("ip").args(["netns", "del", &name]), "")
        {
            eprintln!("could not remove the leftover network namespace {name}: {error:#}");
        }
    }
}

fn run(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|e| anyhow::anyhow!("cannot run {command:?}: {e}"))?;
    let Some(mut stdin) = child.stdin.take() else { bail!("{command:?} has no standard input") };
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    let mut message = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        io::Read::read_to_string(&mut stderr, &mut message)?;
    }
    ensure!(status.success(), "{command:?} failed: {}\n{input}", message.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn sockets_live_in_their_namespace_and_vanish_with_it() {
        let name = {
            let one = Namespace::new("one").expect("namespace");
            let two = Namespace::new("two").expect("namespace");
            join((&one, "a", &["10.9.0.1/24", "fd09::1/64"]), (&two, "b", &["10.9.0.2/24", "fd09::2/64"]))
                .expect("veth");
            for host in ["10.9.0.2", "fd09::2"] {
                let address = SocketAddr::new(host.parse().expect("address"), 0);
                let listener = two.run(|| TcpListener::bind(address)).expect("bind");
                let address = listener.local_addr().expect("address");
                assert!(two.listening_ports().expect("ports").contains(&address.port()));
                assert!(!one.listening_ports().expect("ports").contains(&address.port()));
                one.connect(address).expect("one reaches two");
            }
            one.name().to_owned()
        };
        assert!(!Path::new(DIRECTORY).join(name).exists());
    }
}
