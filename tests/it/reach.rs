//! Pods in reach: interfaces that come while the agent runs, and programs of others on the hooks that ours use.
//!
//! Each test proves by counters that the kernel carried a connection, and whose programs saw its packets.

mod foreign;

use foreign::{Foreign, Place};
use lb_tests::agent::{Agent, Setup};
use lb_tests::backend::Backends;
use lb_tests::client::Connection;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{annotated, identity, service};
use lb_tests::netns::{Namespace, join};
use lb_tests::scratch::Scratch;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;

/// Allows steering whole connections.
const OPTED_IN: &str = "sluice.dev/steering: connection";

/// Requests of one connection: the first is userspace's, the others the kernel's.
const REQUESTS: u64 = 4;

/// A network with manifests, and perhaps an agent.
struct Stage {
    lab: Lab,
    manifests: Scratch,
    _backends: Backends,
}

impl Stage {
    /// `stream.test` leads to a pod.
    fn new() -> Self {
        let (lab, manifests) = (Lab::new(), Scratch::new());
        let address = pod(10, 8080);
        manifests.write("stream.yaml", annotated("stream", "stream.test", ("site", 80), OPTED_IN));
        manifests.write("service.yaml", service("site", 80, &[address]));
        let backends = Backends::start(&lab.pods, vec![(address, identity("site", address))]);
        Self { lab, manifests, _backends: backends }
    }

    fn start(&self) -> Agent {
        Setup::default().arg("--splice=required").start(&self.lab, self.manifests.path())
    }

    /// Connections that the kernel took over, and packets of clients that it translated.
    fn carried(&self, agent: &Agent) -> (u64, u64) {
        let count = |outcome| {
            let name = format!("sluice_splice_packets_total{{outcome=\"{outcome}\"}}");
            agent.metric(&self.lab.balancer, &name) as u64
        };
        (count("activated"), count("up"))
    }

    /// Requests on one connection, which the kernel must carry from the second on.
    fn expect_carried(&self, agent: &Agent, host: &str) {
        let before = self.carried(agent);
        let mut connection = Connection::plain(&self.lab.client, HTTP).expect("connected");
        for _ in 0..REQUESTS {
            assert_eq!(connection.get(host, "/").expect("an answer").status, 200, "{host}");
        }
        agent.wait_until("the kernel carried it", |agent| {
            let now = self.carried(agent);
            now.0 == before.0 + 1 && now.1 >= before.1 + REQUESTS - 1
        });
    }

    /// As [`expect_carried`](Self::expect_carried), when routes have changed just now: what they said is remembered for a second.
    fn expect_carried_soon(&self, agent: &Agent, host: &str) {
        let before = self.carried(agent);
        agent.wait_until("the kernel carries it", |agent| {
            let mut connection = Connection::plain(&self.lab.client, HTTP).expect("connected");
            for _ in 0..REQUESTS {
                assert_eq!(connection.get(host, "/").expect("an answer").status, 200, "{host}");
            }
            self.carried(agent).0 > before.0
        });
    }

    /// What the doctor says of programs of others; null: there are none.
    fn others(&self, agent: &Agent) -> Value {
        let pins = format!("--pin-dir={}", agent.pin_dir().display());
        let mut command = self.lab.balancer.command(lb_tests::agent::binary("sluice"));
        let output = command.args(["doctor", &pins, "--output=json"]).output().expect("nsenter runs");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut checks = said["checks"].as_array().expect("checks").iter();
        checks.find(|check| check["name"] == "tc programs of others").cloned().unwrap_or_default()
    }
}

