//! XDP between drivers: frames of carried connections never become packets of the kernel. veth runs programs in its driver.
//!
//! A veth takes redirected frames when its peer has GRO on. It hands over checksums as they are, half done unless the sender's
//! offload is off: a network card has whole ones.

use super::{HTTP_V6, Stage, bound, connect, listen, read_head};
use lb_tests::handoff::{ANSWER, expect, expect_end, expect_reset, transfer};
use lb_tests::lab::{HTTP, Lab};
use lb_tests::manifest::{annotated, service};
use lb_tests::netns::Namespace;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Bytes each way.
const BYTES: u64 = 100 << 20;

/// Most that a segment carries here.
const MSS: u64 = 1_448;

const WITH_XDP: &str = "--splice-xdp=native";

fn set(namespace: &Namespace, features: &str) {
    let status = namespace.command("ethtool").args(["-K", "eth0"]).args(features.split(' ')).status();
    assert!(status.expect("ethtool is installed").success(), "{features} can be set");
}

/// A network whose ends behave as network cards do.
fn cards() -> Lab {
    let lab = Lab::new();
    for end in [&*lab.client, &lab.pods] {
        set(end, "gro on");
        set(end, "tx off");
    }
    lab
}

impl Stage {
    fn packets(&self, outcome: &str) -> u64 {
        self.metric(&format!("sluice_splice_packets_total{{outcome=\"{outcome}\"}}"))
    }

    /// Whether the program runs on both interfaces, and why frames do not leave there in XDP.
    fn in_xdp(&self) -> (bool, Vec<String>) {
        let status = self.agent.json(&["status"]);
        let interfaces = status["splicing"]["kernel"]["interfaces"].as_array().cloned();
        let interfaces = interfaces.unwrap_or_else(|| panic!("{status:#}"));
        let reasons = interfaces.iter().filter_map(|one| one["xdp_reason"].as_str().map(str::to_owned));
        (interfaces.len() == 2 && interfaces.iter().all(|one| one["xdp"] == true), reasons.collect())
    }

    /// A connection to `raw6.test` that the kernel carries.
    fn pair_v6(&self) -> (TcpStream, TcpStream) {
        let address = SocketAddr::new("fd02::20".parse().expect("an address"), 9000);
        let raw = listen(&self.lab.pods, address);
        let version = self.agent.version();
        let opted_in = annotated("raw6", "raw6.test", ("raw6", 80), super::OPTED_IN);
        let service = service("raw6", 80, &[address]).replace("addressType: IPv4", "addressType: IPv6");
        self.manifests.write("raw6.yaml", format!("{opted_in}---\n{service}"));
        self.agent.wait_until("it serves", |agent| agent.version() > version);
        let mut client = connect(&self.lab.client, HTTP_V6);
        client.write_all(b"GET / HTTP/1.1\r\nHost: raw6.test\r\n\r\n").expect("sent");
        let (mut backend, _) = raw.accept().expect("the agent dials");
        bound(&backend);
        read_head(&mut backend);
        backend.write_all(ANSWER).expect("sent");
        expect(&mut client, ANSWER);
        self.agent.wait_until("the kernel carries it", |_| self.flow(&client).is_some_and(|f| f["state"] == "active"));
        (client, backend)
    }
}

/// All bytes arrive whole, and all but a few packets in XDP: the first of each second asks the kernel for the next hop, in tc.
fn check(stage: &Stage, (mut client, mut backend): (TcpStream, TcpStream)) {
    let count = |stage: &Stage| ["up", "down", "up_xdp", "down_xdp"].map(|outcome| stage.packets(outcome));
    let before = count(stage);
    transfer(&client, &backend, 1, BYTES);
    transfer(&backend, &client, 2, BYTES);
    let after = count(stage);
    let [up, down, up_xdp, down_xdp] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
    println!("up {up}, down {down} packets in tc; up {up_xdp}, down {down_xdp} in XDP");
    assert!(up_xdp >= BYTES / MSS && down_xdp >= BYTES / MSS, "{before:?} {after:?}: the driver carried it");
    assert!(up + down <= (up_xdp + down_xdp) / 100, "{before:?} {after:?}: tc carried next to nothing");
    client.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut backend);
    backend.write_all(b"half-closed").expect("sent");
    expect(&mut client, b"half-closed");
    backend.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut client);
    stage.agent.wait_until("what is closed is gone", |_| stage.flow(&client).is_none());
}

