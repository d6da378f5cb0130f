//! `sluice doctor`, and the agent with the least privileges: what it says of a node, and that it is true.
//!
//! The agent runs under `setpriv` in a mount namespace of its own whose root is read-only, and counters prove that the
//! kernel steers and carries there.

mod container;
mod least;

use container::Container;
use lb_tests::agent::{Setup, binary, text};
use lb_tests::lab::{HTTP, Lab};
use lb_tests::netns::Namespace;
use lb_tests::site::Site;
use serde_json::Value;
use std::net::TcpListener;
use std::process::Output;

/// What the agent needs.
const NEEDED: [&str; 4] = ["bpf", "net_admin", "perfmon", "net_bind_service"];

/// Runs `sluice doctor` in a namespace.
fn doctor(namespace: &Namespace, arguments: &[&str]) -> Output {
    let mut command = namespace.command(binary("sluice"));
    command.arg("doctor").args(arguments).output().expect("nsenter runs")
}

/// What it says in JSON, and whether it calls the node good.
fn answer(output: &Output) -> (Value, bool) {
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)));
    (value, output.status.success())
}

/// A check of an answer by its name.
fn check(answer: &Value, name: &str) -> Value {
    let checks = answer["checks"].as_array().expect("a list of checks");
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {answer:#}")).clone()
}

/// What is neither `ok` nor about this machine rather than about us.
fn lacking(answer: &Value) -> Vec<String> {
    let checks = answer["checks"].as_array().expect("a list of checks").iter();
    // Test machines have few open files, and perhaps no type information.
    let foreign = |name: &str| ["open files", "BTF"].contains(&name);
    let names = checks.filter(|check| check["state"] != "ok").filter_map(|check| check["name"].as_str());
    names.filter(|name| !foreign(name)).map(str::to_owned).collect()
}

fn pin_dir(name: &str) -> String {
    format!("--pin-dir=/sys/fs/bpf/sluice-doctor-{}-{name}", std::process::id())
}

#[test]
fn a_good_node_has_everything_and_nothing_stays() {
    let lab = Lab::new();
    let pins = pin_dir("good");
    let all = ["--steering=required", "--splice=required", "--splice-xdp=native", &pins, "--output=json"];
    let (said, good) = answer(&doctor(&lab.balancer, &all));
    assert!(good && lacking(&said).is_empty(), "{said:#}");
    for name in ["program sk_lookup", "programs tc, XDP"] {
        assert!(check(&said, name)["found"].as_str().is_some_and(|found| found.contains("loaded in")), "{said:#}");
    }
    assert_eq!(check(&said, "XDP in drivers")["found"], "can: clients, pods", "veth can: {said:#}");
    let found = check(&said, "interfaces")["found"].as_str().expect("text").to_owned();
    assert!(found.contains("clients") && found.contains("pods") && found.contains("lo (loopback)"), "{found}");
    assert!(!std::path::Path::new(&pins["--pin-dir=".len()..]).exists(), "nothing was pinned");

    let table = doctor(&lab.balancer, &[&pins]);
    let shown = text(&table);
    assert!(table.status.success() && shown.contains("CHECK ") && shown.contains("NEEDED FOR / REMEDY"), "{shown}");
    assert!(shown.contains(", 0 missing"), "{shown}");
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let lab = Lab::new();
    lab.balancer.sysctl("ipv4/ip_forward", "0").expect("a setting of the namespace");
    lab.balancer.sysctl("ipv4/tcp_timestamps", "0").expect("a setting of the namespace");
    let taken = lab.balancer.run(|| TcpListener::bind(HTTP)).expect("port 80 of the balancer");
    let arguments = [
        "--steering=off",
        "--http=10.1.0.1:80",
        "--https=192.0.2.9:443",
        "--splice-ports=30000-40000",
        "--splice-interfaces=clients,nothing*",
        &pin_dir("wrong"),
        "--limit-connections=10000000",
        "--output=json",
    ];
    let (said, good) = answer(&doctor(&lab.balancer, &arguments));
    assert!(!good, "{said:#}");
    let expect = |name: &str, state: &str, part: &str| {
        let check = check(&said, name);
        assert!(check["state"] == state && check.to_string().contains(part), "{name}: {check:#}");
        assert!(check["remedy"].is_string() != (state == "ok"), "{check:#}");
    };
    expect("listener 10.1.0.1:80", "missing", "ss -ltnp");
    expect("listener 192.0.2.9:443", "missing", "no interface");
    expect("source ports", "degraded", "ip_local_reserved_ports=32768-40000");
    expect("ip_forward", "degraded", "ip_forward=1");
    expect("tcp_timestamps", "degraded", "tcp_timestamps=1");
    expect("open files", "degraded", "LimitNOFILE");
    expect("interfaces", "ok", "pods (left out)");
    drop(taken);
    // A port that a socket of another program has does not matter where sk_lookup comes first.
    let (said, _) = answer(&doctor(&lab.balancer, &["--http=192.0.2.9:80", &pin_dir("wrong"), "--output=json"]));
    assert_eq!(check(&said, "listener 192.0.2.9:80")["state"], "degraded", "{said:#}");
    let faulty = doctor(&lab.balancer, &["--splice-ports=nonsense", "--pin-dir=relative"]);
    assert!(faulty.status.code() == Some(64) && text(&faulty).contains("--pin-dir relative"), "{}", text(&faulty));
}

#[test]
fn beside_a_running_agent_it_names_the_holder_and_the_agent_has_looked_itself() {
    let site = Site::new();
    let agent = Setup::default().arg("--splice=required").start(&site.lab, site.manifests.path());
    let pins = format!("--pin-dir={}", agent.pin_dir().display());
    let (said, good) = answer(&doctor(&site.lab.balancer, &[&pins, "--output=json"]));
    assert!(good, "a running agent is no fault: {said:#}");
    assert_eq!(lacking(&said), ["pins are free"], "{said:#}");
    let pins = check(&said, "pins of earlier agents")["found"].as_str().expect("text").to_owned();
    assert!(pins.contains("abi-1 is adopted") && pins.contains("is adopted"), "{pins}");
    let status = agent.json(&["status"]);
    let node = status["node"].as_array().expect("a list of checks");
    assert!(node.iter().any(|check| check["name"] == "CAP_BPF" && check["state"] == "ok"), "{status:#}");
    assert!(!node.iter().any(|check| check["name"] == "program sk_lookup"), "the agent loads it anyhow: {status:#}");
    assert_eq!(agent.log().matches("this node was looked at").count(), 1, "{}", agent.log());
    agent.stop();
}

#[test]
fn who_refuses_the_system_call_is_told() {
    let lab = Lab::new();
    // Kernels from 6.5 on let a filter be told from a missing capability by themselves.
    let (said, good) = Container::default().seccomp().doctor(&lab, &["--steering=required"]);
    let call = check(&said, "bpf system call");
    assert!(!good && call["state"] == "missing", "{call:#}");
    assert!(
        call["found"].as_str().is_some_and(|found| found.contains("refused by a seccomp filter, though")),
        "{call:#}"
    );
}
