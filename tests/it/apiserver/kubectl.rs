//! The real kubectl copes with the stand-in.

use lb_tests::apiserver::ApiServer;
use lb_tests::kubectl::Kubectl;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  ingressClassName: sluice
  rules:
  - host: shop.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"#;

fn start() -> (ApiServer, Kubectl) {
    let server = ApiServer::start();
    let kubectl = Kubectl::new(&server.kubeconfig(server.admin_token()));
    (server, kubectl)
}

fn has(shown: &str, words: &[&str]) {
    for word in words {
        assert!(shown.contains(word), "no {word:?} in:\n{shown}");
    }
}

#[test]
fn apply_get_patch_and_delete() {
    let (server, kubectl) = start();
    let file = kubectl.file("shop.yaml", SHOP);
    let apply = ["apply", "-f", &file];
    has(
        &kubectl.ok(&apply),
        &["ingress.networking.k8s.io/web created", "service/web created", "namespace/shop created"],
    );
    has(&kubectl.ok(&apply), &["ingress.networking.k8s.io/web unchanged", "service/web unchanged"]);
    let file = kubectl.file("shop.yaml", &SHOP.replace("shop.test", "new.test"));
    has(&kubectl.ok(&["apply", "-f", &file, "--dry-run=server"]), &["web configured (server dry run)"]);
    has(&kubectl.ok(&["diff", "-f", &kubectl.file("same.yaml", SHOP)]), &[]);
    has(&kubectl.ok(&["apply", "-f", &file]), &["ingress.networking.k8s.io/web configured", "service/web unchanged"]);
    has(&kubectl.ok(&["-n", "shop", "get", "ing,svc", "-o", "wide"]), &["sluice", "new.test", "ClusterIP", "80/TCP"]);
    has(&kubectl.ok(&["get", "ing", "-A", "-o", "yaml"]), &["host: new.test", "kind: List", "pathType: Prefix"]);
    has(&kubectl.ok(&["get", "ing", "-A", "-l", "app=web", "-o", "name"]), &["ingress.networking.k8s.io/web"]);

    let web = |words: &[&str]| kubectl.ok(&[&["-n", "shop"], words].concat());
    let json = r#"[{"op": "replace", "path": "/spec/rules/0/host", "value": "json.test"}]"#;
    has(&web(&["patch", "ing", "web", "--type=json", "-p", json]), &["patched"]);
    let strategic = r#"{"spec": {"ports": [{"port": 443, "name": "https"}]}}"#;
    has(&web(&["patch", "svc", "web", "-p", strategic]), &["patched"]);
    has(&web(&["get", "svc", "web"]), &["443/TCP", "80/TCP"]);
    let status = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}"#;
    has(&web(&["patch", "ing", "web", "--subresource=status", "--type=merge", "-p", status]), &["patched"]);
    has(&web(&["get", "ing", "web"]), &["json.test", "192.0.2.1"]);
    has(&web(&["annotate", "ing", "web", "a=b"]), &["annotated"]);
    has(&web(&["label", "ing", "web", "c=d"]), &["labeled"]);
    has(&web(&["get", "ing", "web", "-o", "jsonpath={.metadata.annotations.a}{.metadata.labels.c}"]), &["bd"]);
    has(&web(&["delete", "ing", "web"]), &["deleted"]);
    let gone = kubectl.run(&["-n", "shop", "get", "ing", "web"]);
    has(
        &String::from_utf8_lossy(&gone.stderr),
        &[r#"Error from server (NotFound): ingresses.networking.k8s.io "web" not found"#],
    );
    has(&kubectl.ok(&["delete", "ns", "shop"]), &["deleted"]);
    assert!(server.list("Service", "shop").is_empty());
}

