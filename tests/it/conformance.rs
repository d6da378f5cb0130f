//! The thirty cases of the Kubernetes Ingress conformance suite, in its order, over real sockets.
//!
//! The manifests are `tests/data/conformance/*.yaml`. Each test starts the agent on one of them and plays its cases.

use lb_tests::agent::{Agent, Setup};
use lb_tests::backend::Backends;
use lb_tests::client::{Connection, Response, get};
use lb_tests::lab::{HTTP, HTTPS, Lab, pod};
use lb_tests::manifest::{TestCertificate, identity};
use lb_tests::scratch::Scratch;
use std::collections::BTreeSet;
use std::path::Path;

/// Port that every pod of these manifests listens on.
const PORT: u16 = 3000;

struct Stage {
    agent: Agent,
    _manifests: Scratch,
    backends: Backends,
    lab: Lab,
}

/// Serves one file of manifests, with the given pods (service, last byte of the address) and more documents.
fn stage(file: &str, pods: &[(&str, u8)], more: &str) -> Stage {
    let lab = Lab::new();
    let manifests = Scratch::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/conformance").join(file);
    manifests.write(file, std::fs::read(&path).expect("the manifests of the suite are there"));
    manifests.write("more.yaml", more);
    let server = |(service, number): &(&str, u8)| (pod(*number, PORT), identity(service, pod(*number, PORT)));
    let backends = Backends::start(&lab.pods, pods.iter().map(server).collect());
    let agent = Setup::default().start(&lab, manifests.path());
    Stage { agent, _manifests: manifests, backends, lab }
}

impl Stage {
    /// GETs and compares: a service that must have answered, or the status of an answer of our own.
    fn check(&self, case: u8, host: &str, path: &str, want: Result<&str, u16>) {
        let response = get(&self.lab.client, HTTP, host, path);
        match want {
            Ok(service) => expect_service(case, &response, host, service),
            Err(status) => assert_eq!(response.status, status, "case {case}: {host}{path}: {response:?}"),
        }
    }
}

fn expect_service(case: u8, response: &Response, host: &str, service: &str) {
    assert_eq!((response.status, response.minor_version), (200, 1), "case {case}: {response:?}");
    let echo = response.echo();
    assert_eq!(echo.identity.service, service, "case {case}");
    assert_eq!(echo.host, host, "case {case}");
}

#[test]
fn cases_1_to_6_default_backend() {
    let stage = stage("default-backend.yaml", &[("echo-service", 10)], "");
    let cases = [
        (1, "GET", "my-host", "/"),
        (2, "GET", "my-host", "/sub-path"),
        (3, "POST", "some-host", "/"),
        (4, "PUT", "", "/resource"),
        (5, "DELETE", "some-host", "/resource"),
        (6, "PATCH", "my-host", "/resource"),
    ];
    for (case, method, host, path) in cases {
        // "No host" is a request to the address itself.
        let host = if host.is_empty() { "10.1.0.1" } else { host };
        let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connect");
        let body: &[u8] = if matches!(method, "POST" | "PUT" | "PATCH") { b"{}" } else { b"" };
        let response = connection
            .request(method, host, path, &[("User-Agent", "Go-http-client/1.1")], body)
            .unwrap_or_else(|error| panic!("case {case}: {error:#}"));
        expect_service(case, &response, host, "echo-service");
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(response.header(name).is_some(), "case {case}: no {name} in {response:?}");
        }
        let echo = response.echo();
        assert_eq!((echo.method.as_str(), echo.path.as_str()), (method, path), "case {case}");
        assert_eq!(echo.proto, "HTTP/1.1", "case {case}");
        assert_eq!(echo.header("user-agent"), Some("Go-http-client/1.1"), "case {case}");
    }
    stage.agent.stop();
}

