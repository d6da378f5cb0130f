//! The network of the demo: five namespaces, the processes in them, and the janitor that removes it all.
//!
//! ```text
//! client 198.18.0.2 ── 198.18.0.1 balancer 198.18.N.1 ── 198.18.N.2 backend N (1, 2, 3)
//! ```
//!
//! The addresses are of the range for benchmarks (RFC 2544), which no real network uses. Removing is done by a shell
//! that waits for the end of its input, which we hold: however this program ends, also by Ctrl-C or SIGKILL, its end
//! of the pipe closes, and the shell stops the processes and removes namespaces, pins and files.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// IPv4 address of the load balancer.
pub const ADDRESS: &str = "198.18.0.1";

/// IPv6 address of the load balancer.
pub const ADDRESS_V6: &str = "fd5c:1ce::1";

/// How the host reaches the load balancer with `--keep`.
pub const HOST_ROUTE: &str = "a route to 198.18.0.0/24 leads into the client's namespace";

/// Name of the host's end of the veth pair with `--keep`.
const HOST_LINK: &str = "sluice-demo";

/// Where the demo pins its maps and links.
const PINS: &str = "/sys/fs/bpf/sluice-demo";

/// Namespaces, all of the demo's own.
const CLIENT: &str = "sluice-demo-client";
const BALANCER: &str = "sluice-demo-balancer";
const BACKENDS: [&str; 3] = ["sluice-demo-backend-1", "sluice-demo-backend-2", "sluice-demo-backend-3"];

/// The echo servers of each backend namespace: service, pod, port. `deploy/examples/*.endpoints.yaml` names the same.
const PODS: [&[(&str, &str, u16)]; 3] = [
    &[("nginx", "nginx-1", 8055), ("web", "web-1", 8080)],
    &[("nginx", "nginx-2", 8055), ("web", "web-2", 8080), ("fallback", "fallback-1", 8082)],
    &[("nginx", "nginx-3", 8055), ("web", "web-3", 8080), ("api", "api-1", 8081)],
];

/// Lines of the agent's log that are shown when something went wrong.
const LOG_LINES_SHOWN: usize = 30;

/// Waits until its input ends, then removes everything. $1 directory, $2 pins, $3 sluice, the rest namespaces.
const JANITOR: &str = r#"
trap '' INT TERM HUP
cat > /dev/null
directory=$1 pins=$2 sluice=$3
shift 3
pids() { for ns in "$@"; do ip netns pids "$ns" 2> /dev/null; done; }
for pid in $(pids "$@"); do kill "$pid" 2> /dev/null; done
for _ in $(seq 50); do [ -z "$(pids "$@")" ] && break; sleep 0.1; done
for pid in $(pids "$@"); do kill -KILL "$pid" 2> /dev/null; done
[ -d "$pins" ] && "$sluice" unpin --pin-dir "$pins" > /dev/null
for ns in "$@"; do ip netns del "$ns" 2> /dev/null; done
rm -rf -- "$directory"
"#;

/// The network and what runs in it. When dropped, everything is gone.
pub struct Network {
    directory: PathBuf,
    binaries: PathBuf,
    janitor: Child,
    agent: Option<Child>,
}

impl Network {
    /// Makes namespaces and links.
    pub fn new(binaries: &Path) -> Result<Self> {
        for name in all_namespaces() {
            let path = Path::new("/run/netns").join(name);
            ensure!(
                !path.exists(),
                "a demo is running already, or left {name} behind: stop it, or `ip netns del {name}`"
            );
        }
        let directory = std::env::temp_dir().join(format!("sluice-demo-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("manifests"))?;
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&directory)
            .args([Path::new(PINS), &binaries.join("sluice")])
            .args(all_namespaces())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C goes to the group of the terminal; the janitor must outlive it.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        let network = Self { directory, binaries: binaries.to_owned(), janitor, agent: None };
        network.build()?;
        Ok(network)
    }

    /// Where everything of this demo lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory that the agent serves.
    pub fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// The certificate of the host `secure.example`.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    /// The program `sluice`.
    pub fn sluice(&self) -> PathBuf {
        self.binaries.join("sluice")
    }

    /// The directory of the agent's control socket.
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// A command that will run in the client's namespace.
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        inside(CLIENT, program)
    }

    /// A command that will run in the load balancer's namespace.
    pub fn balancer(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        inside(BALANCER, program)
    }

    /// Starts the echo servers, one process in each backend namespace.
    pub fn start_backends(&self) -> Result<()> {
        for (index, (namespace, pods)) in BACKENDS.iter().zip(PODS).enumerate() {
            let mut command = inside(namespace, self.binaries.join("sluice-echo"));
            for (number, (service, pod, port)) in pods.iter().enumerate() {
                if number > 0 {
                    command.arg("--");
                }
                command.arg(format!("198.18.{}.2:{port}", index + 1));
                command.args([format!("service={service}"), format!("pod={pod}"), "namespace=default".to_owned()]);
            }
            command.stdin(Stdio::null()).stdout(self.log("echo.log")?).stderr(self.log("echo.log")?).process_group(0);
            command.spawn().context("cannot start sluice-echo")?;
        }
        Ok(())
    }

