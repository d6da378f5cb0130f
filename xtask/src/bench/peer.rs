//! The contenders: Sluice, nginx, HAProxy, a bare proxy on hyper, and the bare way to the backend.
//!
//! Goes in: which one, how many workers, how many routes. Comes out: a running [`Peer`] that answers for its name.
//! Does not do: load. The configurations are `nginx.conf` and `haproxy.cfg` beside this file, and [`manifest`].

use super::Bench;
use super::change::PATH;
use super::lab::{BACKEND, BACKEND_PLAIN, CLIENT_CPUS, PROXY_INTERFACES, Room, path_text};
use super::load::{Wrk, wrk};
use super::manifest;
use super::process::{Process, await_ready, wait_for_port};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Client to backend, routed by the kernel through the proxy's namespace.
    Direct,
    /// nginx with `nginx.conf`.
    Nginx,
    /// HAProxy with `haproxy.cfg`.
    Haproxy,
    /// `sluice-hyper-proxy` of the crate `tests`: what hyper alone costs.
    Hyper,
    /// Ours.
    Sluice,
}

/// How a contender is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Worker processes or threads.
    pub workers: u32,
    /// Routes, each a host of its own; the first is the one that is asked for.
    pub routes: usize,
    /// Part of a core that each worker may use; nothing is no limit. See [`super::quota`].
    pub share: Option<f64>,
    /// Sluice may hand connections to the kernel, as their owners allow it. No proxy is in their way then, so client and
    /// backend have a core each ([`super::lab::Lab::spread`]), and the proxies run on either.
    pub carried: bool,
}

/// One worker and one route.
pub const PLAIN: Setup = Setup { workers: 1, routes: 1, share: None, carried: false };

/// One worker and one route, where the kernel carries connections.
pub const CARRIED: Setup = Setup { carried: true, ..PLAIN };

/// The host whose TLS Sluice passes through; of the others a port does it.
pub const PASSTHROUGH_HOST: &str = "passthrough.sluice.bench";

/// The host of the WebSockets, at every contender.
pub const WEBSOCKET_HOST: &str = "websocket.bench";

/// Where Sluice tells whether it is ready.
pub const ADMIN: &str = "10.77.1.1:9900";

/// A contender that runs.
pub struct Peer {
    /// Which.
    pub kind: Kind,
    process: Option<Process>,
    dir: PathBuf,
}

impl Kind {
    /// Its name in tables and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Hyper => "hyper",
            Self::Sluice => "sluice",
        }
    }

    /// Its host name, in the client's hosts file and the certificate.
    pub fn host(self) -> &'static str {
        match self {
            Self::Direct => "direct.bench",
            Self::Nginx => "nginx.bench",
            Self::Haproxy => "haproxy.bench",
            Self::Hyper => "hyper.bench",
            Self::Sluice => "sluice.bench",
        }
    }

    /// Its address.
    pub fn address(self) -> &'static str {
        match self {
            Self::Direct => BACKEND_PLAIN,
            Self::Nginx => "10.77.1.2",
            Self::Haproxy => "10.77.1.3",
            Self::Hyper => "10.77.1.4",
            Self::Sluice => "10.77.1.1",
        }
    }

    /// Its port for plain HTTP.
    pub fn port(self) -> u16 {
        if self == Self::Direct { 8000 } else { 80 }
    }

    /// Address and port for plain HTTP.
    pub fn target(self) -> String {
        format!("{}:{}", self.address(), self.port())
    }
}

impl Peer {
    /// Prepares its files, starts it, and waits until it serves.
    pub fn start(bench: &Bench, kind: Kind, setup: Setup) -> Result<Self> {
        let mut peer = Self::start_unready(bench, kind, setup)?;
        peer.wait(bench)?;
        Ok(peer)
    }

    /// Prepares its files and starts it.
    pub fn start_unready(bench: &Bench, kind: Kind, setup: Setup) -> Result<Self> {
        let dir = Self::prepare(bench, kind, setup)?;
        Self::start_prepared(bench, kind, setup, dir)
    }

    /// Writes its files to a new directory.
    pub fn prepare(bench: &Bench, kind: Kind, setup: Setup) -> Result<PathBuf> {
        let dir = bench.lab.dir().join(kind.name());
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        match kind {
            Kind::Direct => {}
            Kind::Nginx => {
                certificate(&dir, kind.host())?;
                let routes = manifest::nginx_servers(kind.address(), setup.routes);
                std::fs::write(dir.join("routes.conf"), routes)?;
                std::fs::write(dir.join("changed.conf"), manifest::changed_server(kind.address(), PATH))?;
                let include = format!("include {0}/routes.conf;\n    include {0}/changed.conf;", path_text(&dir)?);
                fill(&dir, "nginx.conf", &include_str!("nginx.conf").replace("@SERVERS@", &include), kind, setup)?;
            }
            Kind::Haproxy => {
                let (crt, key) = certificate(&dir, kind.host())?;
                std::fs::write(dir.join("tls.pem"), [crt, key].concat())?;
                fill(&dir, "haproxy.cfg", include_str!("haproxy.cfg"), kind, setup)?;
            }
            Kind::Hyper => {
                certificate(&dir, kind.host())?;
            }
            Kind::Sluice => {
                let (crt, key) = certificate(&dir, kind.host())?;
                manifest::write(&dir.join("manifests"), setup, &crt, &key)?;
            }
        }
        Ok(dir)
    }

