//! Steering by `sk_lookup`: its counters prove that it ran, and what happens without it, and to its pins.

use lb_tests::agent::{Agent, Setup, binary, text};
use lb_tests::client::{Connection, get};
use lb_tests::lab::{BALANCER_V6, HTTP, HTTPS};
use lb_tests::site::Site;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Connections that `sk_lookup` gave to the agent.
const STEERED: &str = "sluice_lookup_total{outcome=\"steered\"}";

struct Stage {
    site: Site,
}

impl Stage {
    fn new() -> Self {
        Self { site: Site::new() }
    }

    fn expect_served(&self) {
        let response = get(&self.site.lab.client, HTTP, "site.test", "/");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.echo().identity.service, "site");
    }

    fn listening(&self, port: u16) -> bool {
        self.site.lab.balancer.listening_ports().expect("the kernel lists sockets").contains(&port)
    }

    fn steered(&self, agent: &Agent) -> f64 {
        agent.metric(&self.site.lab.balancer, STEERED)
    }
}

#[test]
fn every_connection_is_steered_and_nothing_is_bound() {
    let stage = Stage::new();
    let agent = Setup::default().start(&stage.site.lab, stage.site.manifests.path());
    assert!(!stage.listening(80) && !stage.listening(443), "steering needs no socket on port 80 or 443");

    let before = stage.steered(&agent);
    let mut connection = Connection::plain(&stage.site.lab.client, HTTP).expect("IPv4");
    for _ in 0..3 {
        assert_eq!(connection.get("site.test", "/").expect("GET").status, 200);
    }
    for address in [HTTP, SocketAddr::new(BALANCER_V6, 80)] {
        assert_eq!(get(&stage.site.lab.client, address, "site.test", "/").status, 200, "{address}");
    }
    for address in [HTTPS, SocketAddr::new(BALANCER_V6, 443)] {
        let mut connection = Connection::tls(&stage.site.lab.client, address, Some("site.test")).expect("TLS");
        assert_eq!(connection.get("site.test", "/").expect("GET").status, 200, "{address}");
    }
    // One look-up a connection, that of its SYN: the packets after it find the half-open connection.
    let grown = stage.steered(&agent) - before;
    assert!((grown - 5.0).abs() < 0.5, "5 connections were made, and the counter grew by {grown}");
    // A port that is not ours is left alone.
    assert!(Connection::plain(&stage.site.lab.client, SocketAddr::new(HTTP.ip(), 81)).is_err());
    agent.stop();
    assert!(Connection::plain(&stage.site.lab.client, HTTP).is_err(), "an agent that ended must not hold connections");
}

#[test]
fn off_binds_ordinary_sockets() {
    let stage = Stage::new();
    let setup = Setup::default().steering("off").arg("--splice=off");
    let agent = setup.start(&stage.site.lab, stage.site.manifests.path());
    stage.expect_served();
    assert!(stage.listening(80) && stage.listening(443));
    assert!(!agent.pin_dir().exists(), "nothing of the kernel is touched");
    agent.stop();
}

#[test]
fn auto_without_privilege_binds_and_says_so_once_with_the_reason() {
    let stage = Stage::new();
    // So that the test is about eBPF, not about ports below 1024.
    stage.site.lab.balancer.sysctl("ipv4/ip_unprivileged_port_start", "0").expect("sysctl");
    let agent = Setup::default().steering("auto").unprivileged().start(&stage.site.lab, stage.site.manifests.path());
    stage.expect_served();
    assert!(stage.listening(80));
    let log = agent.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("NOT STEERING")).collect();
    assert_eq!(said.len(), 1, "the fallback is said once:\n{log}");
    assert!(said[0].contains("CAP_"), "the reason names the privilege that is missing: {}", said[0]);
    agent.stop();
}

#[test]
fn required_without_privilege_does_not_start_and_says_why() {
    let stage = Stage::new();
    stage.site.lab.balancer.sysctl("ipv4/ip_unprivileged_port_start", "0").expect("sysctl");
    let mut agent = Setup::default().unprivileged().spawn(&stage.site.lab, stage.site.manifests.path());
    let status = agent.wait();
    assert!(!status.success(), "ended with {status}");
    let log = agent.log();
    assert!(log.contains("CAP_BPF"), "the reason names the privilege: {log}");
    assert!(log.contains("--steering"), "the remedy names the option: {log}");
    assert!(!stage.listening(80));
}