#[test]
fn apply_on_the_server() {
    let (server, kubectl) = start();
    let file = kubectl.file("shop.yaml", SHOP);
    let apply = ["apply", "--server-side", "-f", &file];
    has(&kubectl.ok(&apply), &["ingress.networking.k8s.io/web serverside-applied"]);
    let version = server.resource_version();
    has(&kubectl.ok(&apply), &["ingress.networking.k8s.io/web serverside-applied"]);
    assert_eq!(server.resource_version(), version, "nothing changed, so nothing was written");
    let patch = r#"{"spec": {"ingressClassName": "other"}}"#;
    has(&kubectl.ok(&["-n", "shop", "patch", "ing", "web", "--type=merge", "-p", patch]), &["patched"]);
    let refused = kubectl.run(&apply);
    assert!(!refused.status.success());
    has(&String::from_utf8_lossy(&refused.stderr), &[r#"conflict with "kubectl-patch": .spec.ingressClassName"#]);
    has(&kubectl.ok(&["apply", "--server-side", "--force-conflicts", "-f", &file]), &["web serverside-applied"]);
    assert_eq!(server.get("Ingress", "shop", "web").expect("it is there")["spec"]["ingressClassName"], "sluice");
}

#[test]
fn create_without_a_manifest() {
    let (server, kubectl) = start();
    has(&kubectl.ok(&["create", "namespace", "shop"]), &["namespace/shop created"]);
    let create = |words: &[&str]| kubectl.ok(&[&["-n", "shop", "create"], words].concat());
    has(&create(&["configmap", "conf", "--from-literal=a=b"]), &["configmap/conf created"]);
    has(&create(&["secret", "generic", "hidden", "--from-literal=user=me"]), &["secret/hidden created"]);
    has(&create(&["serviceaccount", "robot"]), &["serviceaccount/robot created"]);
    has(&create(&["ingress", "web", "--class=sluice", "--rule=shop.test/*=web:80,tls=cert"]), &["web created"]);
    has(&create(&["service", "clusterip", "web", "--tcp=80:8080"]), &["service/web created"]);
    assert!(create(&["token", "robot"]).starts_with("token-"));
    assert_eq!(server.get("ConfigMap", "shop", "conf").expect("made")["data"], json!({"a": "b"}));
    assert_eq!(server.get("Secret", "shop", "hidden").expect("made")["data"], json!({"user": "bWU="}));
    let spec = server.get("Ingress", "shop", "web").expect("made")["spec"].clone();
    let path = &spec["rules"][0]["http"]["paths"][0];
    assert_eq!((&spec["rules"][0]["host"], &path["pathType"]), (&json!("shop.test"), &json!("Prefix")), "{spec}");
    assert_eq!(
        (&path["backend"]["service"], &spec["tls"][0]),
        (&json!({"name": "web", "port": {"number": 80}}), &json!({"hosts": ["shop.test"], "secretName": "cert"}))
    );
    let port = server.get("Service", "shop", "web").expect("made")["spec"]["ports"][0].clone();
    assert_eq!((&port["port"], &port["targetPort"], &port["protocol"]), (&json!(80), &json!(8080), &json!("TCP")));

    let token = server.service_account("shop", "robot");
    let robot = Kubectl::new(&server.kubeconfig(&token));
    let may_not = robot.run(&["auth", "can-i", "list", "ingresses"]);
    assert_eq!(String::from_utf8_lossy(&may_not.stdout).trim(), "no");
    assert_eq!(kubectl.ok(&["auth", "can-i", "list", "ingresses"]).trim(), "yes");
    let refused = robot.run(&["get", "ingresses"]);
    has(
        &String::from_utf8_lossy(&refused.stderr),
        &["Error from server (Forbidden)", "system:serviceaccount:shop:robot"],
    );
}

#[test]
fn describe_shows_events_and_get_watches() {
    let (server, kubectl) = start();
    server.put(SHOP);
    let uid = server.get("Ingress", "shop", "web").expect("it is there")["metadata"]["uid"].clone();
    server.put_value(&json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "web.1", "namespace": "shop"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning", "reason": "Refused", "action": "Translate",
        "note": "the annotation says nothing", "reportingController": "sluice.dev/ingress", "reportingInstance": "node-1",
        "regarding": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "shop", "name": "web", "uid": uid},
    }));
    let shown = kubectl.ok(&["-n", "shop", "describe", "ingress", "web"]);
    has(&shown, &["shop.test", "web:80", "Warning", "Refused", "the annotation says nothing", "sluice.dev/ingress"]);
    has(&kubectl.ok(&["-n", "shop", "get", "events"]), &["Refused", "ingress/web", "the annotation says nothing"]);

    let mut watching = kubectl.command(&["-n", "shop", "get", "ing", "-w", "--no-headers"]);
    let mut child = watching.stdout(Stdio::piped()).spawn().expect("kubectl starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    has(&next(), &["web", "shop.test"]);
    server.edit("Ingress", "shop", "web", |web| web["spec"]["rules"][0]["host"] = json!("later.test"));
    has(&next(), &["web", "later.test"]);
    child.kill().and_then(|()| child.wait()).expect("it is ours");
}