#[test]
fn cases_7_to_12_hosts_and_tls() {
    let certificate = TestCertificate::new(&["foo.bar.com"]);
    let pods = [("wildcard-foo-com", 10), ("foo-bar-com", 11)];
    let stage = stage("host-rules.yaml", &pods, &certificate.secret("conformance-tls"));

    let https = |case| {
        let mut connection = Connection::tls(&stage.lab.client, HTTPS, Some("foo.bar.com")).expect("TLS");
        assert_eq!(connection.certificate().as_ref(), Some(&certificate.der), "case {case}: another certificate");
        let response = connection.get("foo.bar.com", "/").expect("GET over TLS");
        expect_service(case, &response, "foo.bar.com", "foo-bar-com");
    };
    https(7);
    let redirect = get(&stage.lab.client, HTTP, "foo.bar.com", "/");
    if redirect.status == 308 {
        // As a client that follows it does: to port 443 of the name that the redirect gives.
        assert_eq!(redirect.header("location"), Some("https://foo.bar.com"), "case 8: {redirect:?}");
        https(8);
    } else {
        expect_service(8, &redirect, "foo.bar.com", "foo-bar-com");
    }
    stage.check(9, "subdomain.bar.com", "/", Err(404));
    stage.check(10, "bar.foo.com", "/", Ok("wildcard-foo-com"));
    stage.check(11, "baz.bar.foo.com", "/", Err(404));
    stage.check(12, "foo.com", "/", Err(404));
    stage.agent.stop();
}

#[test]
fn case_13_another_class_is_not_served() {
    let stage = stage("ingress-class.yaml", &[("echo-service", 10)], "");
    stage.check(13, "my-host", "/", Err(404));
    assert_eq!(stage.backends.requests(), 0);
    let problems = stage.agent.json(&["problems"]).to_string();
    assert!(problems.contains("test-ingress-class") && problems.contains("some-invalid-class-name"), "{problems}");
    stage.agent.stop();
}

#[test]
fn case_14_every_pod_is_seen() {
    let pods: Vec<(&str, u8)> = (10..20).map(|number| ("echo-service", number)).collect();
    let stage = stage("load-balancing.yaml", &pods, "");
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let response = get(&stage.lab.client, HTTP, "load-balancing", "/");
        expect_service(14, &response, "load-balancing", "echo-service");
        seen.insert(response.echo().identity.pod);
    }
    assert_eq!(seen.len(), 10, "pods seen: {seen:?}");
    stage.agent.stop();
}

#[test]
fn cases_15_to_30_paths() {
    let services = [
        ("foo-exact", 10),
        ("foo-prefix", 11),
        ("aaa-slash-bbb-prefix", 12),
        ("aaa-prefix", 13),
        ("aaa-slash-bbb-slash-prefix", 14),
        ("foo-slash-exact", 15),
    ];
    let stage = stage("path-rules.yaml", &services, "");
    let cases = [
        (15, "exact-path-rules", "/foo", Ok("foo-exact")),
        (16, "exact-path-rules", "/foo/", Err(404)),
        (17, "exact-path-rules", "/FOO", Err(404)),
        (18, "exact-path-rules", "/bar", Err(404)),
        (19, "prefix-path-rules", "/foo", Ok("foo-prefix")),
        (20, "prefix-path-rules", "/foo/", Ok("foo-prefix")),
        (21, "prefix-path-rules", "/FOO", Err(404)),
        (22, "prefix-path-rules", "/aaa/bbb", Ok("aaa-slash-bbb-prefix")),
        (23, "prefix-path-rules", "/aaa/bbb/ccc", Ok("aaa-slash-bbb-prefix")),
        (24, "prefix-path-rules", "/aaa/ccc", Ok("aaa-prefix")),
        (25, "prefix-path-rules", "/aaaccc", Err(404)),
        (26, "prefix-path-rules", "/foo/", Ok("foo-prefix")),
        (27, "mixed-path-rules", "/foo", Ok("foo-exact")),
        (28, "trailing-slash-path-rules", "/aaa/bbb", Ok("aaa-slash-bbb-slash-prefix")),
        (29, "trailing-slash-path-rules", "/aaa/bbb/", Ok("aaa-slash-bbb-slash-prefix")),
        (30, "trailing-slash-path-rules", "/foo", Err(404)),
    ];
    for (case, host, path, want) in cases {
        stage.check(case, host, path, want);
    }
    stage.agent.stop();
}
