//! Creating, changing and deleting: codes, reasons, versions and generations.

use super::client::Client;
use super::{CONFIG_MAPS, INGRESSES, JSON, config_map, ingress};
use lb_tests::apiserver::ApiServer;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

#[test]
fn codes_and_reasons() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let cm = |name: &str| format!("{CONFIG_MAPS}/{name}");
    let apple = config_map("apple", &json!({"a": "1"}));
    let stale = json!({"metadata": {"name": "apple", "resourceVersion": "1"}}).to_string();
    let no_type =
        json!({"metadata": {"name": "x"}, "spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}}).to_string();
    let event =
        json!({"metadata": {"name": "x"}, "regarding": {"namespace": "default"}, "note": "n".repeat(1025)}).to_string();
    let lease = json!({"metadata": {"name": "x"}, "spec": {"leaseDurationSeconds": 0}}).to_string();
    let long = config_map("long", &json!({"a": "x".repeat(4 << 20)}));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let elsewhere = "/api/v1/namespaces/nowhere/configmaps";
    let wrong_kind = apple.replace("ConfigMap", "Secret");
    let wrong_version = apple.replace(r#""apiVersion":"v1""#, r#""apiVersion":"v2""#);
    let other_namespace = json!({"metadata": {"name": "x", "namespace": "kube-system"}}).to_string();
    let uid = json!({"preconditions": {"uid": "nobody"}}).to_string();
    for (method, path, kind, body, code, reason) in [
        ("POST", CONFIG_MAPS.to_owned(), JSON, apple.as_str(), 201, ""),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &apple, 409, "AlreadyExists"),
        ("GET", cm("apple"), "", "", 200, ""),
        ("GET", cm("pear"), "", "", 404, "NotFound"),
        ("GET", "/apis/nobody.test/v1/things".to_owned(), "", "", 404, "NotFound"),
        ("GET", cm("apple/status"), "", "", 404, "NotFound"),
        ("POST", elsewhere.to_owned(), JSON, &apple, 404, "NotFound"),
        ("PUT", cm("pear"), JSON, &config_map("pear", &json!({})), 404, "NotFound"),
        ("PUT", cm("apple"), JSON, &stale, 409, "Conflict"),
        ("PUT", cm("apple"), JSON, &config_map("pear", &json!({})), 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, "[", 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &wrong_kind, 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &wrong_version, 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &other_namespace, 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &stale, 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, r#"{"metadata":{"name":"A_b"}}"#, 422, "Invalid"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, r#"{"metadata":{}}"#, 422, "Invalid"),
        ("POST", CONFIG_MAPS.to_owned(), "application/vnd.kubernetes.protobuf", "k8s", 400, "BadRequest"),
        ("POST", CONFIG_MAPS.to_owned(), "text/plain", "k8s", 415, "UnsupportedMediaType"),
        ("POST", CONFIG_MAPS.to_owned(), JSON, &long, 413, "RequestEntityTooLarge"),
        ("POST", INGRESSES.to_owned(), JSON, &no_type, 422, "Invalid"),
        ("POST", events.to_owned(), JSON, &event, 422, "Invalid"),
        ("POST", leases.to_owned(), JSON, &lease, 422, "Invalid"),
        ("PATCH", cm("apple"), JSON, "{}", 415, "UnsupportedMediaType"),
        ("PATCH", cm("pear"), MERGE, "{}", 404, "NotFound"),
        ("PATCH", cm("apple"), MERGE, r#"{"metadata":{"resourceVersion":"1"}}"#, 409, "Conflict"),
        ("PATCH", cm("apple"), "application/json-patch+json", r#"[{"op":"remove","path":"/x"}]"#, 422, "Invalid"),
        ("PATCH", cm("apple"), APPLY, &apple, 422, "Invalid"),
        ("DELETE", cm("apple"), JSON, &uid, 409, "Conflict"),
        ("DELETE", cm("apple"), "", "", 200, ""),
        ("DELETE", cm("apple"), "", "", 404, "NotFound"),
    ] {
        let (got, answer) = client.ask(method, &path, kind, body);
        let shown: String = body.chars().take(80).collect();
        assert_eq!((got, answer["reason"].as_str().unwrap_or("")), (code, reason), "{method} {path} {shown}: {answer}");
        if code >= 400 {
            assert_eq!(
                (&answer["kind"], &answer["status"], &answer["code"]),
                (&json!("Status"), &json!("Failure"), &json!(code))
            );
        }
    }
    client.token = "nobody's".to_owned();
    assert_eq!(client.get(CONFIG_MAPS).0, 401);
    assert_eq!(client.get("/readyz").0, 200, "health is for everyone");
}

#[test]
fn versions_generations_and_the_status() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let path = format!("{INGRESSES}/shop");
    let status = format!("{path}/status");
    let (code, made) = client.ask("POST", INGRESSES, JSON, &ingress("shop", "a.test").to_string());
    assert_eq!((code, &made["metadata"]["generation"]), (201, &json!(1)), "{made}");
    assert!(made["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{made}");
    let text = |value: &Value| value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();

    let mut check = |method: &str,
                     path: &str,
                     kind: &str,
                     body: &Value,
                     generation: u64,
                     changes: bool,
                     host: &str,
                     address: Value| {
        let before = server.get("Ingress", "default", "shop").expect("it is there");
        let (code, after) = client.ask(method, path, kind, &body.to_string());
        assert_eq!(code, 200, "{after}");
        assert_eq!(after["metadata"]["generation"], generation, "{method} {path} {body}");
        assert_eq!(text(&after) != text(&before), changes, "{method} {path} {body}: {after}");
        assert_eq!(after["spec"]["rules"][0]["host"], host, "{method} {path} {body}");
        assert_eq!(after["status"]["loadBalancer"]["ingress"][0]["ip"], address, "{method} {path} {body}");
        assert_eq!(after["metadata"]["uid"], made["metadata"]["uid"]);
    };
    let with_status = |host: &str, address: &str| {
        let mut value = ingress("shop", host);
        value["status"] = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
        value
    };
    check("PUT", &path, JSON, &ingress("shop", "a.test"), 1, false, "a.test", Value::Null);
    check("PUT", &path, JSON, &with_status("b.test", "192.0.2.1"), 2, true, "b.test", Value::Null);
    check("PUT", &status, JSON, &with_status("c.test", "192.0.2.2"), 2, true, "b.test", json!("192.0.2.2"));
    check("PUT", &status, JSON, &with_status("c.test", "192.0.2.2"), 2, false, "b.test", json!("192.0.2.2"));
    let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]}}, "spec": {"rules": []}});
    check("PATCH", &status, MERGE, &patch, 2, true, "b.test", json!("192.0.2.3"));
    check("PATCH", &path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}}), 2, true, "b.test", json!("192.0.2.3"));
    check("PATCH", &path, MERGE, &json!({"status": null}), 2, false, "b.test", json!("192.0.2.3"));
    let dry = format!("{path}?dryRun=All");
    check("PATCH", &dry, MERGE, &json!({"spec": {"ingressClassName": "x"}}), 3, false, "b.test", json!("192.0.2.3"));
    check("PUT", &path, JSON, &ingress("shop", "d.test"), 3, true, "d.test", json!("192.0.2.3"));
    let applied = format!("{status}?fieldManager=sluice&force=true");
    let patch = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.4"}]}}});
    check("PATCH", &applied, APPLY, &patch, 3, true, "d.test", json!("192.0.2.4"));
    check("PATCH", &applied, APPLY, &patch, 3, false, "d.test", json!("192.0.2.4"));
}