#[test]
fn drivers_carry_a_connection_from_one_to_the_other() {
    let stage = Stage::on(cards(), &[WITH_XDP]);
    assert_eq!(stage.in_xdp(), (true, Vec::new()));
    check(&stage, stage.pair());
    check(&stage, stage.pair_v6());
    for of_client in [true, false] {
        let (client, backend) = stage.pair();
        let (mut one, other) = if of_client { (backend, client) } else { (client, backend) };
        other.set_nonblocking(true).expect("an option of a socket");
        let before = stage.packets("up_xdp") + stage.packets("down_xdp");
        reset(other);
        expect_reset(&mut one);
        assert!(stage.packets("up_xdp") + stage.packets("down_xdp") > before, "the reset passed in XDP");
    }
    stage.end();
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).expect("the runtime runs");
        stream.set_zero_linger().expect("an option of a socket");
    });
}

/// Ends on the same machine: checksums are half done, and the program sees that.
#[test]
fn half_done_checksums_are_carried_by_tc_and_arrive_whole() {
    let lab = Lab::new();
    for end in [&*lab.client, &lab.pods] {
        set(end, "gro on");
    }
    let stage = Stage::on(lab, &[WITH_XDP]);
    assert_eq!(stage.in_xdp(), (true, Vec::new()));
    let (client, backend) = stage.pair();
    transfer(&client, &backend, 1, BYTES / 4);
    transfer(&backend, &client, 2, BYTES / 4);
    assert!(stage.packets("left_for_tc") > BYTES / 4 / MSS && stage.translated().0 > 0);
    stage.end();
}

/// A driver that takes no frames would drop each of them, and nobody would be told.
#[test]
fn frames_go_only_to_drivers_that_take_them() {
    let lab = cards();
    set(&lab.pods, "gro off");
    let stage = Stage::on(lab, &[WITH_XDP]);
    let (runs, reasons) = stage.in_xdp();
    assert!(runs && reasons.len() == 1 && reasons[0].contains("takes no frames"), "{reasons:?}");
    let (client, backend) = stage.pair();
    let transfer_both = || {
        transfer(&client, &backend, 1, BYTES / 10);
        transfer(&backend, &client, 2, BYTES / 10);
    };
    transfer_both();
    assert_eq!(stage.packets("up_xdp"), 0, "to the backend by tc");
    assert!(stage.packets("down_xdp") > BYTES / 10 / MSS, "to the client in XDP");
    // It learns, while pairs are carried, that a driver takes frames, and that it no longer does.
    set(&stage.lab.pods, "gro on");
    stage.agent.wait_until("it takes frames", |_| stage.in_xdp() == (true, Vec::new()));
    transfer_both();
    let up = stage.packets("up_xdp");
    assert!(up > BYTES / 10 / MSS);
    set(&stage.lab.pods, "gro off");
    stage.agent.wait_until("it takes none", |_| stage.in_xdp().1.len() == 1);
    let up = stage.packets("up_xdp");
    transfer_both();
    assert_eq!(stage.packets("up_xdp"), up);
    stage.end();
}

/// Short ones: what follows an answer finds the next hop of its own pair.
#[test]
fn connections_come_and_go_in_xdp() {
    let stage = Stage::on(cards(), &[WITH_XDP]);
    for _ in 0..200 {
        let mut client = connect(&stage.lab.client, HTTP);
        client.write_all(b"GET /one HTTP/1.1\r\nHost: stream.test\r\n\r\n").expect("sent");
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length: usize = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .and_then(|text| text.parse().ok())
            .expect("a length");
        std::io::Read::read_exact(&mut client, &mut vec![0; length]).expect("a body");
    }
    assert!(stage.packets("up_xdp") > 200, "what follows the answer is carried in XDP");
    stage.expect_connections("spliced", "opted-in", 200);
    stage.end();
}
