//! The agent under test: `sluice run` in a namespace with directories of its own, and its other commands.
//!
//! Goes in: a [`Setup`]. Comes out: a running [`Agent`] that is ready. When dropped it is ended and its pins are
//! removed; when the test panics, the end of its log is shown.

use crate::client::{Connection, Response};
use crate::lab::Lab;
use crate::netns::Namespace;
use crate::scratch::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long the agent may take to be ready, and to end: a debug build that verifies eBPF programs on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(40);

/// Time between two looks at something that will happen soon.
const POLL: Duration = Duration::from_millis(10);

/// Variable that names the agent's directory to what it is started under; its run directory is `run` therein.
pub const SCRATCH: &str = "SLUICE_TEST_SCRATCH";

/// Lines of the agent's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// The admin address, the default of the agent, inside its namespace.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9180);

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// How to start the agent.
#[derive(Debug, Clone)]
pub struct Setup {
    steering: &'static str,
    arguments: Vec<String>,
    workers: usize,
    /// Watches a cluster: instead of manifests there is a kubeconfig.
    cluster: bool,
    /// Words before the agent's own: a program that runs it otherwise.
    under: Vec<String>,
    pin_dir: PathBuf,
    /// The pins are another agent's, which removes them.
    pins_shared: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let pin_dir = format!("/sys/fs/bpf/sluice-test-{}-{number}", std::process::id());
        let (steering, arguments, pin_dir) = ("required", Vec::new(), pin_dir.into());
        Self { steering, arguments, workers: 2, under: Vec::new(), cluster: false, pin_dir, pins_shared: false }
    }
}

impl Setup {
    /// `--steering`; tests use `required` unless they are about something else.
    #[must_use]
    pub fn steering(mut self, mode: &'static str) -> Self {
        self.steering = mode;
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// `--workers`; 2 unless a test needs one pool of connections.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Watches a cluster. What is started is given a kubeconfig instead of manifests.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// Without any capability.
    #[must_use]
    pub fn unprivileged(self) -> Self {
        self.under(&["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"])
    }

    /// Started by another program, which is given these words, then the agent's own, and becomes it. It finds the agent's
    /// directory in the variable [`SCRATCH`].
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(ToString::to_string).collect();
        self
    }

    /// With the pins of another agent.
    #[must_use]
    pub fn pins_of(mut self, other: &Agent) -> Self {
        other.pin_dir().clone_into(&mut self.pin_dir);
        self.pins_shared = true;
        self
    }

    /// Starts the agent in the lab's balancer and waits until it is ready.
    ///
    /// Panics, with its log, when it is not ready in time.
    #[must_use]
    pub fn start(&self, lab: &Lab, manifests: &Path) -> Agent {
        let mut agent = self.spawn(lab, manifests);
        agent.wait_ready(&lab.balancer);
        agent
    }

    /// Starts the agent and does not wait.
    #[must_use]
    pub fn spawn(&self, lab: &Lab, manifests: &Path) -> Agent {
        self.spawn_in(lab, manifests, Scratch::new())
    }

    fn spawn_in(&self, lab: &Lab, manifests: &Path, scratch: Scratch) -> Agent {
        let sluice = binary("sluice");
        let mut command = match self.under.split_first() {
            Some((program, arguments)) => {
                let mut command = lab.balancer.command(program);
                command.args(arguments).arg(&sluice);
                command
            }
            None => lab.balancer.command(&sluice),
        };
        command.env(SCRATCH, scratch.path());
        command.arg("run").args(if self.cluster { &["--cluster", "--kubeconfig"][..] } else { &["--directory"] });
        command.arg(manifests).arg("--steering").arg(self.steering);
        command.arg("--run-dir").arg(scratch.path().join("run")).arg("--pin-dir").arg(&self.pin_dir);
        command.arg("--workers").arg(self.workers.to_string()).args(&self.arguments);
        let log = |name| {
            File::options().create(true).append(true).open(scratch.path().join(name)).expect("a log can be written")
        };
        command.stdin(Stdio::null()).stdout(log("access.log")).stderr(log("agent.log"));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Agent { child: Some(child), setup: self.clone(), scratch: Some(scratch) }
    }
}

/// A running `sluice run`.
#[derive(Debug)]
pub struct Agent {
    child: Option<Child>,
    setup: Setup,
    scratch: Option<Scratch>,
}

impl Agent {
    /// Waits for `/readyz` to answer 200. Panics, with the log, when the agent ends or takes too long.
    pub fn wait_ready(&mut self, balancer: &Namespace) {
        let deadline = Instant::now() + START_MAX;
        while self.admin(balancer, "/readyz").map(|r| r.status) != Some(200) {
            if let Some(status) = self.try_wait() {
                panic!("the agent ended before it was ready: {status}");
            }
            assert!(Instant::now() < deadline, "the agent was not ready after {START_MAX:?}");
            std::thread::sleep(POLL);
        }
    }

