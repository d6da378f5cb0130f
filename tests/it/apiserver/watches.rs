//! Watches: order, selectors, bookmarks, streaming lists, and what is too old.

use super::client::Client;
use super::{CONFIG_MAPS, JSON, config_map};
use lb_tests::apiserver::ApiServer;
use serde_json::json;
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const STREAMING: &str = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

fn secret(name: &str, kind: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: {kind}\ndata: {{a: {value}}}\n")
}

#[test]
fn changes_after_a_version_in_order() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    client.ask("POST", CONFIG_MAPS, JSON, &config_map("a", &json!({})));
    let version = server.resource_version();
    client.ask("POST", CONFIG_MAPS, JSON, &config_map("b", &json!({})));
    let mut watch = client.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}"));
    assert_eq!(watch.short(), ("ADDED b".to_owned(), version + 1), "what was before the watch began");
    server.edit("ConfigMap", "default", "a", |map| map["data"] = json!({"x": "y"}));
    server.put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far, namespace: kube-system}\n");
    server.delete("ConfigMap", "default", "b");
    assert_eq!(watch.short(), ("MODIFIED a".to_owned(), version + 2));
    assert_eq!(watch.short(), ("DELETED b".to_owned(), version + 4), "a deletion is a version, too");

    let mut watch = client.watch("/api/v1/configmaps?watch=true");
    assert_eq!([watch.short().0, watch.short().0], ["ADDED a", "ADDED far"], "without a version: what is there first");
    let event = client.watch("/api/v1/configmaps?watch=true").next();
    assert_eq!((&event["object"]["kind"], &event["object"]["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
}

#[test]
fn objects_appear_and_disappear_by_selectors() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let version = server.resource_version();
    let path = format!("{SECRETS}?watch=1&fieldSelector=type%3Dkubernetes.io/tls&resourceVersion={version}");
    let mut watch = client.watch(&path);
    server.put(&secret("a", "Opaque", "eA=="));
    server.put(&secret("a", "kubernetes.io/tls", "eQ=="));
    server.put(&secret("a", "kubernetes.io/tls", "eg=="));
    server.put(&secret("a", "Opaque", "eA=="));
    server.put(&secret("b", "kubernetes.io/tls", "eA=="));
    assert_eq!(watch.short(), ("ADDED a".to_owned(), version + 2));
    assert_eq!(watch.short(), ("MODIFIED a".to_owned(), version + 3));
    let left = watch.next();
    assert_eq!(
        (&left["type"], &left["object"]["metadata"]["resourceVersion"]),
        (&json!("DELETED"), &json!((version + 4).to_string()))
    );
    assert_eq!(left["object"]["data"]["a"], "eg==", "the last state that was selected, at the version of the change");
    assert_eq!(watch.short().0, "ADDED b");
}

#[test]
fn bookmarks_streaming_lists_and_ends() {
    let server = ApiServer::start();
    server.faults().bookmark_every(Duration::from_millis(50));
    let mut client = Client::admin(&server);
    for name in ["a", "b"] {
        client.ask("POST", CONFIG_MAPS, JSON, &config_map(name, &json!({})));
    }
    let mut watch = client.watch(&format!("{CONFIG_MAPS}?{STREAMING}"));
    assert_eq!([watch.short().0, watch.short().0], ["ADDED a", "ADDED b"]);
    let bookmark = watch.next();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], server.resource_version().to_string());
    server.put(&secret("s", "Opaque", "eA=="));
    let newest = server.resource_version();
    while watch.short() != ("BOOKMARK".to_owned(), newest) {}
    let first = client.watch(&format!("{CONFIG_MAPS}?{}", STREAMING.replace("Events=true", "Events=false"))).next();
    assert_eq!(first["type"], "BOOKMARK", "sendInitialEvents=false begins with what comes");
    assert!(first["object"]["metadata"]["annotations"].is_null(), "{first}");

    for (query, code, reason) in [
        ("watch=1&sendInitialEvents=true", 422, "Invalid"),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, "Invalid"),
        ("watch=1&resourceVersion=1", 410, "Expired"),
        ("watch=1&resourceVersion=x", 400, "BadRequest"),
        ("watch=1&fieldSelector=data.x%3D1", 400, "BadRequest"),
    ] {
        server.compact();
        let (got, status) = client.get(&format!("{CONFIG_MAPS}?{query}"));
        assert_eq!((got, status["reason"].as_str()), (code, Some(reason)), "{query}: {status}");
    }
    server.faults().stream_expiry(true);
    let event = client.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).next();
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    server.faults().refuse_streaming_lists(true);
    assert_eq!(client.get(&format!("{CONFIG_MAPS}?{STREAMING}")).0, 422, "an older server");
    let version = server.resource_version();
    let mut watch = client.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}"));
    assert_eq!(watch.next_within(Duration::from_secs(5)), Ok(None), "its time is up");
}

#[test]
fn watches_by_http_1() {
    let server = ApiServer::start();
    let (url, token) = (server.url(), format!("Authorization: Bearer {}", server.admin_token()));
    let authority = server.service_account_dir(server.admin_token(), "default").join("ca.crt").display().to_string();
    let path = format!("{url}/api/v1/namespaces?watch=1&timeoutSeconds=1");
    let curl =
        ["-sS", "--http1.1", "--max-time", "10", "-w", "%{http_version}", "--cacert", &authority, "-H", &token, &path];
    let output = std::process::Command::new("curl").args(curl).output().expect("curl");
    let shown = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(output.status.success() && lines.len() == 5 && lines[4] == "1.1", "{shown}");
    assert!(
        lines[..4].iter().all(|line| line.starts_with(r#"{"type":"ADDED","object":{"kind":"Namespace""#)),
        "{shown}"
    );
}
