//! Lists: pages, versions, selectors and forms.

use super::client::Client;
use super::{CONFIG_MAPS, JSON, config_map};
use lb_tests::apiserver::{ApiServer, Bulk};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[test]
fn pages_are_of_one_moment_and_expire() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    for name in ["a", "b", "c", "d", "e"] {
        client.ask("POST", CONFIG_MAPS, JSON, &config_map(name, &json!({})));
    }
    let first = client.get(&format!("{CONFIG_MAPS}?limit=2")).1;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    let next = first["metadata"]["continue"].as_str().expect("more").to_owned();
    server.delete("ConfigMap", "default", "c");
    client.ask("POST", CONFIG_MAPS, JSON, &config_map("cc", &json!({})));
    let second = client.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}")).1;
    assert_eq!(names(&second), ["c", "d"], "as it was at the first page");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let last = second["metadata"]["continue"].as_str().expect("more").to_owned();
    let third = client.get(&format!("{CONFIG_MAPS}?limit=2&continue={last}")).1;
    assert_eq!((names(&third), &third["metadata"]["continue"]), (vec!["e"], &Value::Null));
    assert_eq!(names(&client.get(CONFIG_MAPS).1), ["a", "b", "cc", "d", "e"]);
    server.compact();
    let (code, status) = client.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}"));
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
}

#[test]
fn versions_selectors_and_options() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    for name in ["a", "b"] {
        client.ask("POST", CONFIG_MAPS, JSON, &config_map(name, &json!({})));
    }
    server.put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z, namespace: kube-system, labels: {app: a}}\n");
    let now = server.resource_version();
    let before = now - 2;
    for (query, code, want) in [
        (String::new(), 200, vec!["a", "b"]),
        ("resourceVersion=0".to_owned(), 200, vec!["a", "b"]),
        (format!("resourceVersion={before}"), 200, vec!["a", "b"]),
        (format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan"), 200, vec!["a", "b"]),
        (format!("resourceVersion={before}&resourceVersionMatch=Exact"), 200, vec!["a"]),
        ("resourceVersion=0&resourceVersionMatch=Exact".to_owned(), 422, vec![]),
        ("resourceVersionMatch=Exact".to_owned(), 422, vec![]),
        (format!("resourceVersion={}", now + 1), 504, vec![]),
        ("resourceVersion=x".to_owned(), 400, vec![]),
        ("sendInitialEvents=true".to_owned(), 422, vec![]),
        ("labelSelector=app+in+(a,c)".to_owned(), 200, vec!["a"]),
        ("labelSelector=app!%3Da".to_owned(), 200, vec!["b"]),
        ("fieldSelector=metadata.name%3Db".to_owned(), 200, vec!["b"]),
        ("fieldSelector=data.x%3Db".to_owned(), 400, vec![]),
        ("continue=nonsense".to_owned(), 400, vec![]),
    ] {
        let (got, list) = client.get(&format!("{CONFIG_MAPS}?{query}"));
        assert_eq!((got, names(&list)), (code, want), "{query}: {list}");
    }
    assert_eq!(names(&client.get("/api/v1/configmaps?labelSelector=app%3Da").1), ["a", "z"], "all namespaces");
}

#[test]
fn forms_of_lists_and_objects() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    client.ask("POST", CONFIG_MAPS, JSON, &config_map("a", &json!({"x": "y"})));
    let whole = client.get(CONFIG_MAPS).1;
    assert_eq!((&whole["kind"], &whole["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!((&whole["items"][0]["kind"], &whole["items"][0]["data"]["x"]), (&Value::Null, &json!("y")));
    client.accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let metadata = client.get(CONFIG_MAPS).1;
    assert_eq!((&metadata["items"][0]["data"], &metadata["kind"]), (&Value::Null, &json!("PartialObjectMetadataList")));
    client.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = client.get(CONFIG_MAPS).1;
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    client.accept = "application/vnd.kubernetes.protobuf";
    assert_eq!(client.get(CONFIG_MAPS).0, 406);
}

/// 10,000 Ingresses with 50,000 endpoints: what a benchmark begins with must not be the benchmark.
#[test]
fn many_objects_are_loaded_and_listed_quickly() {
    let server = ApiServer::start();
    let started = Instant::now();
    server.load(&Bulk::default());
    let loaded = started.elapsed();
    let mut client = Client::admin(&server);
    let started = Instant::now();
    let slices = client.get("/apis/discovery.k8s.io/v1/endpointslices").1;
    let listed = started.elapsed();
    let endpoints: usize =
        slices["items"].as_array().into_iter().flatten().filter_map(|s| s["endpoints"].as_array()).map(Vec::len).sum();
    assert_eq!((names(&slices).len(), endpoints), (10_000, 50_000));
    assert_eq!(server.list("Ingress", "bulk").len(), 10_000);
    println!("loaded in {loaded:?}, endpoint slices listed and parsed in {listed:?}");
    // Several times what they take, for a busy machine.
    assert!(loaded < Duration::from_secs(5) && listed < Duration::from_secs(10), "{loaded:?} {listed:?}");
}