    /// The answer of an admin path; `None` while nobody listens there.
    #[must_use]
    pub fn admin(&self, balancer: &Namespace, path: &str) -> Option<Response> {
        Connection::plain(balancer, ADMIN).and_then(|mut c| c.get("localhost", path)).ok()
    }

    /// A metric by its name with labels, as in `sluice_lookup_total{outcome="steered"}`; 0 while it is not there.
    #[must_use]
    pub fn metric(&self, balancer: &Namespace, name: &str) -> f64 {
        let text = self.admin(balancer, "/metrics").expect("the admin listener answers").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next());
        value.map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("metric {name} has the value {value:?}")))
    }

    /// Runs a subcommand of `sluice` that asks this agent.
    #[must_use]
    pub fn sluice(&self, arguments: &[&str]) -> Output {
        let run_dir = self.scratch().path().join("run");
        let mut command = Command::new(binary("sluice"));
        command.args(arguments).arg("--run-dir").arg(run_dir);
        command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    /// What a subcommand prints with `--output json`. Panics when it fails or prints something else.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let output = self.sluice(&all);
        assert!(output.status.success(), "sluice {all:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("sluice {all:?} did not print JSON ({error}): {}", text(&output)))
    }

    /// Version of the Snapshot that serves.
    #[must_use]
    pub fn version(&self) -> u64 {
        let status = self.json(&["status"]);
        status["snapshot"].as_u64().unwrap_or_else(|| panic!("sluice status names no Snapshot: {status}"))
    }

    /// Waits until something is true of what the agent does. Panics with the description, and the log, when it does not
    /// come to be.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + START_MAX;
        while !done(self) {
            assert!(Instant::now() < deadline, "after {START_MAX:?} still not: {what}");
            std::thread::sleep(POLL);
        }
    }

    /// Everything the agent wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch().path().join("agent.log")).unwrap_or_default()
    }

    /// The access log so far.
    #[must_use]
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.scratch().path().join("access.log")).unwrap_or_default()
    }

    /// Memory that its process has in use, bytes (`VmRSS`).
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let child = self.child.as_ref().expect("the agent was not waited for yet");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("the agent runs") * 1024
    }

    /// Where maps and links are pinned.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        &self.setup.pin_dir
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the agent was not waited for yet");
        let pid = i32::try_from(child.id()).expect("process ids fit");
        kill(Pid::from_raw(pid), signal).expect("our own child can be signalled");
    }

    /// Waits for the agent to end. Panics, with the log, when it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + END_MAX;
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent did not end in {END_MAX:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Ends the agent by SIGTERM and asserts that it says success.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "after SIGTERM the agent ended with {status}");
    }

    /// Ends the agent by SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
        self.child = None;
    }

    /// Starts the agent again, after [`kill`](Self::kill), with the same directories. Waits until the new one is ready.
    #[must_use]
    pub fn restart(mut self, lab: &Lab, manifests: &Path) -> Self {
        let scratch = self.scratch.take().expect("only a dropped agent has no scratch directory");
        let mut agent = self.setup.clone().spawn_in(lab, manifests, scratch);
        agent.wait_ready(&lab.balancer);
        agent
    }

    /// Ends the agent by SIGKILL and starts it again with the same directories. Waits until the new one is ready.
    #[must_use]
    pub fn kill_and_restart(mut self, lab: &Lab, manifests: &Path) -> Self {
        self.kill();
        self.restart(lab, manifests)
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the agent runs");
        child.try_wait().expect("our own child can be waited for")
    }

    fn scratch(&self) -> &Scratch {
        self.scratch.as_ref().expect("only a dropped agent has no scratch directory")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let Some(scratch) = self.scratch.take() else { return };
        if let Some(child) = &mut self.child {
            // Both fail only when the agent has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(scratch.path().join("agent.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            eprintln!("--- the end of the agent's log ---\n{tail}\n--- end of log ---");
        }
        if self.setup.pin_dir.exists() && !self.setup.pins_shared {
            let output = Command::new(binary("sluice")).arg("unpin").arg("--pin-dir").arg(&self.setup.pin_dir).output();
            match output {
                Ok(output) if output.status.success() => {}
                other => eprintln!("could not unpin {}: {other:?}", self.setup.pin_dir.display()),
            }
        }
    }
}

/// Standard output and error of a command, for messages.
#[must_use]
pub fn text(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A binary of the workspace, built beside the test that runs.
///
/// Cargo tells a test only about binaries of its own package, and `sluice` is of another one.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is missing: `cargo build --workspace` makes it, `cargo xtask test` all", path.display());
    path
}
