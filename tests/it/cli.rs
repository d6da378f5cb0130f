//! The command line: what each command shows, in both forms, and the exit codes that scripts rely on.

use lb_tests::agent::{Agent, Setup, binary, text};
use lb_tests::lab::{Lab, pod};
use lb_tests::manifest::{TestCertificate, ingress, service};
use lb_tests::scratch::Scratch;
use serde_json::Value;
use std::process::{Command, Output};

/// A directory with a fault of every sort that an owner makes often, one object each, and a good Ingress among them.
const FAULTY: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: good, namespace: shop}
spec:
  rules:
  - host: good.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bad-host, namespace: shop}
spec:
  rules:
  - host: "not a host"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bad-path, namespace: shop}
spec:
  rules:
  - host: path.test
    http: {paths: [{path: relative, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bad-type, namespace: shop}
spec:
  rules:
  - host: type.test
    http: {paths: [{path: /, pathType: Suffix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: no-service, namespace: shop}
spec:
  rules:
  - host: lost.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: nowhere, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: no-port, namespace: shop}
spec:
  rules:
  - host: port.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: no-secret, namespace: shop}
spec:
  tls: [{hosts: [secret.test], secretName: nowhere}]
  rules:
  - host: secret.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: same-path, namespace: shop}
spec:
  rules:
  - host: good.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: resource, namespace: shop}
spec:
  defaultBackend: {resource: {apiGroup: k8s.example.com, kind: StorageBucket, name: static-assets}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.2.0.10], conditions: {ready: true}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
"#;

/// Object, a part of the field, and reason of every fault of [`FAULTY`].
const FAULTS: [(&str, &str, &str); 8] = [
    ("bad-host", "spec.rules[0].host", "InvalidHost"),
    ("bad-path", "spec.rules[0].http.paths[0].path", "InvalidPath"),
    ("bad-type", "spec.rules[0].http.paths[0].pathType", "InvalidPathType"),
    ("no-service", "spec.rules[0].http.paths[0].backend", "ServiceMissing"),
    ("no-port", "spec.rules[0].http.paths[0].backend", "ServicePortMissing"),
    ("no-secret", "spec.tls[0]", "SecretMissing"),
    ("same-path", "spec.rules[0].http.paths[0]", "PathConflict"),
    ("resource", "spec.defaultBackend", "ResourceBackend"),
];

fn sluice(arguments: &[&str]) -> Output {
    Command::new(binary("sluice")).args(arguments).output().expect("sluice runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn expect_parts(what: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{what} does not show {part:?}:\n{text}");
    }
}