#[test]
fn server_side_apply_makes_owners() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let mut check = |manager: &str, data: Value, code: u16, want: Value| {
        let path = format!("{CONFIG_MAPS}/shared?fieldManager={manager}");
        let (got, answer) = client.ask("PATCH", &path, APPLY, &config_map("shared", &data));
        assert_eq!(got, code, "{manager} {data}: {answer}");
        let seen = if code == 409 { &answer["details"]["causes"][0]["field"] } else { &answer["data"] };
        assert_eq!(*seen, want, "{manager} {data}: {answer}");
    };
    check("one", json!({"a": "1", "b": "1"}), 201, json!({"a": "1", "b": "1"}));
    check("two", json!({"a": "1", "c": "1"}), 200, json!({"a": "1", "b": "1", "c": "1"}));
    check("two", json!({"b": "2"}), 409, json!(".data.b"));
    check("two&force=true", json!({"b": "2"}), 200, json!({"a": "1", "b": "2"}));
    check("one", json!({"a": "3"}), 200, json!({"a": "3", "b": "2"}));
    check("one", json!({}), 200, json!({"b": "2"}));
}

#[test]
fn generated_names_finalizers_collections_and_namespaces() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let (code, made) = client.ask("POST", CONFIG_MAPS, JSON, r#"{"metadata":{"generateName":"pod-"}}"#);
    let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(code == 201 && name.starts_with("pod-") && name.len() == 9, "{made}");

    let held = r#"{"metadata":{"name":"held","finalizers":["test/hold"]}}"#;
    assert_eq!(client.ask("POST", CONFIG_MAPS, JSON, held).0, 201);
    let path = format!("{CONFIG_MAPS}/held");
    let (code, held) = client.ask("DELETE", &path, "", "");
    assert!(code == 200 && held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    assert_eq!(client.get(&path).0, 200);
    assert_eq!(client.ask("PATCH", &path, MERGE, r#"{"metadata":{"finalizers":null}}"#).0, 200);
    assert_eq!(client.get(&path).0, 404);

    for name in ["a", "b"] {
        client.ask("POST", CONFIG_MAPS, JSON, &config_map(name, &json!({})));
    }
    let (code, gone) = client.ask("DELETE", &format!("{CONFIG_MAPS}?labelSelector=app%3Da"), "", "");
    assert_eq!((code, gone["items"].as_array().map(Vec::len)), (200, Some(1)), "{gone}");
    assert_eq!(server.list("ConfigMap", "default").len(), 2);
    assert_eq!(client.ask("DELETE", "/api/v1/namespaces/default", "", "").0, 200);
    assert!(server.list("ConfigMap", "").is_empty(), "they go with their namespace");
}

#[test]
fn events_have_two_forms_and_secrets_two_ways_in() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning", "action": "Translate",
        "reason": "Refused", "note": "why", "reportingController": "sluice.dev/ingress", "reportingInstance": "node-1",
        "regarding": {"kind": "Ingress", "namespace": "default", "name": "shop", "uid": "u-1"},
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (code, made) = client.ask("POST", path, JSON, &event.to_string());
    assert_eq!((code, &made["note"], &made["regarding"]["name"]), (201, &json!("why"), &json!("shop")), "{made}");
    let about = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dshop,involvedObject.uid%3Du-1";
    let (_, found) = client.get(about);
    assert_eq!(
        (&found["items"][0]["message"], &found["items"][0]["reportingComponent"]),
        (&json!("why"), &json!("sluice.dev/ingress"))
    );
    let (_, patched) = client.ask("PATCH", &format!("{path}/e"), MERGE, r#"{"series":{"count":2},"note":"again"}"#);
    assert_eq!((&patched["series"]["count"], &patched["note"]), (&json!(2), &json!("again")), "{patched}");

    let secret = r#"{"metadata":{"name":"s"},"stringData":{"a":"b"}}"#;
    let (_, secret) = client.ask("POST", "/api/v1/namespaces/default/secrets", JSON, secret);
    assert_eq!((&secret["data"]["a"], &secret["type"]), (&json!("Yg=="), &json!("Opaque")), "{secret}");
}