#[test]
fn a_pod_whose_interface_comes_after_the_agent_is_carried() {
    let stage = Stage::new();
    let agent = stage.start();
    stage.expect_carried(&agent, "stream.test");
    // A pod of the node: its other end appears in our namespace, as container runtimes name them.
    let late = Namespace::new("late").expect("a namespace");
    let address = SocketAddr::from(([10, 3, 0, 2], 8080));
    let make = |name: &str| {
        join((&stage.lab.balancer, name, &["10.3.0.1/24"]), (&late, "eth0", &["10.3.0.2/24"])).expect("a veth pair");
        late.ip("route add default via 10.3.0.1").expect("a route");
    };
    make("veth1a2b3c");
    let _backends = Backends::start(&late, vec![(address, identity("late", address))]);
    stage.manifests.write("late-service.yaml", service("late", 80, &[address]));
    stage.manifests.write("late.yaml", annotated("late", "late.test", ("late", 80), OPTED_IN));
    agent.wait_until("the pod is served", |agent| {
        let routes = agent.json(&["routes"]);
        routes.as_array().is_some_and(|routes| routes.iter().any(|route| route["host"] == "late.test"))
    });
    stage.expect_carried(&agent, "late.test");

    // Renamed, as udev does, which takes it down for a moment: carried on.
    let rename = "link set veth1a2b3c down\nlink set veth1a2b3c name pod7\nlink set pod7 up";
    stage.lab.balancer.ip(rename).expect("renamed");
    stage.expect_carried(&agent, "late.test");

    // Gone, and another of the first name in its place, as when a pod is replaced.
    stage.lab.balancer.ip("link del pod7").expect("removed");
    make("veth1a2b3c");
    stage.expect_carried_soon(&agent, "late.test");
    stage.expect_carried(&agent, "late.test");
    stage.expect_carried(&agent, "stream.test");
    agent.stop();
}

/// A program of somebody else at a place, attached before our agent starts or after.
fn check_beside(place: Place, is_first: bool, doctor: &str) {
    let stage = Stage::new();
    let attach = || Foreign::attach(&stage.lab.balancer, &["clients", "pods"], place);
    let early = is_first.then(attach);
    let agent = stage.start();
    let foreign = early.unwrap_or_else(attach);
    let before = foreign.seen();
    stage.expect_carried(&agent, "stream.test");
    let seen = foreign.seen() - before;
    // At least the handshakes on both sides are not ours, so every program sees them.
    assert!(seen >= 4, "{place:?}, first: {is_first}: it saw {seen} packets");
    let said = stage.others(&agent);
    let found = said["found"].as_str().unwrap_or_default();
    assert!(found.starts_with(doctor), "{place:?}, first: {is_first}: {said:#}");
    assert_eq!(said["state"], if doctor == "before ours" { "degraded" } else { "ok" }, "{said:#}");
    agent.stop();
    assert!(foreign.seen() > 0, "it runs on");
}

#[test]
fn tcx_programs_that_were_there_run_behind_ours() {
    check_beside(Place::Head, true, "behind ours");
    check_beside(Place::Tail, true, "behind ours");
}

#[test]
fn tcx_programs_that_come_later_run_where_they_want_to() {
    check_beside(Place::Tail, false, "behind ours");
    // One that passes packets on harms nobody, but the doctor names it.
    check_beside(Place::Head, false, "before ours");
}

#[test]
fn filters_of_clsact_run_behind_ours() {
    check_beside(Place::Filter, true, "behind ours");
    check_beside(Place::Filter, false, "behind ours");
}

#[test]
fn a_filter_that_keeps_packets_harms_no_carried_pair() {
    let stage = Stage::new();
    let agent = stage.start();
    let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connected");
    for _ in 0..2 {
        assert_eq!(connection.get("stream.test", "/").expect("an answer").status, 200);
    }
    agent.wait_until("the kernel carries it", |agent| stage.carried(agent).1 >= 1);
    // As a CNI that takes what it does not know: from now on no new connection comes, and the pair goes on.
    for arguments in
        ["qdisc add dev clients clsact", "filter add dev clients ingress protocol ip prio 1 bpf da bytecode"]
    {
        let mut command = stage.lab.balancer.command("tc");
        command.args(arguments.split(' '));
        if arguments.ends_with("bytecode") {
            // Returns 2: TC_ACT_SHOT.
            command.arg("1,6 0 0 2");
        }
        run(&mut command);
    }
    assert_eq!(connection.get("stream.test", "/").expect("ours run first").status, 200);
    assert!(Connection::plain(&stage.lab.client, HTTP).is_err(), "the filter works");
    agent.stop();
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