#[test]
fn check_lists_every_fault_with_object_field_reason_and_remedy() {
    let manifests = Scratch::new();
    manifests.write("shop.yaml", FAULTY);
    let directory = manifests.path().display().to_string();

    let output = sluice(&["check", &directory, "--output", "json"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = report["problems"].as_array().expect("a list").clone();
    for (name, field, reason) in FAULTS {
        let found = problems.iter().find(|p| p["object"]["name"] == name && p["reason"] == reason);
        let problem = found.unwrap_or_else(|| panic!("{name}: no {reason} in {report:#}"));
        assert_eq!(problem["severity"], "fault", "{problem}");
        assert_eq!(problem["object"]["namespace"], "shop", "{problem}");
        assert!(problem["field"].as_str().is_some_and(|f| f.contains(field)), "field {field}: {problem}");
        for part in ["message", "remedy"] {
            assert!(problem[part].as_str().is_some_and(|t| t.len() > 10), "{part}: {problem}");
        }
        assert!(problem["place"]["file"].as_str().is_some_and(|f| f.ends_with("shop.yaml")), "{problem}");
        assert!(problem["place"]["line"].as_u64() > Some(0), "{problem}");
    }
    let faults = problems.iter().filter(|p| p["severity"] == "fault").count();
    assert_eq!(faults, FAULTS.len(), "no fault but these: {report:#}");
    assert_eq!(report["faults"], FAULTS.len());

    let output = sluice(&["check", &directory]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let said = stdout(&output);
    for (name, field, reason) in FAULTS {
        let line = said.lines().find(|line| line.contains(&format!("shop/{name}")) && line.contains(reason));
        let line = line.unwrap_or_else(|| panic!("{name}: no {reason} in:\n{said}"));
        expect_parts("a fault", line, &["fault: ", "shop.yaml:", field, "Remedy: "]);
    }
}

#[test]
fn check_passes_what_has_only_notes() {
    let manifests = Scratch::new();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";
    let good = ingress("good", "good.test", &[("Prefix", "/", "web", 80)]) + &service("web", 80, &[pod(10, 80)]);
    manifests.write("shop.yaml", good + deployment);
    let output = sluice(&["check", &manifests.path().display().to_string()]);
    assert!(output.status.success(), "{}", text(&output));
    expect_parts("check", &stdout(&output), &["note: ", "Deployment", "KindNotRead", "0 faults"]);
}

#[test]
fn bad_command_lines_are_64_with_every_fault() {
    let output = sluice(&["run", "--directory", "/nonexistent", "--workers", "0", "--http", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    expect_parts("run", &text(&output), &["/nonexistent", "--workers", "port 0"]);
    for arguments in [&["run"][..], &["no-such-command"], &["explain", "GET", "not-a-url", "--directory", "/tmp"]] {
        assert_eq!(sluice(arguments).status.code(), Some(64), "{arguments:?}");
    }
    let output = sluice(&["routes", "--run-dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    expect_parts("routes", &text(&output), &["/nonexistent"]);
}

#[test]
fn explain_reads_a_directory_without_an_agent() {
    let manifests = Scratch::new();
    manifests.write("shop.yaml", FAULTY);
    let directory = manifests.path().display().to_string();
    let explain = |url: &str| {
        let output = sluice(&["explain", "GET", url, "--directory", &directory, "--output", "json"]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let good = explain("http://good.test/cart");
    assert_eq!((&good["ingress"], &good["rule"]), (&"shop/good".into(), &"rules[0].paths[0]".into()), "{good:#}");
    assert_eq!(good["endpoints"][0]["address"], "10.2.0.10:8080", "{good:#}");
    assert_eq!(good["status"], Value::Null);
    assert_eq!(explain("http://lost.test/")["status"], 503);
    let nobody = explain("http://nobody.test/");
    assert_eq!((&nobody["status"], &nobody["rule"]), (&503.into(), &"defaultBackend".into()), "{nobody:#}");
}

fn agent() -> (Lab, Scratch, Agent) {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let site = ingress("shop", "shop.test", &[("Prefix", "/", "web", 80), ("Exact", "/api", "api", 8080)]);
    manifests.write("site.yaml", site.replace("spec:\n", "spec:\n  tls: [{hosts: [shop.test], secretName: shop}]\n"));
    manifests.write("web.yaml", service("web", 80, &[pod(10, 8080), pod(11, 8080)]));
    manifests.write("api.yaml", service("api", 8080, &[]));
    manifests.write("secret.yaml", TestCertificate::new(&["shop.test"]).secret("shop"));
    let agent = Setup::default().start(&lab, manifests.path());
    (lab, manifests, agent)
}

#[test]
fn nouns_show_what_serves() {
    let (_lab, _manifests, agent) = agent();
    let said = |noun: &str| {
        let output = agent.sluice(&[noun]);
        assert!(output.status.success(), "sluice {noun}: {}", text(&output));
        stdout(&output)
    };
    let json = |noun: &str| agent.json(&[noun]);

    let routes = ["shop.test", "Prefix /", "Exact /api", "default/shop", "rules[0].paths[1]", "default/web:80"];
    expect_parts("routes", &said("routes"), &routes);
    expect_parts("routes", &said("routes"), &["(2 endpoints)", "per-request", "several services"]);
    let rows = json("routes");
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows:#}");
    assert_eq!(rows[0]["class"]["class"], "per-request", "{rows:#}");
    assert_eq!(rows[0]["class"]["reason"], "several-backends", "{rows:#}");

    expect_parts(
        "backends",
        &said("backends"),
        &["default/web:80", "10.2.0.10:8080", "web-11", "IN WORK", "good", "default/api:8080"],
    );
    let rows = json("backends");
    assert_eq!(rows[1]["endpoints"][1]["pod"], "web-11", "{rows:#}");
    let state = &rows[1]["endpoints"][1];
    assert_eq!((&state["in_work"], &state["ejected_ms"], &state["weight"]), (&0.into(), &0.into(), &1000.into()));

    expect_parts("certs", &said("certs"), &["shop.test", "Secret default/shop"]);
    let rows = json("certs");
    assert_eq!(rows[0]["fingerprint"].as_str().map(str::len), Some(64), "{rows:#}");

    expect_parts("listeners", &said("listeners"), &["0.0.0.0:80", "[::]:443", "https", "sk_lookup"]);
    assert_eq!(json("listeners").as_array().map(Vec::len), Some(4));

    expect_parts("status", &said("status"), &["ready", "steering", "required", "directory"]);
    let status = json("status");
    assert_eq!((&status["readiness"], &status["steering"]["active"]), (&"ready".into(), &true.into()), "{status:#}");
    assert_eq!((&status["routes"], &status["certificates"]), (&2.into(), &1.into()), "{status:#}");

    expect_parts("problems", &said("problems"), &["NoEndpoints", "api"]);
    let rows = json("problems");
    assert!(rows[0]["message"].as_str().is_some_and(|m| m.contains("default/api")), "{rows:#}");
    agent.stop();
}

#[test]
fn explain_asks_the_agent() {
    let (_lab, _manifests, agent) = agent();
    let output = agent.sluice(&["explain", "GET", "https://shop.test/cart?x=1"]);
    assert!(output.status.success(), "{}", text(&output));
    let parts = ["default/shop", "rules[0].paths[0]", "GET /cart?x=1", "default/web:80", "10.2.0.10:8080 (web-10)"];
    expect_parts("explain", &stdout(&output), &parts);
    expect_parts("explain", &stdout(&output), &["per-request", "TLS ends here", "Secret default/shop"]);

    let answer = agent.json(&["explain", "GET", "http://shop.test/cart"]);
    assert_eq!((&answer["status"], &answer["location"]), (&308.into(), &"https://shop.test/cart".into()), "{answer:#}");
    let answer = agent.json(&["explain", "GET", "https://shop.test/api"]);
    assert_eq!((&answer["status"], &answer["service"]), (&503.into(), &"default/api:8080".into()), "{answer:#}");
    agent.stop();
}

#[test]
fn health_metrics_and_logs() {
    let (lab, _manifests, agent) = agent();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(agent.admin(&lab.balancer, path).map(|r| r.status), Some(200), "{path}");
    }
    let metrics = agent.admin(&lab.balancer, "/metrics").expect("metrics");
    assert!(
        metrics.header("content-type").is_some_and(|t| t.starts_with("application/openmetrics-text")),
        "{metrics:?}"
    );
    let body = metrics.text();
    assert!(body.ends_with("# EOF\n"), "OpenMetrics ends with # EOF:\n{body}");
    expect_parts("metrics", &body, &["# TYPE sluice_requests", "sluice_lookup_total{outcome=\"steered\"}"]);

    let mut connection = lb_tests::client::Connection::plain(&lab.client, lb_tests::lab::HTTP).expect("connect");
    let response = connection.get("nobody.test", "/private?token=1").expect("GET");
    assert_eq!(response.status, 404);
    agent.wait_until("the request is in the access log", |agent| agent.access_log().contains("nobody.test"));
    let log = agent.access_log();
    let line = log.lines().find(|line| line.contains("nobody.test")).expect("a line");
    expect_parts("the access log", line, &["10.1.0.2", "GET", " 404 "]);
    agent.stop();
}