#[test]
fn an_agent_after_sigkill_adopts_the_pins() {
    let stage = Stage::new();
    let agent = Setup::default().start(&stage.site.lab, stage.site.manifests.path());
    stage.expect_served();
    let pins = pins(&agent);
    assert!(!pins.is_empty(), "maps and links are pinned in {}", agent.pin_dir().display());
    let kernel = |agent: &Agent| agent.json(&["status"])["steering"]["kernel"].clone();
    let old = kernel(&agent);
    assert_eq!(old["origin"], "fresh", "{old:#}");

    let agent = agent.kill_and_restart(&stage.site.lab, stage.site.manifests.path());
    let before = stage.steered(&agent);
    stage.expect_served();
    assert!(stage.steered(&agent) > before, "the kernel steers to the new agent");
    assert_eq!(self::pins(&agent), pins, "the same pins");
    let new = kernel(&agent);
    assert_eq!(new["origin"], "adopted", "{new:#}");
    assert_eq!((&new["link_id"], &new["program"]), (&old["link_id"], &old["program"]), "the same objects");
    agent.stop();
}

#[test]
fn unpin_removes_everything() {
    let stage = Stage::new();
    let mut agent = Setup::default().start(&stage.site.lab, stage.site.manifests.path());
    let pin_dir = agent.pin_dir().to_owned();
    agent.signal(Signal::SIGKILL);
    // A process holds its locks until the kernel has taken it down.
    agent.wait();
    let unpin = || Command::new(binary("sluice")).arg("unpin").arg("--pin-dir").arg(&pin_dir).output();
    let output = unpin().expect("sluice runs");
    assert!(output.status.success(), "{}", text(&output));
    assert!(!pin_dir.exists(), "{} is gone", pin_dir.display());
    let output = unpin().expect("sluice runs");
    assert!(output.status.success(), "a second time it has nothing to do: {}", text(&output));
}

#[test]
fn sigterm_drains() {
    let stage = Stage::new();
    let mut agent = Setup::default().start(&stage.site.lab, stage.site.manifests.path());
    let mut slow = Connection::plain(&stage.site.lab.client, HTTP).expect("connect");
    slow.send(b"GET /slow-body HTTP/1.1\r\nHost: site.test\r\n\r\n").expect("send");
    let head = slow.read_head().expect("the response has begun");
    assert_eq!(head.status, 200);

    let before = Instant::now();
    agent.signal(Signal::SIGTERM);
    // Not ready any more, or no longer there: either keeps a load balancer before us from sending more.
    agent.wait_until("readiness is off", |agent| {
        agent.admin(&stage.site.lab.balancer, "/readyz").is_none_or(|response| response.status == 503)
    });
    assert!(before.elapsed() < Duration::from_millis(900), "readiness went off only when the response had ended");
    let body = slow.read_body(&head).expect("the response that was under way ends whole");
    assert_eq!(body.len(), 10_000);
    let status = agent.wait();
    assert!(status.success(), "ended with {status}");
    assert_eq!(stage.site.backends.requests(), 1);
}

#[test]
fn a_second_agent_on_the_same_pins_does_not_start_even_where_it_could_bind() {
    let stage = Stage::new();
    let first = Setup::default().start(&stage.site.lab, stage.site.manifests.path());
    let pin_dir = first.pin_dir().display().to_string();
    let mut second =
        Setup::default().steering("auto").pins_of(&first).spawn(&stage.site.lab, stage.site.manifests.path());
    let status = second.wait();
    assert!(!status.success(), "ended with {status}");
    let log = second.log();
    assert!(log.contains("another agent") && log.contains(&pin_dir) && log.contains("--pin-dir"), "{log}");
    assert!(!stage.listening(80));
    stage.expect_served();
    first.stop();
}

/// Names of what is pinned, sorted.
fn pins(agent: &Agent) -> Vec<String> {
    let mut names = Vec::new();
    let mut directories = vec![agent.pin_dir().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the pins are there").flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else {
                names.push(entry.path().display().to_string());
            }
        }
    }
    names.sort();
    names
}
