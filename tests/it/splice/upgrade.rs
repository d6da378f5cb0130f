//! WebSockets in the clear: the kernel carries them from the 101 on; what is refused stays a request like any other.

use super::{Stage, bound, connect, read_head};
use lb_tests::backend::pattern;
use lb_tests::client::Connection;
use lb_tests::handoff::expect;
use lb_tests::lab::HTTP;
use lb_tests::websocket::{ask, plain};
use std::io::Write;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const URL: &str = "ws://site.test/socket";

/// Messages of one connection.
const MESSAGES: usize = 300;

/// Talks, and gives the connection back open.
fn talk(stage: &Stage, then: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = async {
        let mut socket = plain(&stage.lab.client, HTTP, URL).await.expect("a socket");
        for size in [0, 125, 126, 65_536, 1_000_000].into_iter().chain(1..MESSAGES) {
            let message = Message::binary(pattern(size));
            assert_eq!(ask(&mut socket, message.clone()).await.expect("an echo"), message, "{size} bytes");
        }
        then();
        socket.close(None).await.expect("closed");
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {}
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), client).await.expect("in time") });
}

#[test]
fn a_socket_is_carried_from_the_agreement_on() {
    let stage = Stage::new();
    talk(&stage, || {
        let flows = stage.flows();
        assert_eq!((flows.len(), &flows[0]["status"]), (1, &101.into()), "{flows:#?}");
    });
    let (up, down) = stage.translated();
    assert!(up as usize >= MESSAGES && down as usize >= MESSAGES, "{up} and {down} packets");
    assert_eq!((stage.connections("spliced", "upgrade"), stage.metric("sluice_tunnels_total")), (1, 0));
    let [line] = &stage.lines(1)[..] else { panic!("one line") };
    assert_eq!((&line["status"], &line["target"]), (&101.into(), &"/socket".into()), "{line:#}");
    assert!(
        line["bytes_sent"].as_u64() > Some(1_066_000) && line["bytes_received"].as_u64() > Some(1_066_000),
        "{line:#}"
    );
    stage.end();
}

#[test]
fn an_upgrade_after_other_requests_is_carried() {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connect");
    assert_eq!(connection.get("site.test", "/").expect("an answer").status, 200);
    assert_eq!(connection.request("GET", "site.test", "/", &ASKED, b"").expect("an answer").status, 101);
    // A ping without payload, masked by zeroes, and its pong (RFC 6455 section 5.5).
    connection.send(&[0x89, 0x80, 0, 0, 0, 0]).expect("sent");
    stage.agent.wait_until("it passed through the kernel", |_| stage.translated().0 >= 1 && stage.flows().len() == 1);
    stage.end();
}

#[test]
fn upgrades_can_be_left_to_userspace() {
    let stage = Stage::with(&["--splice-upgrades=off"]);
    talk(&stage, || assert!(stage.flows().is_empty()));
    assert_eq!((stage.translated(), stage.metric("sluice_tunnels_total")), ((0, 0), 1));
    assert_eq!(stage.connections("per-request", "upgrades-off"), 1);
    stage.end();
}

const ASKED: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What the backend answers instead of 101 reaches the client to the byte, and so does the next request the backend.
fn check_refused(splice: &str, answer: &str) -> (String, String) {
    let stage = Stage::with(&[splice]);
    let mut client = connect(&stage.lab.client, HTTP);
    let asked: String = ASKED.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(client, "GET /one HTTP/1.1\r\nHost: raw.test\r\nX-Request-ID: 1\r\n{asked}\r\n").expect("sent");
    let (mut backend, _) = stage.raw.accept().expect("the agent dials");
    bound(&backend);
    let one = read_head(&mut backend);
    backend.write_all(answer.as_bytes()).expect("sent");
    let head = read_head(&mut client);
    expect(&mut client, b"refused\n");
    client
        .write_all(b"GET /two HTTP/1.1\r\nHost: raw.test\r\nX-Request-ID: 2\r\nX-Real-IP: 6.6.6.6\r\n\r\n")
        .expect("sent");
    // What declined to switch may think otherwise, so it is asked nothing else.
    let (mut backend, _) = stage.raw.accept().expect("the agent dials again");
    bound(&backend);
    let two = read_head(&mut backend);
    assert!(two.contains("10.1.0.2") && !two.contains("6.6.6.6"), "userspace sees it: {two}");
    assert_eq!(stage.translated(), (0, 0));
    if splice == "--splice=required" {
        assert_eq!(stage.metric("sluice_splice_refused_total{reason=\"dirty\"}"), 1);
        assert_eq!(stage.connections("per-request", "dirty"), 1);
        // An agent that ends in order waits for the answer to the second.
        drop((client, backend));
        stage.end();
    }
    (format!("{one}{two}"), head)
}

#[test]
fn what_is_refused_is_the_same_to_the_byte() {
    for status in ["200 OK", "400 Bad Request", "426 Upgrade Required"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: raw\r\nContent-Length: 8\r\n\r\nrefused\n"
        );
        assert_eq!(check_refused("--splice=required", &answer), check_refused("--splice=off", &answer), "{status}");
    }
}
