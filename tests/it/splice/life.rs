//! Flows while agents come and go: killed and started again, ended by an administrator, by limits, or with their backend.

use super::{Stage, bound};
use lb_tests::agent::text;
use lb_tests::handoff::{expect, expect_end, expect_reset, transfer};
use lb_tests::lab::{HTTP, pod};
use lb_tests::manifest::service;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The body that is under way when the agent is killed.
const BODY: u64 = 100 << 20;

/// A pod that `raw` may get instead; nobody listens there.
const RAW_NEXT: u8 = 21;

#[test]
fn a_transfer_outlives_its_agent_and_the_next_one_goes_on_with_the_books() {
    let mut stage = Stage::new();
    let (mut client, mut backend) = stage.pair();
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| transfer(&backend, &client, 1, BODY));
        stage.agent.wait_until("it is under way", |_| stage.translated().1 > 10);
        stage.agent.kill();
        assert!(!whole.is_finished(), "the agent was killed in the middle of it");
        whole.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    stage.agent = stage.agent.restart(&stage.lab, stage.manifests.path());
    let before = bytes_down(&stage, &client).expect("the flow is listed again");
    assert!(before > BODY, "{before}");
    backend.write_all(b"still here").expect("sent");
    expect(&mut client, b"still here");
    assert!(bytes_down(&stage, &client) >= Some(before + 10), "the books go on");
    // New ones are carried beside it, by ports of their own.
    let (other, _other_backend) = stage.pair();
    assert_eq!((stage.flows().len(), stage.connections("spliced", "opted-in")), (2, 1));
    assert!(stage.flow(&other).is_some());
    client.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut backend);
    backend.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut client);
    stage.agent.wait_until("what is closed is gone", |_| stage.flow(&client).is_none());
    assert!(stage.flow(&other).is_some());
    stage.end();
}

fn bytes_down(stage: &Stage, client: &TcpStream) -> Option<u64> {
    stage.flow(client)?["bytes_down"].as_u64()
}

#[test]
fn an_administrator_ends_flows() {
    let stage = Stage::new();
    let (mut client, mut backend) = stage.pair();
    let (mut other, mut other_backend) = stage.pair();
    let id = stage.flow(&client).expect("it is carried")["id"].to_string();
    let output = stage.agent.sluice(&["flows", "reset", "--id", &id]);
    assert!(output.status.success(), "{}", text(&output));
    expect_reset(&mut client);
    expect_reset(&mut backend);
    other.write_all(b"not me").expect("sent");
    expect(&mut other_backend, b"not me");
    let output = stage.agent.sluice(&["flows", "reset", "--all"]);
    assert!(output.status.success(), "{}", text(&output));
    expect_reset(&mut other);
    expect_reset(&mut other_backend);
    assert!(stage.flows().is_empty());
    assert!(stage.lines(2).iter().all(|line| line["error"] == "administrator" && line["status"] == 200));
    stage.end();
}

/// Requests in work at the service `raw`, and at its one endpoint.
fn in_work(stage: &Stage) -> (u64, u64) {
    let backends = stage.agent.json(&["backends"]);
    let rows = backends.as_array().expect("a list");
    let row = rows.iter().find(|row| row["service"] == "default/raw:80").unwrap_or_else(|| panic!("{backends:#}"));
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("{row:#}"));
    (number(&row["in_work"]), number(&row["endpoints"][0]["in_work"]))
}

#[test]
fn flows_of_an_earlier_agent_have_their_service_count_and_end_with_their_endpoint() {
    let mut stage = Stage::with(&["--splice-drain-ms-max=2500"]);
    let (mut client, mut backend) = stage.pair();
    let (mut other, mut other_backend) = stage.pair();
    let name = stage.flow(&client).expect("it is carried")["service"].clone();
    assert_eq!((name.as_str(), in_work(&stage)), (Some("default/raw:80"), (2, 2)));
    stage.agent.kill();
    stage.agent = stage.agent.restart(&stage.lab, stage.manifests.path());
    stage.agent.wait_until("they have their service", |_| stage.flows().iter().all(|flow| flow["service"] == name));
    assert_eq!(in_work(&stage), (2, 2));
    assert_eq!((stage.metric("sluice_connections_active"), stage.metric("sluice_flows")), (2, 2));
    assert_eq!(stage.agent.json(&["status"])["connections_active"], 2);
    drop((other, other_backend));
    stage.agent.wait_until("one is over", |_| stage.flows().len() == 1);
    assert_eq!((in_work(&stage), stage.metric("sluice_connections_active")), ((1, 1), 1));
    (other, other_backend) = stage.pair();
    assert_eq!(in_work(&stage), (2, 2), "new ones count beside it");
    let pods = [service("site", 80, &[pod(10, 8080)]), service("raw", 80, &[pod(RAW_NEXT, 9000)])];
    stage.manifests.replace("services.yaml", pods.concat());
    for socket in [&mut client, &mut backend, &mut other, &mut other_backend] {
        expect_reset(socket);
    }
    assert!(stage.flows().is_empty());
    assert_eq!(in_work(&stage), (0, 0));
    stage.end();
}