    /// Starts the agent. It must steer and carry by the kernel, or not start at all.
    pub fn start_agent(&mut self) -> Result<()> {
        let mut command = self.balancer(self.sluice());
        command.args(["run", "--steering=required", "--splice=required", "--access-log=json", "--pin-dir", PINS]);
        command.arg("--directory").arg(self.manifests()).arg("--run-dir").arg(self.run_dir());
        command.stdin(Stdio::null()).stdout(self.log("access.log")?).stderr(self.log("agent.log")?).process_group(0);
        self.agent = Some(command.spawn().context("cannot start sluice")?);
        Ok(())
    }

    /// How the agent ended, if it did.
    pub fn agent_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.agent.as_mut().context("the agent was not started")?.try_wait()?)
    }

    /// Processor time of the agent so far, in ticks: fields 14 and 15, see proc_pid_stat(5).
    pub fn agent_cpu_ticks(&self) -> Result<u64> {
        let agent = self.agent.as_ref().context("the agent was not started")?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.id()))?;
        let (_, rest) = stat.rsplit_once(')').context("no command")?;
        let mut fields = rest.split_whitespace().skip(11);
        let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).context("no processor time");
        Ok(next()? + next()?)
    }

    /// Waits until the agent ends.
    pub fn wait_for_the_agent(&mut self) -> Result<ExitStatus> {
        Ok(self.agent.as_mut().context("the agent was not started")?.wait()?)
    }

    /// The last lines that the agent logged.
    pub fn agent_log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("--- the end of the agent's log ---\n{}", tail.join("\n"))
    }

    /// TCP sockets of the load balancer's namespace that listen on port 80.
    pub fn sockets_on_port_80(&self) -> Result<usize> {
        let agent = self.agent.as_ref().context("the agent was not started")?;
        let mut bound = 0;
        for name in ["tcp", "tcp6"] {
            // nsenter replaces itself by the agent, so this is the agent's process, and its namespace.
            let path = format!("/proc/{}/net/{name}", agent.id());
            let table = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            // Columns: number, local address:port in hexadecimal, remote, state; 0A is LISTEN.
            let on_80 = |line: &&str| {
                let mut columns = line.split_whitespace().skip(1);
                let (local, state) = (columns.next().unwrap_or_default(), columns.nth(1).unwrap_or_default());
                local.ends_with(":0050") && state == "0A"
            };
            bound += table.lines().skip(1).filter(on_80).count();
        }
        Ok(bound)
    }

    /// Gives the host a way into the client's namespace.
    pub fn admit_the_host(&self) -> Result<()> {
        ip(&format!("link add name {HOST_LINK} type veth peer name host netns {CLIENT}"))?;
        for command in ["address add 198.18.9.1/24 dev sluice-demo", "link set dev sluice-demo up"] {
            ip(command)?;
        }
        ip(&format!("-n {CLIENT} address add 198.18.9.2/24 dev host"))?;
        ip(&format!("-n {CLIENT} link set dev host up"))?;
        output(self.client("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))?;
        ip("route add 198.18.0.0/24 via 198.18.9.2")
    }

    fn build(&self) -> Result<()> {
        for name in all_namespaces() {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set dev lo up"))?;
        }
        join((CLIENT, "eth0", "198.18.0.2/24"), (BALANCER, "clients", "198.18.0.1/24"))?;
        for (namespace, interface, address) in
            [(CLIENT, "eth0", "fd5c:1ce::2/64"), (BALANCER, "clients", "fd5c:1ce::1/64")]
        {
            ip(&format!("-n {namespace} address add {address} dev {interface} nodad"))?;
        }
        // Back to the host, with --keep.
        ip(&format!("-n {BALANCER} route add 198.18.9.0/24 via 198.18.0.2"))?;
        for (number, namespace) in (1..).zip(BACKENDS) {
            let (balancer, backend) = (format!("198.18.{number}.1/24"), format!("198.18.{number}.2/24"));
            join((BALANCER, &format!("backend{number}"), &balancer), (namespace, "eth0", &backend))?;
        }
        Ok(())
    }

    fn log(&self, name: &str) -> Result<File> {
        Ok(File::options().create(true).append(true).open(self.directory.join(name))?)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        if let Err(error) = self.janitor.wait() {
            eprintln!("the shell that cleans up could not be waited for: {error}");
        }
    }
}

/// Runs a command and answers its standard output; its standard error becomes the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn all_namespaces() -> impl Iterator<Item = &'static str> {
    [CLIENT, BALANCER].into_iter().chain(BACKENDS)
}

/// `ip netns exec` would mount another /sys, where a bpffs is seen by nobody else; `nsenter` changes the network only.
fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// A veth pair between two namespaces: name, interface, address of each end.
fn join(left: (&str, &str, &str), right: (&str, &str, &str)) -> Result<()> {
    let ((a, a_link, _), (b, b_link, _)) = (left, right);
    ip(&format!("link add name {a_link} netns {a} type veth peer name {b_link} netns {b}"))?;
    for (namespace, interface, address) in [left, right] {
        ip(&format!("-n {namespace} address add {address} dev {interface}"))?;
        ip(&format!("-n {namespace} link set dev {interface} up"))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    output(Command::new("ip").args(arguments.split(' '))).map(|_| ()).context("is this run as root?")
}
