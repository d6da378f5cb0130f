//! Malformed requests over the wire: refused with 400, 414 or 431, the connection closed, and no backend sees them.
//!
//! Each case is bytes and the right status. After all of them, a good request works as before.

use lb_tests::agent::Setup;
use lb_tests::backend::Backends;
use lb_tests::client::{Connection, get};
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{identity, ingress, service};
use lb_tests::scratch::Scratch;

/// Name, bytes, status.
type Case = (&'static str, Vec<u8>, u16);

/// A request whose head is given after `Host`.
fn with_head(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n\r\n").into_bytes()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// RFC 9112 section 6: how long a message is must not be in doubt.
fn framing() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked";
    vec![
        ("both lengths", with_head(&format!("Content-Length: 4\r\n{chunked}\r\n\r\n0\r\n")), 400),
        ("both lengths, other order", with_head(&format!("{chunked}\r\nContent-Length: 4\r\n\r\n0\r\n")), 400),
        ("two lengths that differ", with_head("Content-Length: 4\r\nContent-Length: 5"), 400),
        ("two equal lengths", with_head("Content-Length: 4\r\nContent-Length: 4"), 400),
        ("a list of lengths", with_head("Content-Length: 4, 5"), 400),
        ("a signed length", with_head("Content-Length: +4"), 400),
        ("a negative length", with_head("Content-Length: -4"), 400),
        ("a hexadecimal length", with_head("Content-Length: 0x4"), 400),
        ("an empty length", with_head("Content-Length: "), 400),
        ("a length with a space inside", with_head("Content-Length: 1 2"), 400),
        ("a length beyond 64 bits", with_head("Content-Length: 99999999999999999999999"), 400),
        ("an unknown coding", with_head("Transfer-Encoding: cow"), 400),
        ("chunked is not last", with_head("Transfer-Encoding: chunked, gzip"), 400),
        ("chunked twice", with_head("Transfer-Encoding: chunked, chunked"), 400),
        ("a coding in disguise", with_head("Transfer-Encoding: \u{b}chunked"), 400),
        (
            "chunked in HTTP/1.0",
            bytes("POST / HTTP/1.0\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
    ]
}

/// RFC 9112 section 5 and RFC 9110 section 5.5: what a field may look like.
fn fields() -> Vec<Case> {
    vec![
        ("a space before the colon", with_head("X-A : b"), 400),
        ("a tab before the colon", with_head("X-A\t: b"), 400),
        ("no colon", with_head("X-A b"), 400),
        ("an empty name", with_head(": b"), 400),
        ("a space in a name", with_head("X A: b"), 400),
        ("a folded line", with_head("X-A: b\r\n c"), 400),
        ("a bare CR in a value", with_head("X-A: b\rc"), 400),
        ("a NUL in a value", with_head("X-A: b\0c"), 400),
        ("a NUL in a name", with_head("X-\0A: b"), 400),
        ("a control character in a value", with_head("X-A: b\u{1}c"), 400),
        ("a bare LF in a head", bytes("GET / HTTP/1.1\r\nHost: site.test\nX-A: b\r\n\r\n"), 400),
        ("only bare LFs", bytes("GET / HTTP/1.1\nHost: site.test\n\n"), 400),
        ("a line before the first field", bytes("GET / HTTP/1.1\r\n Host: site.test\r\n\r\n"), 400),
    ]
}

/// RFC 9112 section 3: request line, target, Host.
fn request_lines() -> Vec<Case> {
    vec![
        ("no Host", bytes("GET / HTTP/1.1\r\n\r\n"), 400),
        ("two Hosts", bytes("GET / HTTP/1.1\r\nHost: site.test\r\nHost: site.test\r\n\r\n"), 400),
        ("a Host with a path", bytes("GET / HTTP/1.1\r\nHost: site.test/x\r\n\r\n"), 400),
        ("a Host with a user", bytes("GET / HTTP/1.1\r\nHost: me@site.test\r\n\r\n"), 400),
        ("a Host with a space", bytes("GET / HTTP/1.1\r\nHost: site test\r\n\r\n"), 400),
        ("absolute-form against Host", bytes("GET http://other.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("two spaces", bytes("GET  / HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("a relative target", bytes("GET x HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("a method with a bracket", bytes("G(T / HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("no version", bytes("GET /\r\n\r\n"), 400),
        ("a version in lower case", bytes("GET / http/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("a control character in the target", bytes("GET /\u{1} HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("a broken escape", bytes("GET /%zz HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("an escaped NUL", bytes("GET /%00 HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("above the root", bytes("GET /../../etc/passwd HTTP/1.1\r\nHost: site.test\r\n\r\n"), 400),
        ("a TLS hello on the plain port", vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, b'\r', b'\n', b'\r', b'\n'], 400),
    ]
}

/// Limits: 32 KiB of head, 100 fields, 8 KiB of target (`config::Limits`).
fn limits() -> Vec<Case> {
    let many: String = (0..200).map(|n| format!("X-{n}: b\r\n")).collect();
    vec![
        ("a long target", format!("GET /{} HTTP/1.1\r\nHost: site.test\r\n\r\n", "a".repeat(9_000)).into_bytes(), 414),
        ("many fields", with_head(many.trim_end()), 431),
        ("a long field", with_head(&format!("X-A: {}", "b".repeat(40_000))), 431),
    ]
}

#[test]
fn malformed_requests_are_refused_and_never_forwarded() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let address = pod(10, 8080);
    manifests.write("site.yaml", ingress("site", "", &[("Prefix", "/", "site", 80)]));
    manifests.write("service.yaml", service("site", 80, &[address]));
    let backends = Backends::start(&lab.pods, vec![(address, identity("site", address))]);
    let agent = Setup::default().start(&lab, manifests.path());
    assert_eq!(get(&lab.client, HTTP, "site.test", "/").status, 200);

    let cases: Vec<Case> = [framing(), fields(), request_lines(), limits()].concat();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut faults = Vec::new();
    for (name, request, want) in &cases {
        if let Err(error) = refused(&lab, request, *want) {
            faults
                .push(format!("{name}: {error:#}: {:?}", String::from_utf8_lossy(&request[..request.len().min(200)])));
        }
        if backends.requests() != 1 {
            panic!("{name}: the backend saw it; faults so far: {faults:#?}");
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
    assert_eq!(get(&lab.client, HTTP, "site.test", "/").status, 200, "a good request works as before");
    assert_eq!(backends.requests(), 2);
    agent.stop();
}

fn refused(lab: &Lab, request: &[u8], want: u16) -> anyhow::Result<()> {
    let mut connection = Connection::plain(&lab.client, HTTP)?;
    connection.send(request)?;
    let response = connection.read_response(false)?;
    anyhow::ensure!(response.status == want, "answered {}, not {want}", response.status);
    connection.expect_close()
}
