//! WebSockets through the agent, by `tungstenite` on both sides: messages, the closing handshake, the log, draining.

use futures_util::StreamExt;
use lb_tests::agent::{Agent, Setup};
use lb_tests::backend::pattern;
use lb_tests::client::Connection;
use lb_tests::lab::{HTTP, HTTPS, pod};
use lb_tests::site::Site;
use lb_tests::websocket::{ask, plain, tls};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

const URL: &str = "ws://site.test/socket?a=b";

struct Stage {
    agent: Agent,
    site: Site,
}

impl Stage {
    fn new() -> Self {
        let site = Site::new();
        // The tunnels of userspace are what is tested here; `splice/upgrade.rs` has those that the kernel carries.
        let setup = Setup::default().arg("--access-log").arg("json").arg("--splice-upgrades=off");
        let agent = setup.start(&site.lab, site.manifests.path());
        Self { agent, site }
    }

    fn metric(&self, name: &str) -> f64 {
        self.agent.metric(&self.site.lab.balancer, name)
    }
}

/// Runs a client, for as long as a test may wait.
fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), client).await.expect("in time") })
}

/// Messages of many kinds and sizes come back; then both sides close, with a reason.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let message = Message::binary(pattern(size));
        assert_eq!(ask(&mut socket, message.clone()).await.expect("an echo"), message, "{size} bytes");
    }
    let text = Message::text("Schleuse");
    assert_eq!(ask(&mut socket, text.clone()).await.expect("an echo"), text);
    let pong = ask(&mut socket, Message::Ping("here?".into())).await.expect("a pong");
    assert_eq!(pong, Message::Pong("here?".into()));
    let reason = CloseFrame { code: CloseCode::Away, reason: "enough".into() };
    socket.close(Some(reason.clone())).await.expect("closed");
    assert_eq!(socket.next().await.expect("an answer").expect("a message"), Message::Close(Some(reason)));
    assert!(socket.next().await.is_none(), "nothing comes after the end");
}

#[test]
fn messages_come_back_and_the_log_has_one_line_with_all_bytes() {
    let stage = Stage::new();
    run(async { talk(plain(&stage.site.lab.client, HTTP, URL).await.expect("a socket")).await });
    run(async { talk(tls(&stage.site.lab.client, HTTPS, URL).await.expect("a socket")).await });
    stage.agent.wait_until("two lines are written", |agent| agent.access_log().lines().count() >= 2);
    let log = stage.agent.access_log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (line, scheme) in lines.iter().zip(["http", "https"]) {
        assert_eq!((&line["status"], &line["error"], &line["scheme"]), (&101.into(), &Value::Null, &scheme.into()));
        assert_eq!((&line["target"], &line["endpoint"]), (&"/socket?a=b".into(), &pod(10, 8080).to_string().into()));
        let bytes = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line:#}"));
        // What was sent came back; clients mask, with four bytes a message (RFC 6455 section 5.3).
        assert!(bytes("bytes_received") > 1_131_323 && bytes("bytes_sent") > 1_131_323, "{line:#}");
    }
    assert_eq!(lines.len(), 2);
    assert_eq!((stage.metric("sluice_tunnels_total"), stage.metric("sluice_tunnels_active")), (2.0, 0.0));
    assert_eq!(stage.metric("sluice_responses_total{status=\"1xx\"}"), 2.0);
    stage.agent.stop();
}

#[test]
fn many_at_once() {
    let stage = Stage::new();
    run(async {
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(plain(&stage.site.lab.client, HTTP, URL).await.expect("a socket"));
        }
        for round in 0..10 {
            for (number, socket) in sockets.iter_mut().enumerate() {
                let message = Message::text(format!("{round} {number}"));
                assert_eq!(ask(socket, message.clone()).await.expect("an echo"), message);
            }
        }
        assert_eq!(stage.metric("sluice_tunnels_active"), 100.0);
    });
    stage.agent.wait_until("all are over", |_| stage.metric("sluice_tunnels_active") == 0.0);
    stage.agent.stop();
}

#[test]
fn a_version_that_the_backend_refuses_is_no_tunnel() {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.site.lab.client, HTTP).expect("connect");
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "777"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = connection.request("GET", "site.test", "/", &fields, b"").expect("an answer");
    assert_eq!((refused.status, refused.header("sec-websocket-version")), (426, Some("13")));
    // What follows is a request like any other, and is told who asked.
    let echo = connection.request("GET", "site.test", "/next", &[("X-Real-IP", "6.6.6.6")], b"").expect("GET").echo();
    assert_eq!((echo.path.as_str(), echo.header("x-real-ip")), ("/next", Some("10.1.0.2")));
    assert_eq!(stage.metric("sluice_tunnels_total"), 0.0);
    stage.agent.stop();
}

#[test]
fn a_socket_lives_on_while_the_agent_drains() {
    let mut stage = Stage::new();
    run(async {
        let mut socket = plain(&stage.site.lab.client, HTTP, URL).await.expect("a socket");
        stage.agent.signal(Signal::SIGTERM);
        stage.agent.wait_until("nobody listens", |_| Connection::plain(&stage.site.lab.client, HTTP).is_err());
        let message = Message::text("still here");
        assert_eq!(ask(&mut socket, message.clone()).await.expect("an echo"), message);
        socket.close(None).await.expect("closed");
        while let Some(message) = socket.next().await {
            assert!(matches!(message, Ok(Message::Close(_)) | Err(Error::ConnectionClosed)), "{message:?}");
        }
    });
    assert!(stage.agent.wait().success());
}
