//! What people see of connections that the kernel may carry: classes of routes, and `sluice flows` where it carries none.

use lb_tests::agent::{Setup, text};
use lb_tests::client::Connection;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{annotated, service};
use lb_tests::scratch::Scratch;
use serde_json::Value;

fn manifests() -> Scratch {
    let manifests = Scratch::new();
    manifests.write("stream.yaml", annotated("stream", "stream.test", ("web", 80), "sluice.dev/steering: connection"));
    manifests.write("vault.yaml", annotated("vault", "vault.test", ("web", 80), "sluice.dev/tls: passthrough"));
    let refused = "sluice.dev/steering: connection, nginx.ingress.kubernetes.io/rewrite-target: /x";
    manifests.write("refused.yaml", annotated("refused", "refused.test", ("web", 80), refused));
    manifests.write("web.yaml", service("web", 80, &[pod(10, 8080)]));
    manifests
}

#[test]
fn classes_are_shown_with_their_reasons() {
    let (lab, manifests) = (Lab::new(), manifests());
    let agent = Setup::default().arg("--splice=off").start(&lab, manifests.path());
    let rows = agent.json(&["routes"]);
    let shown: Vec<String> = rows
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            format!("{} {} {} {}", r["host"], r["kind"], r["class"]["reason"], r["upgrade"]["reason"]).replace('"', "")
        })
        .collect();
    let want = [
        "refused.test Regex per-request-filter upgrade",
        "stream.test Prefix opted-in upgrade",
        "vault.test TLS passthrough null",
        "vault.test Prefix not-opted-in upgrade",
    ];
    let mut sorted = shown.clone();
    sorted.sort();
    let mut want_sorted = want.map(str::to_owned).to_vec();
    want_sorted.sort();
    assert_eq!(sorted, want_sorted, "{rows:#}");
    let table = agent.sluice(&["routes"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for part in ["TLS passthrough", "TLS as it comes", "UPGRADES", "its owner allowed steering whole connections"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    let answer = agent.json(&["explain", "GET", "https://vault.test/a"]);
    assert_eq!((&answer["class"]["reason"], &answer["service"]), (&"passthrough".into(), &"default/web:80".into()));
    let problems = agent.json(&["problems"]);
    let told = problems.as_array().into_iter().flatten().find(|p| p["reason"] == "SteeringRefused");
    assert_eq!(told.map(|p| &p["object"]["name"]), Some(&Value::from("refused")), "{problems:#}");
    agent.stop();
}

#[test]
fn where_the_kernel_carries_nothing_flows_say_why() {
    let (lab, manifests) = (Lab::new(), manifests());
    let agent = Setup::default().arg("--splice=off").start(&lab, manifests.path());
    let output = agent.sluice(&["flows"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("none: the kernel carries no connections") && said.contains("--splice=off"), "{said}");
    let flows = agent.json(&["flows"]);
    assert_eq!((&flows["active"], flows["flows"].as_array().map(Vec::len)), (&false.into(), Some(0)), "{flows:#}");
    let status = agent.json(&["status"]);
    assert_eq!((&status["splicing"]["mode"], &status["splicing"]["active"]), (&"off".into(), &false.into()));

    let output = agent.sluice(&["flows", "reset", "--all"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("carries no connections"), "{}", text(&output));
    let output = agent.sluice(&["flows", "reset"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));

    // Nobody may end connections over TCP, where nobody is asked who it is.
    let metrics = agent.admin(&lab.balancer, "/metrics").expect("metrics").text();
    for line in ["sluice_flows 0", "sluice_splice_active 0", "sluice_splice_late_total 0"] {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
    assert_eq!(agent.admin(&lab.balancer, "/v1/flows").map(|r| r.status), Some(200));
    assert_eq!(agent.admin(&lab.balancer, "/v1/flows/reset?all").map(|r| r.status), Some(403));
    // And what would be carried is served all the same.
    let mut connection = Connection::plain(&lab.client, HTTP).expect("connect");
    assert_eq!(connection.get("refused.test", "/").expect("GET").status, 502);
    agent.stop();
}
