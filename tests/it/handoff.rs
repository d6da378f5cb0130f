//! Carried pairs under stress: lost packets, thousands at once, an agent that is killed. On this machine's kernel only: it
//! needs `iptables`, and more memory and speed than an emulated machine has.

mod ports;
mod windows;

use lb_tests::agent::binary;
use lb_tests::client::Connection;
use lb_tests::handoff::{
    ANSWER, Family, REQUEST, Site, endpoint, expect, expect_end, front_address, hand_off, transfer,
};
use lb_tests::netns::Namespace;
use lb_userspace::kernel::Selector;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes each way while packets are lost: they take some 20 s on two cores.
const BYTES: u64 = 1 << 30;

/// Pairs at once.
const PAIRS: usize = 10_000;

/// Loses one in a hundred of the packets that come.
fn lose(namespace: &Namespace) {
    for program in ["iptables", "ip6tables"] {
        let rule = "-A INPUT -p tcp -m statistic --mode random --probability 0.01 -j DROP";
        let status = namespace.command(program).args(rule.split(' ')).status().expect("iptables is installed");
        assert!(status.success(), "{program} takes the rule");
    }
}

fn check_loss(family: Family, timestamps: &str) {
    let site = Site::new();
    for namespace in [&*site.lab.client, &site.lab.balancer, &site.lab.pods] {
        namespace.sysctl("ipv4/tcp_timestamps", timestamps).expect("a setting of the namespace");
    }
    let pair = site.join(family);
    lose(&site.lab.client);
    lose(&site.lab.pods);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| transfer(&pair.client, &pair.backend, 1, BYTES));
        transfer(&pair.backend, &pair.client, 2, BYTES);
    });
    println!("{BYTES} bytes each way, 1 % of the packets lost, timestamps {timestamps}: {:?}", start.elapsed());
    let flow = &site.splicer().flows()[0];
    assert!(
        flow.carried.bytes_up >= BYTES && flow.carried.bytes_down >= BYTES,
        "the kernel carried all of it: {flow:?}"
    );
    assert_eq!(site.splicer().splicing().late, 0);
}

#[test]
fn every_byte_arrives_where_packets_are_lost() {
    check_loss(Family::V4, "1");
}

#[test]
fn every_byte_arrives_where_packets_are_lost_and_there_are_no_timestamps() {
    check_loss(Family::V4, "0");
}

#[test]
fn every_byte_arrives_over_ipv6_where_packets_are_lost() {
    check_loss(Family::V6, "1");
}

#[test]
fn ten_thousand_pairs_are_carried_at_once() {
    let site = Site::with(|setup| setup.ports = 15_000..=29_999);
    let (address, to) = (SocketAddr::new(front_address(Family::V4).ip(), 8_000), lb_tests::lab::pod(11, 8080));
    let fronts = site.lab.balancer.run(|| TcpListener::bind(address)).expect("free");
    // A process of its own: one may not have as many descriptors as clients and backends together.
    let mut backend = Process::start(site.lab.pods.command(binary("sluice-echo")).arg(to.to_string()));
    assert_eq!(backend.line(), format!("listening on {to}"));
    let (mut clients, mut took) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let agent = scope.spawn(|| {
            site.lab.balancer.enter();
            let one = |_| {
                let (front, _) = fronts.accept().expect("a client waits");
                hand_off(site.splicer(), front, to).unwrap_or_else(|apart| panic!("not joined: {apart}"))
            };
            (0..PAIRS).map(one).collect::<Vec<_>>()
        });
        for _ in 0..PAIRS {
            let mut client = Connection::plain(&site.lab.client, address).expect("the agent listens");
            assert_eq!(client.get("shop.test", "/").expect("answered").status, 200);
            clients.push(client);
        }
        took = agent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    say("begin", took.iter().map(|took| took.begin));
    say("surrender", took.iter().map(|took| took.surrender));
    assert_eq!(site.splicer().flows().len(), PAIRS);
    let before = (site.count("up"), site.count("activated"));
    for client in &mut clients {
        assert_eq!(client.get("shop.test", "/").expect("answered").status, 200);
    }
    assert!(site.count("up") - before.0 >= PAIRS as u64 && before.1 == PAIRS as u64, "{before:?}");
    assert_eq!(site.splicer().splicing().late, 0);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::All)), PAIRS);
    for client in &mut clients {
        assert!(client.get("shop.test", "/").is_err(), "it was reset");
    }
    backend.kill();
}

/// Tells people how long something took: the median, and what one in a hundred exceeds.
fn say(what: &str, times: impl Iterator<Item = Duration>) {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    println!("{what}: median {:?}, 99 of 100 within {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

/// A process that says on its standard output what happens.
struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary is built");
        let says = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, says }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("it is text");
        line.trim().to_owned()
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

/// An agent as a process.
fn start_agent(site: &Site) -> Process {
    let address = format!("{}:8000", front_address(Family::V4).ip());
    let mut command = site.lab.balancer.command(binary("sluice-splicer"));
    Process::start(command.args([&address, &endpoint(Family::V4).to_string()]).arg(&site.pin_dir))
}

/// A client of the agent that is a process, joined with a backend.
fn join(site: &Site, agent: &mut Process) -> (TcpStream, TcpStream) {
    let to = (front_address(Family::V4).ip(), 8_000).into();
    let mut client = site.lab.client.connect(to).expect("the agent listens");
    client.write_all(REQUEST).expect("sent");
    let mut backend = site.accept_backend(Family::V4);
    expect(&mut backend, REQUEST);
    backend.write_all(ANSWER).expect("sent");
    expect(&mut client, ANSWER);
    assert_eq!(agent.line(), "carried");
    (client, backend)
}

#[test]
fn a_transfer_goes_on_when_the_agent_is_killed_and_the_next_agent_lists_it() {
    let mut site = Site::new();
    // The agent is another process.
    site.close();
    let mut agent = start_agent(&site);
    assert_eq!(agent.line(), "open 0");
    let (mut client, mut backend) = join(&site, &mut agent);
    std::thread::scope(|scope| {
        let transfer = scope.spawn(|| transfer(&backend, &client, 4, 1 << 30));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!transfer.is_finished(), "it is in the middle of it");
        agent.kill();
        transfer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let mut agent = start_agent(&site);
    assert_eq!(agent.line(), "open 1");
    client.write_all(b"still here").expect("sent");
    expect(&mut backend, b"still here");
    let (other_client, other_backend) = join(&site, &mut agent);
    transfer(&other_client, &other_backend, 5, 1 << 20);
    client.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut backend);
    backend.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut client);
    agent.kill();
    site.open();
    assert!(site.splicer().flows().iter().any(|flow| flow.carried.bytes_down > 1 << 30), "the accounts go on");
}

#[test]
fn an_agent_that_is_killed_before_the_answer_leaves_nobody_waiting() {
    let mut site = Site::new();
    site.close();
    let mut agent = start_agent(&site);
    assert_eq!(agent.line(), "open 0");
    let to = (front_address(Family::V4).ip(), 8_000).into();
    let mut client = site.lab.client.connect(to).expect("the agent listens");
    client.write_all(REQUEST).expect("sent");
    let mut backend = site.accept_backend(Family::V4);
    expect(&mut backend, REQUEST);
    agent.kill();
    // Its sockets close as any process's do.
    expect_end(&mut client);
    expect_end(&mut backend);
    backend.write_all(ANSWER).expect("sent");
    site.open();
    assert!(site.splicer().flows().is_empty() && site.count("activated") == 0);
}
