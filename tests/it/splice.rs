//! Connections that the kernel carries, as clients, backends and operators see them: the agent itself with
//! `--splice=required`, between a client and backends in network namespaces of their own.
//!
//! Every test proves by counters who carried the bytes: none passes because the other one did the work. What the kernel's
//! part does on its own is proved in [`super::handoff`] and `kernel/splice`.

mod closing;
mod connection;
mod life;
mod native;
mod passthrough;
mod same;
mod upgrade;
mod weather;

use lb_tests::agent::{Agent, Setup};
use lb_tests::backend::Backends;
use lb_tests::handoff::{ANSWER, expect};
use lb_tests::lab::{BALANCER_V6, HTTP, Lab, pod};
use lb_tests::manifest::{annotated, identity, ingress, service};
use lb_tests::netns::Namespace;
use lb_tests::scratch::Scratch;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long anything may take that should come at once.
const SOON: Duration = Duration::from_secs(20);

/// Allows steering whole connections.
const OPTED_IN: &str = "sluice.dev/steering: connection";

/// Plain HTTP by IPv6.
const HTTP_V6: SocketAddr = SocketAddr::new(BALANCER_V6, 80);

/// The backend of `raw.test`: a socket that a test accepts from, with no protocol of its own.
const RAW: u8 = 20;

/// An agent that splices, and what it leads to: `stream.test` (whole connections) and `site.test` (by request) to two echo
/// backends, `six.test` to one by IPv6, `raw.test` (whole connections) to a bare socket.
struct Stage {
    agent: Agent,
    lab: Lab,
    manifests: Scratch,
    raw: TcpListener,
    _backends: Backends,
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With arguments of the agent.
    fn with(arguments: &[&str]) -> Self {
        Self::on(Lab::new(), arguments)
    }

    /// On a network that was changed before.
    fn on(lab: Lab, arguments: &[&str]) -> Self {
        let setup = arguments.iter().fold(Setup::default(), |setup, argument| setup.arg(*argument));
        let setup =
            if arguments.iter().any(|a| a.starts_with("--splice=")) { setup } else { setup.arg("--splice=required") };
        let manifests = Scratch::new();
        manifests.write("stream.yaml", annotated("stream", "stream.test", ("site", 80), OPTED_IN));
        manifests.write("six.yaml", annotated("six", "six.test", ("six", 80), OPTED_IN));
        manifests.write("raw.yaml", annotated("raw", "raw.test", ("raw", 80), OPTED_IN));
        manifests.write("site.yaml", ingress("site", "site.test", &[("Prefix", "/", "site", 80)]));
        let pods = [pod(10, 8080), pod(11, 8080)];
        let six = SocketAddr::new("fd02::12".parse().expect("an address"), 8080);
        let services = [service("site", 80, &pods), service("raw", 80, &[pod(RAW, 9000)])].concat();
        manifests.write("services.yaml", services);
        manifests.write("v6.yaml", service("six", 80, &[six]).replace("addressType: IPv4", "addressType: IPv6"));
        let servers = pods.map(|pod| (pod, identity("site", pod))).into_iter().chain([(six, identity("six", six))]);
        let backends = Backends::start(&lab.pods, servers.collect());
        let raw = listen(&lab.pods, pod(RAW, 9000));
        let agent = setup.arg("--access-log=json").start(&lab, manifests.path());
        Self { agent, lab, manifests, raw, _backends: backends }
    }

    fn metric(&self, name: &str) -> u64 {
        self.agent.metric(&self.lab.balancer, name) as u64
    }

    /// Packets that the programs translated: from clients, and to them.
    fn translated(&self) -> (u64, u64) {
        let packets = |outcome| self.metric(&format!("sluice_splice_packets_total{{outcome=\"{outcome}\"}}"));
        (packets("up"), packets("down"))
    }

    /// Connections by class and reason.
    fn connections(&self, class: &str, reason: &str) -> u64 {
        self.metric(&format!("sluice_connections_total{{class=\"{class}\",reason=\"{reason}\"}}"))
    }

    /// Waits for a number of connections by class and reason: clients may have their answers before the agent has counted.
    fn expect_connections(&self, class: &str, reason: &str, count: u64) {
        let what = format!("{count} connections are {class}, {reason}");
        self.agent.wait_until(&what, |_| self.connections(class, reason) == count);
    }

    /// What `sluice flows` shows.
    fn flows(&self) -> Vec<Value> {
        let shown = self.agent.json(&["flows"]);
        assert_eq!(shown["active"], true, "{shown:#}");
        shown["flows"].as_array().expect("a list").clone()
    }

    /// The flow of a client's connection.
    fn flow(&self, client: &TcpStream) -> Option<Value> {
        let address = client.local_addr().expect("a stream has an address").to_string();
        self.flows().into_iter().find(|flow| flow["client"] == address.as_str())
    }

    /// The access log, once it has so many lines.
    fn lines(&self, count: usize) -> Vec<Value> {
        self.agent.wait_until("the log has its lines", |agent| agent.access_log().lines().count() >= count);
        self.agent.access_log().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// A connection to `raw.test` that the kernel carries: the client's socket and the backend's.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(&self.lab.client, HTTP);
        self.pair_of(client)
    }

    fn pair_of(&self, mut client: TcpStream) -> (TcpStream, TcpStream) {
        client.write_all(b"GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n").expect("sent");
        let (mut backend, _) = self.raw.accept().expect("the agent dials");
        bound(&backend);
        read_head(&mut backend);
        backend.write_all(ANSWER).expect("sent");
        expect(&mut client, ANSWER);
        self.agent.wait_until("the kernel carries it", |_| self.flow(&client).is_some_and(|f| f["state"] == "active"));
        (client, backend)
    }

    /// Checks what must hold at the end of every test, and ends the agent.
    fn end(self) {
        assert_eq!(self.metric("sluice_splice_late_total"), 0, "a byte came after a hand-off");
        for outcome in ["unwritable", "no_hop"] {
            assert_eq!(self.metric(&format!("sluice_splice_packets_total{{outcome=\"{outcome}\"}}")), 0, "{outcome}");
        }
        self.agent.stop();
    }
}

fn listen(namespace: &Namespace, address: SocketAddr) -> TcpListener {
    namespace.run(|| TcpListener::bind(address)).expect("the address is ours")
}

fn connect(from: &Namespace, to: SocketAddr) -> TcpStream {
    let stream = from.connect(to).expect("the agent listens");
    bound(&stream);
    stream
}

/// Nobody waits for ever.
fn bound(stream: &TcpStream) {
    stream.set_read_timeout(Some(SOON)).expect("an option of a socket");
    stream.set_write_timeout(Some(SOON)).expect("an option of a socket");
    stream.set_nodelay(true).expect("an option of a socket");
}

/// Reads a head to its last byte, and nothing behind it.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("after {:?}: {e}", String::from_utf8_lossy(&head)));
        head.extend(byte);
    }
    String::from_utf8(head).expect("heads here are text")
}
