//! TLS that passes through, by its server name: the backend's own certificate is seen, and the kernel carries the bytes.

use super::{SOON, Stage, bound, connect, listen};
use lb_tests::agent::text;
use lb_tests::backend::pattern;
use lb_tests::client::{Connection, config};
use lb_tests::lab::{HTTPS, pod};
use lb_tests::manifest::{TestCertificate, annotated, ingress, service};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Bytes each way.
const BYTES: usize = 20_000_000;

/// Names that pass through, by each of the two annotations.
const NAMES: [&str; 2] = ["vault.test", "safe.test"];

struct Tls {
    stage: Stage,
    /// The backend's.
    certificate: TestCertificate,
    /// Ours, of `ended.test`.
    ours: TestCertificate,
}

impl Tls {
    fn new() -> Self {
        let stage = Stage::new();
        let version = stage.agent.version();
        let (certificate, ours) = (TestCertificate::new(&NAMES), TestCertificate::new(&["ended.test"]));
        serve(listen(&stage.lab.pods, pod(30, 8443)), Arc::new(certificate.server()));
        let nginx = "nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"";
        let ended = ingress("ended", "ended.test", &[("Prefix", "/", "site", 80)])
            .replace("spec:\n", "spec:\n  tls: [{hosts: [ended.test], secretName: ended}]\n");
        let manifests = [
            annotated("vault", "vault.test", ("vault", 443), nginx),
            annotated("safe", "safe.test", ("vault", 443), "sluice.dev/tls: passthrough"),
            service("vault", 443, &[pod(30, 8443)]),
            ended,
            ours.secret("ended"),
        ];
        stage.manifests.replace("tls.yaml", manifests.concat());
        stage.agent.wait_until("it serves", |agent| agent.version() > version);
        Self { stage, certificate, ours }
    }

    fn check(self, connections: u64) {
        self.stage.expect_connections("spliced", "passthrough", connections);
        let (up, down) = self.stage.translated();
        assert!(up >= connections && down >= connections, "the kernel carried them: {up} and {down} packets");
        self.stage.end();
    }
}

/// A TLS server on a thread for each connection: a length of 8 bytes and so many bytes are answered with the bytes, and GET
/// with an answer of HTTP. It ends with the test's process.
fn serve(listener: TcpListener, config: Arc<ServerConfig>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), config) = (stream, config.clone()) else { return };
            std::thread::spawn(move || {
                let session = ServerConnection::new(config).expect("the configuration is whole");
                // An error means that the client went away.
                let _ = answer(&mut StreamOwned::new(session, stream));
            });
        }
    });
}

fn answer(tls: &mut StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 8];
        tls.read_exact(&mut length)?;
        if length.starts_with(b"GET ") {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nvault";
            tls.write_all(answer.as_bytes())?;
            tls.conn.send_close_notify();
            tls.flush()?;
            // The rest of the request, so that closing resets nothing.
            return tls.read_to_end(&mut Vec::new()).map(drop);
        }
        let mut body = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap_or(0)];
        tls.read_exact(&mut body)?;
        tls.write_all(&body)?;
        tls.flush()?;
    }
}

fn echo(tls: &mut (impl Read + Write), body: &[u8]) {
    tls.write_all(&(body.len() as u64).to_be_bytes()).expect("sent");
    tls.write_all(body).and_then(|()| tls.flush()).expect("sent");
    let mut back = vec![0; body.len()];
    tls.read_exact(&mut back).expect("an echo");
    assert!(back == body, "other bytes came back");
}

#[test]
fn the_backends_own_certificate_is_seen_and_other_names_end_here() {
    let tls = Tls::new();
    for name in NAMES {
        let connection = Connection::tls(&tls.stage.lab.client, HTTPS, Some(name)).expect("a handshake");
        assert_eq!(connection.certificate().as_ref(), Some(&tls.certificate.der), "{name}");
        let is_listed = |_: &_| tls.stage.flows().iter().any(|flow| flow["service"] == "default/vault:443");
        tls.stage.agent.wait_until("the kernel carries it", is_listed);
        drop(connection);
    }
    let mut ended = Connection::tls(&tls.stage.lab.client, HTTPS, Some("ended.test")).expect("a handshake");
    assert_eq!(ended.certificate().as_ref(), Some(&tls.ours.der));
    assert_eq!(ended.get("ended.test", "/").expect("an answer").echo().header("x-forwarded-proto"), Some("https"));
    assert_eq!(tls.stage.connections("per-request", "tls-terminated-here"), 1);
    let lines = tls.stage.lines(3);
    let passed: Vec<_> = lines.iter().filter(|line| line["scheme"] == "tls").collect();
    assert_eq!(passed.len(), 2, "{lines:#?}");
    for line in passed {
        assert!(line["bytes_received"].as_u64() > Some(200) && line["bytes_sent"].as_u64() > Some(500), "{line:#}");
        assert_eq!(line["endpoint"], pod(30, 8443).to_string(), "{line:#}");
    }
    tls.check(2);
}

#[test]
fn curl_checks_the_certificate_by_either_version() {
    let tls = Tls::new();
    let files = lb_tests::scratch::Scratch::new();
    files.write("vault.crt", tls.certificate.pem());
    let ask = |version: &str| {
        let mut curl = tls.stage.lab.client.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", "vault.crt"]);
        curl.args([&format!("--tlsv{version}"), "--tls-max", version, "--resolve", "vault.test:443:10.1.0.1"]);
        curl.args(["--write-out", " %{http_code} %{ssl_verify_result}", "https://vault.test/"]);
        let output = curl.current_dir(files.path()).output().expect("curl runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "vault 200 0", "{version}: {}", text(&output));
    };
    ["1.2", "1.3"].into_iter().for_each(ask);
    tls.check(2);
}

#[test]
fn a_hello_in_pieces_is_put_together() {
    let tls = Tls::new();
    let mut stream = connect(&tls.stage.lab.client, HTTPS);
    let name = ServerName::try_from("vault.test").expect("a name");
    let mut session = ClientConnection::new(Arc::new(config().expect("a configuration")), name).expect("a session");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("memory takes all");
    for piece in hello.chunks(hello.len() / 9) {
        stream.write_all(piece).expect("sent");
        // So that each goes in a segment of its own, and is read alone.
        std::thread::sleep(Duration::from_millis(5));
    }
    while session.is_handshaking() {
        session.complete_io(&mut stream).expect("a handshake");
    }
    echo(&mut StreamOwned::new(session, stream), &pattern(100_000));
    tls.check(1);
}

#[test]
fn many_megabytes_pass_both_ways() {
    let tls = Tls::new();
    let name = ServerName::try_from("safe.test").expect("a name");
    let session = ClientConnection::new(Arc::new(config().expect("a configuration")), name).expect("a session");
    let stream = tls.stage.lab.client.connect(HTTPS).expect("the agent listens");
    bound(&stream);
    stream.set_read_timeout(Some(2 * SOON)).expect("an option of a socket");
    echo(&mut StreamOwned::new(session, stream), &pattern(BYTES));
    let flows = tls.stage.flows();
    let bytes = |name: &str| flows[0][name].as_u64().unwrap_or_default();
    assert!(bytes("bytes_up") > BYTES as u64 && bytes("bytes_down") > BYTES as u64, "{flows:#?}");
    tls.check(1);
}
