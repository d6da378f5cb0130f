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
