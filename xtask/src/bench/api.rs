//! A Kubernetes API for the scenarios of a cluster: the stand-in of the crate `tests`, run as a program, with its objects.
//!
//! Goes in: a [`Size`]. Comes out: an [`Api`] that Sluice can watch, and a [`Control`] by which tools change objects, over HTTP in
//! the clear. Each Ingress has a host, a Service and an EndpointSlice of its own, with five endpoints that nobody asks.
//! `changed.bench` and `toggled.bench` are those that tools change.

use super::Bench;
use super::client::Client;
use super::lab::{BACKEND, Room, path_text};
use super::peer::{ADMIN, Kind, sluice_listeners};
use super::process::{Process, await_ready};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Host of the Ingress whose path changes.
pub const CHANGED: &str = "changed.bench";

/// Host of the Ingress whose only endpoint comes and goes.
pub const TOGGLED: &str = "toggled.bench";

/// Where the API is, by TLS.
const SECURE: &str = "10.77.2.1:6443";

/// Where tools change objects.
const PLAIN: &str = "10.77.2.1:8001";

/// Endpoints of each Service.
const ENDPOINTS: usize = 5;

/// How many Ingresses there are.
#[derive(Debug, Clone, Copy)]
pub struct Size(usize);

impl Size {
    /// What the goals name: 10,000 Ingresses, 50,000 endpoints.
    pub const LARGE: Self = Self(10_000);
    /// Enough to be there.
    pub const SMALL: Self = Self(10);
}

/// An API server that runs.
pub struct Api {
    _process: Process,
    kubeconfig: PathBuf,
    size: Size,
}

impl Api {
    /// Starts it and waits until it answers.
    pub fn start(bench: &Bench, size: Size) -> Result<Self> {
        let agent = bench.sluice.as_ref().context("Sluice is not measured in this run")?;
        let program = agent.with_file_name("sluice-apiserver");
        ensure!(program.exists(), "{} is missing: `cargo build --release -p lb-tests` makes it", program.display());
        let dir = bench.lab.dir().join("api");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(dir.join("objects"))?;
        std::fs::write(dir.join("objects/all.json"), serde_json::to_vec(&objects(size))?)?;
        let kubeconfig = dir.join("kubeconfig");
        let mut command = bench.lab.command(Room::Proxy, "0-1", program);
        command.args(["--listen", SECURE, "--plain", PLAIN, "--kubeconfig", &path_text(&kubeconfig)?]);
        command.args(["--directory", &path_text(&dir.join("objects"))?]);
        let mut process = Process::start("apiserver", command, &bench.lab.dir().join("apiserver.log"))?;
        await_ready(&bench.lab, &mut process, PLAIN, "/readyz")?;
        Ok(Self { _process: process, kubeconfig, size })
    }

    /// Where tools change objects.
    pub fn plain(&self) -> String {
        PLAIN.to_owned()
    }

    /// The host of the last Ingress that it lists.
    pub fn last_host(&self) -> String {
        host(self.size.0 - 1)
    }

    /// Starts Sluice on it.
    pub fn start_sluice_unready(&self, bench: &Bench) -> Result<Process> {
        let mut command = bench.lab.proxy_command("1", bench.sluice.as_deref().context("Sluice is measured")?);
        command
            .args(["run", "--cluster", "--watch-ingress-without-class", "true", "--kubeconfig"])
            .arg(&self.kubeconfig);
        command.args(["--shutdown-delay-seconds", "0", "--workers", "1"]);
        sluice_listeners(&mut command);
        bench.lab.limit(None)?;
        command.arg("--run-dir").arg(bench.lab.dir().join("api/run"));
        Process::start(Kind::Sluice.name(), command, &bench.lab.dir().join("sluice.log"))
    }

    /// Starts Sluice on it and waits until it is ready.
    pub fn start_sluice(&self, bench: &Bench) -> Result<Process> {
        let mut process = self.start_sluice_unready(bench)?;
        await_ready(&bench.lab, &mut process, ADMIN, "/readyz")?;
        Ok(process)
    }
}

/// Changes objects.
pub struct Control(Client);

impl Control {
    /// Of an API in the clear.
    pub fn new(address: SocketAddr) -> Self {
        Self(Client::new(address))
    }

    /// The Ingress of [`CHANGED`] serves this path and no other.
    pub fn path(&mut self, path: &str) -> Result<()> {
        let spec = ingress_spec(CHANGED, path, "changed");
        self.patch("/apis/networking.k8s.io/v1/namespaces/bench/ingresses/changed", &json!({ "spec": spec }))
    }

    /// A slice has these endpoints.
    pub fn endpoints(&mut self, slice: &str, endpoints: Vec<Value>) -> Result<()> {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices/{slice}");
        self.patch(&path, &json!({ "endpoints": endpoints }))
    }

    /// One of the slices that nobody asks has other endpoints than before.
    pub fn churn(&mut self, number: usize) -> Result<()> {
        let service = number % Size::SMALL.0;
        let endpoints = (0..ENDPOINTS).map(|place| endpoint(&address(number.wrapping_mul(7) % 10_000, place)));
        self.endpoints(&format!("service-{service}-1"), endpoints.collect())
    }

    /// A merge patch (RFC 7386).
    fn patch(&mut self, path: &str, patch: &Value) -> Result<()> {
        let body = patch.to_string();
        let request = format!(
            "PATCH {path} HTTP/1.1\r\nHost: api\r\nContent-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.0.exchange(request.as_bytes())?;
        ensure!(answer.status == 200, "PATCH {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    }
}

/// The endpoint of the laboratory's backend.
pub fn backend_endpoint() -> Value {
    endpoint(BACKEND)
}

fn endpoint(address: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}})
}

fn host(number: usize) -> String {
    format!("host-{number}.bench")
}

/// An address for an endpoint that nobody asks.
fn address(service: usize, place: usize) -> String {
    format!("10.90.{}.{}", service / 40, service % 40 * ENDPOINTS + place + 1)
}

/// Everything, as a List.
fn objects(size: Size) -> Value {
    let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})];
    for number in 0..size.0 {
        // The last one is asked for.
        let is_last = number + 1 == size.0;
        let address = |place| if is_last { BACKEND.to_owned() } else { address(number, place) };
        let endpoints = (0..ENDPOINTS).map(|place| endpoint(&address(place))).collect();
        application(&mut items, &host(number), &format!("service-{number}"), endpoints);
    }
    application(&mut items, CHANGED, "changed", vec![backend_endpoint()]);
    application(&mut items, TOGGLED, "toggled", vec![backend_endpoint()]);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// An Ingress with its Service and its endpoints.
fn application(items: &mut Vec<Value>, host: &str, name: &str, endpoints: Vec<Value>) {
    let metadata = |name: &str| json!({"name": name, "namespace": "bench"});
    items.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata(name), "spec": ingress_spec(host, "/", name)}));
    items.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name),
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8000, "protocol": "TCP"}]}}));
    let slice =
        json!({"name": format!("{name}-1"), "namespace": "bench", "labels": {"kubernetes.io/service-name": name}});
    items.push(
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}], "endpoints": endpoints}),
    );
}

fn ingress_spec(host: &str, path: &str, service: &str) -> Value {
    json!({"rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]})
}