#[test]
fn connections_that_the_kernel_carries_count_towards_the_limit() {
    let stage = Stage::with(&["--limit-connections=3"]);
    let pairs = [stage.pair(), stage.pair()];
    let active = |stage: &Stage| stage.metric("sluice_connections_active");
    stage.agent.wait_until("they are the kernel's", |_| active(&stage) == 2);
    let mut third = lb_tests::client::Connection::plain(&stage.lab.client, HTTP).expect("connect");
    assert_eq!(third.get("site.test", "/").expect("there is room").status, 200);
    let mut fourth = stage.lab.client.connect(HTTP).expect("the kernel accepts it");
    bound(&fourth);
    let closed = std::io::Read::read(&mut fourth, &mut [0]);
    assert!(!matches!(closed, Ok(1..)), "it is closed at once: {closed:?}");
    assert_eq!((active(&stage), stage.metric("sluice_connections_refused_total")), (3, 1));
    drop(pairs);
    stage.agent.wait_until("they are over", |_| active(&stage) == 1);
    let _again = stage.pair();
    stage.end();
}

#[test]
fn flows_are_ended_some_time_after_their_endpoint() {
    const DRAIN: Duration = Duration::from_millis(2_500);
    let stage = Stage::with(&[&format!("--splice-drain-ms-max={}", DRAIN.as_millis())]);
    let (mut client, mut backend) = stage.pair();
    let version = stage.agent.version();
    let start = Instant::now();
    let pods = [service("site", 80, &[pod(10, 8080)]), service("raw", 80, &[pod(RAW_NEXT, 9000)])];
    stage.manifests.replace("services.yaml", pods.concat());
    stage.agent.wait_until("it serves", |agent| agent.version() > version);
    client.write_all(b"still here").expect("sent");
    expect(&mut backend, b"still here");
    backend.write_all(b"so am I").expect("sent");
    expect(&mut client, b"so am I");
    assert_eq!(stage.flows().len(), 1, "it drains");
    expect_reset(&mut client);
    expect_reset(&mut backend);
    assert!(start.elapsed() >= DRAIN, "after {:?}", start.elapsed());
    assert_eq!(stage.lines(1)[0]["error"], "endpoint-gone");
    stage.end();
}

#[test]
fn flows_that_are_idle_too_long_are_ended() {
    let stage = Stage::with(&["--splice-idle-ms-max=2500"]);
    let (mut client, mut backend) = stage.pair();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(700));
        client.write_all(b"tick").expect("sent");
        expect(&mut backend, b"tick");
    }
    let start = Instant::now();
    expect_reset(&mut client);
    expect_reset(&mut backend);
    assert!(start.elapsed() >= Duration::from_millis(2_400), "after {:?}", start.elapsed());
    assert_eq!(stage.lines(1)[0]["error"], "tunnel-idle");
    stage.end();
}

#[test]
fn an_agent_that_ends_in_order_leaves_flows_to_the_next() {
    let mut stage = Stage::new();
    let (mut client, mut backend) = stage.pair();
    stage.agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(stage.agent.wait().success());
    client.write_all(b"nobody there").expect("sent");
    expect(&mut backend, b"nobody there");
    stage.agent = stage.agent.restart(&stage.lab, stage.manifests.path());
    assert!(stage.flow(&client).is_some());
    bound(&stage.lab.client.connect(HTTP).expect("the next agent listens"));
    stage.end();
}
