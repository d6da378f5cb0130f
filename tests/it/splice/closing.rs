//! The end of carried connections: one side first, thousands of them, and a 4-tuple that is used again at once.

use super::{SOON, Stage, bound, connect, listen, read_head};
use lb_tests::handoff::{ANSWER, expect};
use lb_tests::lab::{HTTP, pod};
use lb_tests::manifest::service;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Connections that finish by halves.
const RUNS: u64 = 10_000;

/// Clients at once.
const CLIENTS: u64 = 8;

/// Backends: each has the source ports for ten thousand connections a minute.
const BACKENDS: [u8; 4] = [40, 41, 42, 43];

/// Most bytes of a run.
const BYTES_MAX: u64 = 20_000;

/// Answers the first request, reads to the end, and only then sends everything back.
fn echo_after_end(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                bound(&stream);
                read_head(&mut stream);
                stream.write_all(ANSWER).expect("sent");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).expect("an end, not an error");
                stream.write_all(&all).expect("sent");
            });
        }
    });
}

/// One run; the bytes are told from those of others by their number.
fn half_close(stage: &Stage, run: u64) {
    let mut client = connect_here(HTTP);
    client.write_all(b"GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n").expect("sent");
    expect(&mut client, ANSWER);
    let size = run.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BYTES_MAX;
    let bytes: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(31) ^ run) as u8).collect();
    client.write_all(&bytes).expect("sent");
    client.shutdown(Shutdown::Write).expect("finished");
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap_or_else(|e| panic!("run {run}, {} of {size} bytes: {e}", back.len()));
    assert!(back == bytes, "run {run}: {} of {size} bytes came back; {:?}", back.len(), stage.flow(&client));
}

/// From a thread that is in the client's namespace.
fn connect_here(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, SOON).expect("the agent listens");
    bound(&stream);
    stream
}

#[test]
fn ten_thousand_finish_by_halves_and_lose_nothing() {
    let stage = Stage::new();
    let version = stage.agent.version();
    BACKENDS.iter().for_each(|number| echo_after_end(listen(&stage.lab.pods, pod(*number, 9000))));
    let pods = BACKENDS.map(|number| pod(number, 9000));
    stage.manifests.replace("services.yaml", service("raw", 80, &pods));
    stage.agent.wait_until("it serves", |agent| agent.version() > version);
    let (next, start) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                stage.lab.client.enter();
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= RUNS {
                        return;
                    }
                    half_close(&stage, run);
                }
            });
        }
    });
    println!("{RUNS} runs took {:?}", start.elapsed());
    stage.expect_connections("spliced", "opted-in", RUNS);
    stage.end();
}

/// A client's connection from a port of its own choice, ended by a reset when it is dropped, or in order.
fn connect_from(stage: &Stage, port: u16, with_reset: bool) -> TcpStream {
    let from = SocketAddr::from(([10, 1, 0, 2], port));
    let stream = stage.lab.client.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("an option of a socket");
            socket.bind(from).expect("the port is free again");
            let stream = socket.connect(HTTP).await.expect("the agent listens");
            if with_reset {
                stream.set_zero_linger().expect("an option of a socket");
            }
            stream.into_std().expect("no runtime holds it")
        })
    });
    stream.set_nonblocking(false).expect("an option of a socket");
    bound(&stream);
    stream
}

#[test]
fn a_port_that_is_used_again_at_once_is_another_connection() {
    let stage = Stage::new();
    let reused = |stage: &Stage| stage.metric("sluice_splice_packets_total{outcome=\"reused\"}");
    for (turn, with_reset) in [false, true, true, false, false].into_iter().enumerate() {
        let (mut client, mut backend) = stage.pair_of(connect_from(&stage, 7_000, with_reset));
        let word = format!("turn {turn}");
        client.write_all(word.as_bytes()).expect("sent");
        expect(&mut backend, word.as_bytes());
        if !with_reset {
            // The backend first: nobody who has said its last word to the client's port is left to wait.
            drop(backend);
            assert_eq!(client.read(&mut [0; 1]).expect("an end"), 0);
        }
        drop(client);
    }
    assert_eq!(reused(&stage), 4, "each one but the first found the port of one that was closing");
    stage.expect_connections("spliced", "opted-in", 5);
    // The line of each is written when its port goes to the next; the last one's after its grace.
    let errors: Vec<_> = stage.lines(5).iter().map(|line| line["error"].clone()).collect();
    let gone = serde_json::Value::from("client-gone");
    assert_eq!(errors, [serde_json::Value::Null, gone.clone(), gone, serde_json::Value::Null, serde_json::Value::Null]);
    stage.end();
}

#[test]
fn ends_of_both_sides_reach_each_other() {
    let stage = Stage::new();
    let mut client = connect(&stage.lab.client, HTTP);
    client.write_all(b"GET /close HTTP/1.1\r\nHost: stream.test\r\n\r\n").expect("sent");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("an end: the backend closes after this answer");
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.contains("\"path\":\"/close\""), "{all}");
    stage.expect_connections("spliced", "opted-in", 1);
    stage.end();
}
