//! What is asked of the API server, and what happens where it is not allowed.

use super::{Stage, in_namespace, site};
use lb_tests::lab::pod;
use lb_tests::manifest::{TestCertificate, service};
use std::collections::BTreeSet;

/// `verb resource namespace name` of every call of the agent, but for those of the leader's Lease: `report` is about these.
fn calls(stage: &Stage) -> BTreeSet<String> {
    let ours = stage.api.calls().into_iter().filter(|call| call.user == "system:serviceaccount:sluice-system:sluice");
    let ours = ours.filter(|call| call.resource != "leases");
    ours.map(|call| format!("{} {} {}/{}", call.verb, call.resource, call.namespace, call.name)).collect()
}

#[test]
fn only_secrets_that_are_named_are_read() {
    let stage = Stage::new();
    let authority = TestCertificate::new(&["ca.test"]);
    let opaque =
        |name: &str| authority.secret(name).replace("kubernetes.io/tls", "Opaque").replace("tls.crt", "ca.crt");
    stage.api.put(&opaque("authority"));
    stage.api.put(&opaque("secret"));
    stage.api.put(&opaque("foreign"));
    let annotated = |secret: &str| {
        let annotation =
            format!("namespace: default, annotations: {{nginx.ingress.kubernetes.io/auth-tls-secret: {secret}}}");
        site("site.test", "one").replace("namespace: default", &annotation)
    };
    stage.api.put(&annotated("default/authority"));
    // Of another class: nobody asks us.
    stage.api.put(
        &annotated("default/foreign").replace("name: site-test", "name: other").replace("Name: sluice", "Name: x"),
    );
    let agent = stage.start();
    let want = [
        "list ingressclasses /",
        "list ingresses /",
        "list secrets /",
        "list services /",
        "list endpointslices /",
        "watch ingressclasses /",
        "watch ingresses /",
        "watch secrets /",
        "watch services /",
        "watch endpointslices /",
        "watch secrets default/authority",
        "list secrets default/authority",
    ];
    let asked = calls(&stage);
    assert!(asked.iter().all(|call| want.contains(&call.as_str())), "{asked:?}");
    assert!(asked.contains("watch secrets default/authority"), "{asked:?}");
    let problems = agent.json(&["problems"]).to_string();
    assert!(!problems.contains("SecretMissing"), "{problems}");

    stage.api.forget_calls();
    stage.api.put(&annotated("default/secret"));
    agent.wait_until("the other Secret is asked for", |_| calls(&stage).contains("watch secrets default/secret"));
    let watches = "sluice_source_watches{kind=\"Secret\"}";
    agent.wait_until("the first one is let go", |agent| (stage.metric(agent, watches) - 2.0).abs() < 0.1);
    stage.api.delete("Ingress", "default", "site-test");
    agent.wait_until("both are let go", |agent| (stage.metric(agent, watches) - 1.0).abs() < 0.1);
    assert!(calls(&stage).iter().all(|call| !call.contains("foreign")));
}

#[test]
fn namespaces_are_named() {
    let stage = Stage::new();
    let of = |namespace: &str| {
        in_namespace(
            &(site(&format!("{namespace}.test"), "one") + "---\n" + &service("one", 80, &[pod(10, 8080)])),
            namespace,
        )
    };
    for namespace in ["a", "b", "c"] {
        stage.api.put(&of(namespace));
    }
    let agent = stage.start_as(Stage::setup().arg("--watch-namespace=a,b"));
    stage.expect("a.test", Ok("one"));
    stage.expect("b.test", Ok("one"));
    stage.expect("c.test", Err(404));
    let asked = calls(&stage);
    let outside = |call: &&String| !call.contains("ingressclasses") && !call.contains(" a/") && !call.contains(" b/");
    assert_eq!(asked.iter().find(outside), None);
    agent.stop();
}

#[test]
fn namespaces_are_selected_by_label() {
    let stage = Stage::new();
    let label = |namespace: &str, team: &str| {
        stage.api.edit("Namespace", "", namespace, |object| {
            object["metadata"]["labels"] = serde_json::json!({"team": team})
        });
    };
    for namespace in ["a", "b"] {
        let objects = site(&format!("{namespace}.test"), "one") + "---\n" + &service("one", 80, &[pod(10, 8080)]);
        stage.api.put(&in_namespace(&objects, namespace));
    }
    label("a", "web");
    let agent = stage.start_as(Stage::setup().arg("--watch-namespace-selector=team in (web,shop)"));
    stage.expect("a.test", Ok("one"));
    stage.expect("b.test", Err(404));
    label("b", "shop");
    stage.wait(&agent, "b.test", Ok("one"));
    label("a", "none");
    stage.wait(&agent, "a.test", Err(404));
    stage.expect("b.test", Ok("one"));
}

#[test]
fn what_is_not_allowed_is_named() {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    stage.api.edit("ClusterRole", "", "sluice", |role| {
        role["rules"][1]["resources"] = serde_json::json!(["services", "configmaps"]);
    });
    let mut agent = stage.spawn();
    agent.wait_until("it says what it needs", |agent| agent.log().contains("may not be read"));
    assert_eq!(stage.ready(&agent), Some(503));
    let contact = agent.json(&["status"])["contact"].clone();
    let failure = contact["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("403") && failure.contains("resources: [\"secrets\"]"), "{failure}");
    let waits = contact["waits_for"].to_string();
    assert!(waits.contains("Secret") && !waits.contains("Service"), "{waits}");

    stage.api.edit("ClusterRole", "", "sluice", |role| {
        role["rules"][1]["resources"] = serde_json::json!(["services", "secrets"]);
    });
    agent.wait_ready(&stage.lab.balancer);
    stage.expect("site.test", Ok("one"));

    // The parts that are not needed are told, and do not stop anything.
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: sluice}\nspec:\n  controller: \
                 sluice.dev/ingress\n  parameters: {kind: ConfigMap, name: m, namespace: default, scope: Namespace}\n";
    stage.api.put(class);
    agent.wait_until("it is a Problem", |agent| agent.json(&["problems"]).to_string().contains("Forbidden"));
    let text = String::from_utf8(agent.sluice(&["problems"]).stdout).expect("text");
    assert!(text.contains("a Role in namespace default") && text.contains("configmaps"), "{text}");
    stage.expect("site.test", Ok("one"));
}