    /// Starts it on files that [`Self::prepare`] wrote.
    pub fn start_prepared(bench: &Bench, kind: Kind, setup: Setup, dir: PathBuf) -> Result<Self> {
        let cpus = proxy_cpus(setup);
        bench.lab.limit(setup.share.map(|share| share * f64::from(setup.workers)))?;
        let at = |program: &Path| bench.lab.proxy_command(cpus, program);
        let command = match kind {
            Kind::Direct => return Ok(Self { kind, process: None, dir }),
            Kind::Nginx => {
                let mut command = at(Path::new("nginx"));
                command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(&dir);
                command
            }
            Kind::Haproxy => {
                let mut command = at(Path::new("haproxy"));
                command.arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
                command
            }
            Kind::Hyper => {
                let mut command = at(bench.hyper.as_deref().context("hyper is not measured in this run")?);
                command.args([80, 443].map(|port| format!("{}:{port}", kind.address())));
                command.arg(format!("{BACKEND}:8000")).arg(dir.join("tls.crt")).arg(dir.join("tls.key"));
                command
            }
            Kind::Sluice => {
                let mut command = at(bench.sluice.as_deref().context("Sluice is not measured in this run")?);
                sluice_arguments(&mut command, &dir, setup);
                command
            }
        };
        let process = Process::start(kind.name(), command, &bench.lab.dir().join(format!("{}.log", kind.name())))?;
        Ok(Self { kind, process: Some(process), dir })
    }

    /// Waits until it serves.
    pub fn wait(&mut self, bench: &Bench) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if self.kind == Kind::Sluice {
            await_ready(&bench.lab, process, ADMIN, "/readyz")?;
        }
        wait_for_port(&bench.lab, process, self.kind.address(), 80)
    }

    /// A URL by which TLS passes through to the backend.
    pub fn passthrough_url(&self, path: &str) -> String {
        match self.kind {
            Kind::Sluice => format!("https://{PASSTHROUGH_HOST}{path}"),
            kind => format!("https://{}:8443{path}", kind.host()),
        }
    }

    /// A URL of it. `direct` has no TLS.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        match self.kind {
            Kind::Direct => format!("http://{}:8000{path}", self.kind.host()),
            kind => format!("{scheme}://{}{path}", kind.host()),
        }
    }

    /// Its process; `direct` has none.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Directory of its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fills its upstream pool and caches, and shows that it answers with success.
    pub fn warm_up(&self, bench: &Bench, scheme: &str) -> Result<()> {
        let url = self.url(scheme, "/");
        wrk(&bench.lab, &Wrk { url: &url, connections: 32, close: false, seconds: 1, cpus: CLIENT_CPUS })?;
        Ok(())
    }

    /// Shows that it answers with 200 and a body of this size.
    pub fn ensure_body(&self, bench: &Bench, path: &str, bytes: u64) -> Result<()> {
        let args = ["fetch", &self.kind.target(), self.kind.host(), path, &bytes.to_string()];
        let output = bench.lab.tool(Room::Client, CLIENT_CPUS, &args)?.output()?;
        let fault = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} to GET {path}: {}", self.kind.name(), fault.trim());
        Ok(())
    }

    /// An error when it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::ensure_running)
    }
}

/// One worker has a core of its own beside client and backend; two workers, or one where the kernel carries connections,
/// share both cores with them.
fn proxy_cpus(setup: Setup) -> &'static str {
    if setup.workers == 1 && !setup.carried { "1" } else { "0-1" }
}

/// Where Sluice serves, whatever its configuration comes from.
pub fn sluice_listeners(command: &mut Command) {
    let address = Kind::Sluice.address();
    command.args(["--http", &format!("{address}:80"), "--https", &format!("{address}:443"), "--admin", ADMIN]);
    command.args(["--steering", "auto", "--access-log", "off", "--splice-interfaces", PROXY_INTERFACES]);
    // Mounted by the agent in the mount namespace that `ip netns exec` gives it, so nothing stays behind.
    command.arg("--pin-dir").arg("/sys/fs/bpf/sluice-bench");
}

fn sluice_arguments(command: &mut Command, dir: &Path, setup: Setup) {
    command.arg("run").arg("--directory").arg(dir.join("manifests"));
    sluice_listeners(command);
    command.args(["--workers", &setup.workers.to_string()]);
    command.arg("--run-dir").arg(dir.join("run"));
    command.args(["--splice", if setup.carried { "required" } else { "auto" }]);
}

/// Writes a template with its words filled in.
fn fill(dir: &Path, name: &str, template: &str, kind: Kind, setup: Setup) -> Result<()> {
    let text = template
        .replace("@WORKERS@", &setup.workers.to_string())
        .replace("@ADDRESS@", kind.address())
        .replace("@BACKEND@", BACKEND)
        .replace("@DIR@", &path_text(dir)?);
    std::fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))
}

/// A self-signed ECDSA P-256 certificate for a host, as PEM, also in `tls.crt` and `tls.key`.
pub fn certificate(dir: &Path, host: &str) -> Result<(String, String)> {
    let (crt, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={host}"), "-addext", &format!("subjectAltName=DNS:{host}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&crt)
        .output()
        .context("cannot start openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok((std::fs::read_to_string(crt)?, std::fs::read_to_string(key)?))
}
