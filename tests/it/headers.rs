//! Header fields on the way to the backend and back: what is added, what is taken out, what goes through untouched.

use lb_tests::agent::{Agent, Setup};
use lb_tests::backend::pattern;
use lb_tests::client::Connection;
use lb_tests::echo::{Echo, fnv1a};
use lb_tests::lab::{HTTP, HTTPS};
use lb_tests::site::Site;
use std::collections::BTreeSet;

/// Address of the client in the lab.
const CLIENT: &str = "10.1.0.2";

struct Stage {
    agent: Agent,
    site: Site,
}

impl Stage {
    fn new() -> Self {
        let site = Site::new();
        Self { agent: Setup::default().start(&site.lab, site.manifests.path()), site }
    }

    fn ask(&self, headers: &[(&str, &str)]) -> Echo {
        let mut connection = Connection::plain(&self.site.lab.client, HTTP).expect("connect");
        let response = connection.request("GET", "site.test", "/a?b=c", headers, b"").expect("GET");
        assert_eq!(response.status, 200, "{response:?}");
        response.echo()
    }
}

#[test]
fn the_backend_learns_who_asked_and_how() {
    let stage = Stage::new();
    let echo = stage.ask(&[]);
    let check = |echo: &Echo, name: &str, want: &str| assert_eq!(echo.header(name), Some(want), "{name}: {echo:?}");
    check(&echo, "x-forwarded-for", CLIENT);
    check(&echo, "x-real-ip", CLIENT);
    check(&echo, "x-forwarded-proto", "http");
    check(&echo, "x-forwarded-host", "site.test");
    check(&echo, "x-forwarded-port", "80");
    check(&echo, "host", "site.test");

    let mut connection = Connection::tls(&stage.site.lab.client, HTTPS, Some("site.test")).expect("TLS");
    let echo = connection.get("site.test", "/").expect("GET").echo();
    check(&echo, "x-forwarded-proto", "https");
    check(&echo, "x-forwarded-port", "443");
    check(&echo, "x-forwarded-for", CLIENT);
    stage.agent.stop();
}

#[test]
fn what_a_client_claims_about_itself_is_not_believed() {
    let stage = Stage::new();
    let echo = stage.ask(&[
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Real-IP", "1.2.3.4"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "bank.test"),
        ("X-Forwarded-Port", "443"),
    ]);
    for (name, want) in [
        ("x-forwarded-for", CLIENT),
        ("x-real-ip", CLIENT),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "site.test"),
        ("x-forwarded-port", "80"),
    ] {
        assert_eq!(echo.header(name), Some(want), "{name}: {echo:?}");
    }
    stage.agent.stop();
}

#[test]
fn every_request_has_an_identifier_and_keeps_one_that_it_has() {
    let stage = Stage::new();
    let identifiers: BTreeSet<String> =
        (0..20).map(|_| stage.ask(&[]).header("x-request-id").expect("an identifier").to_owned()).collect();
    assert_eq!(identifiers.len(), 20, "{identifiers:?}");
    assert!(identifiers.iter().all(|id| id.len() >= 16), "{identifiers:?}");
    assert_eq!(stage.ask(&[("X-Request-ID", "from-the-client-1")]).header("x-request-id"), Some("from-the-client-1"));
    stage.agent.stop();
}

#[test]
fn hop_by_hop_fields_end_here() {
    let stage = Stage::new();
    let echo = stage.ask(&[
        ("Connection", "keep-alive, X-Secret"),
        ("X-Secret", "for the next hop only"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("Trailer", "X-Sum"),
        ("X-Kept", "one"),
        ("X-Kept", "two"),
    ]);
    for name in ["x-secret", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"] {
        assert!(!echo.headers.contains_key(name), "{name} reached the backend: {echo:?}");
    }
    assert_eq!(echo.headers["x-kept"], ["one", "two"], "fields that are not hop-by-hop keep their order");
    assert_eq!(echo.path, "/a?b=c");
    stage.agent.stop();
}

#[test]
fn bodies_pass_whole_in_both_directions() {
    let stage = Stage::new();
    let body = pattern(3_000_000);
    let mut connection = Connection::plain(&stage.site.lab.client, HTTP).expect("connect");
    // Requests may have a mebibyte where no annotation says otherwise; responses are not bounded.
    let sent = &body[..1_000_000];
    let echo = connection.request("POST", "site.test", "/", &[], sent).expect("POST").echo();
    assert_eq!((echo.body_bytes, echo.body_fnv1a), (sent.len(), fnv1a(sent)), "with Content-Length");

    connection
        .send(b"PUT / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
        .expect("send");
    let echo = connection.read_response(false).expect("PUT").echo();
    assert_eq!((echo.body_bytes, echo.body_fnv1a), (11, fnv1a(b"hello world")), "chunked");

    let response = connection.get("site.test", "/bytes/3000000").expect("GET");
    assert_eq!(response.body, body);
    assert_eq!(connection.get("site.test", "/slow-body").expect("GET").body.len(), 10_000, "chunked");
    let response = connection.request("HEAD", "site.test", "/bytes/1000", &[], b"").expect("HEAD");
    assert_eq!((response.status, response.header("content-length")), (200, Some("1000")));
    assert_eq!(connection.get("site.test", "/status/503").expect("GET").status, 503, "a backend's own status");
    assert_eq!(connection.get("site.test", "/close").expect("GET").status, 200);
    assert_eq!(connection.get("site.test", "/").expect("the client's connection is its own").status, 200);
    stage.agent.stop();
}

#[test]
fn the_client_is_told_to_go_on_when_it_asks() {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.site.lab.client, HTTP).expect("connect");
    connection
        .send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .expect("send");
    assert_eq!(connection.read_head().expect("an interim answer").status, 100);
    connection.send(b"hello").expect("send");
    assert_eq!(connection.read_response(false).expect("the answer").echo().body_bytes, 5);
    stage.agent.stop();
}
