//! Four kinds of backends that tell which requests they saw: hyper, nginx, HAProxy and Python's `http.server`.
//!
//! Goes in: a lab. Comes out: for each backend the requests that it took for whole, in order, as lines `METHOD TARGET HOST
//! LENGTH DIGEST`; each answer has its line in the field `X-Saw`. nginx and HAProxy have a hyper server behind them that
//! writes the lines: they collect a whole request before they pass it on.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lb_tests::echo::fnv1a;
use lb_tests::lab::{Lab, pod};
use lb_tests::manifest::{ingress, service};
use lb_tests::netns::Namespace;
use lb_tests::scratch::Scratch;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The backends' names.
pub const NAMES: [&str; 4] = ["hyper", "nginx", "haproxy", "python"];

/// Their hosts, of equal length: the lengths that the table states hold for all of them.
const HOSTS: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

/// Port of every backend.
const PORT: u16 = 8080;

/// How long a backend may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Lines that a backend wrote.
type Lines = Arc<Mutex<Vec<String>>>;

/// The running backends.
#[derive(Debug)]
pub struct Witnesses {
    scratch: Scratch,
    /// Of hyper, nginx and HAProxy.
    lines: [Lines; 3],
    children: Vec<Child>,
}

impl Witnesses {
    /// Starts them all, and waits until they listen.
    pub fn start(lab: &Lab) -> Self {
        let scratch = Scratch::new();
        let lines: [Lines; 3] = Default::default();
        let servers = [(20, PORT), (30, PORT), (31, PORT)].map(|(pod_number, port)| pod(pod_number, port));
        let sockets = lab.pods.run(|| servers.map(|address| TcpListener::bind(address).expect("a free address")));
        for (socket, lines) in sockets.into_iter().zip(&lines) {
            let lines = lines.clone();
            std::thread::spawn(move || serve(socket, lines));
        }
        let mut witnesses = Self { scratch, lines, children: Vec::new() };
        witnesses.spawn_all(&lab.pods);
        for name in NAMES {
            let address = address(name);
            let deadline = Instant::now() + START_MAX;
            while lab.balancer.connect(address).is_err() {
                assert!(Instant::now() < deadline, "{name} does not listen: {}", witnesses.log(name));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        witnesses
    }

    /// Manifests that lead to each of them by its host.
    pub fn manifests() -> String {
        let one =
            |name: &str| ingress(name, host(name), &[("Prefix", "/", name, 80)]) + &service(name, 80, &[address(name)]);
        NAMES.map(one).concat()
    }

    /// What a backend saw so far.
    pub fn seen(&self, name: &str) -> Vec<String> {
        match self.lines.get(index(name)) {
            Some(lines) => lines.lock().expect("no panic holds it").clone(),
            None => self.log(name).lines().map(str::to_owned).collect(),
        }
    }

    /// What a backend's process wrote to its standard output.
    pub fn log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.scratch.path().join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn spawn_all(&mut self, pods: &Namespace) {
        let directory = self.scratch.path().display().to_string();
        let nginx = include_str!("nginx.conf")
            .replace("LISTEN", &address("nginx").to_string())
            .replace("BEHIND", &pod(30, PORT).to_string())
            .replace("DIRECTORY", &directory);
        let haproxy = include_str!("haproxy.cfg")
            .replace("LISTEN", &address("haproxy").to_string())
            .replace("BEHIND", &pod(31, PORT).to_string());
        self.scratch.write("nginx.conf", nginx);
        self.scratch.write("haproxy.cfg", haproxy);
        self.scratch.write("witness.py", include_str!("witness.py"));
        let python = address("python");
        let path = |name: &str| format!("{directory}/{name}");
        self.spawn(pods, "nginx", "nginx", &["-c", &path("nginx.conf"), "-p", &directory]);
        self.spawn(pods, "haproxy", "haproxy", &["-db", "-f", &path("haproxy.cfg")]);
        let (ip, port) = (python.ip().to_string(), python.port().to_string());
        self.spawn(pods, "python", "python3", &[&path("witness.py"), &ip, &port]);
    }

    fn spawn(&mut self, pods: &Namespace, name: &str, program: &str, arguments: &[&str]) {
        let log = File::create(self.scratch.path().join(format!("{name}.log"))).expect("a log can be written");
        let errors = File::create(self.scratch.path().join(format!("{name}.errors"))).expect("a log can be written");
        let mut command = pods.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.children.push(child);
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The host of a backend.
pub fn host(name: &str) -> &'static str {
    HOSTS[index(name)]
}

/// Where a backend listens.
fn address(name: &str) -> SocketAddr {
    pod(20 + u8::try_from(index(name)).expect("few"), PORT)
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|n| *n == name).expect("one of the four")
}

/// The line of a request.
pub fn line(method: &str, target: &str, host: &str, body: &[u8]) -> String {
    format!("{method} {target} {host} {} {}", body.len(), fnv1a(body))
}

/// Serves on the calling thread, until the process ends.
fn serve(socket: TcpListener, lines: Lines) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        socket.set_nonblocking(true).expect("a socket of ours");
        let socket = tokio::net::TcpListener::from_std(socket).expect("a socket of ours");
        while let Ok((stream, _)) = socket.accept().await {
            let lines = lines.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| answer(request, &lines));
                // An error means that the peer went away, which is what many rows are about.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>, lines: &Lines) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let hosts: Vec<_> = head.headers.get_all(HOST).iter().map(|h| String::from_utf8_lossy(h.as_bytes())).collect();
    let line = line(head.method.as_str(), &head.uri.to_string(), &hosts.join(","), &body);
    lines.lock().expect("no panic holds it").push(line.clone());
    let response = Response::builder()
        .header("X-Saw", line)
        .header("Server", "witness")
        .body(Full::new(Bytes::from_static(b"ok")));
    Ok(response.expect("a line is a field value"))
}
