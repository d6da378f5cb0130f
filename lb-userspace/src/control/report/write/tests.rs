//! Requests as they leave us.

use super::*;
use crate::control::report::note::Type;

fn body(request: Result<http::Request<Vec<u8>>, request::Error>) -> (String, Value) {
    let request = request.expect("a request");
    let body = serde_json::from_slice(request.body()).unwrap_or_default();
    (format!("{} {}", request.method(), request.uri()), body)
}

fn event_write(kind: Kind, namespace: &str) -> EventWrite {
    EventWrite {
        key: 1,
        object: Arc::new(ObjectRef::new(kind, namespace, "cart")),
        uid: "u".into(),
        type_: Type::Warning,
        reason: "InvalidHost",
        note: "It is wrong.".into(),
        deed: Deed::Create,
    }
}

#[test]
fn a_status() {
    let addresses = [Address::Ip("203.0.113.1".parse().expect("an address")), Address::Hostname("a.example".into())];
    let object = Arc::new(ObjectRef::new(Kind::Ingress, "shop", "cart"));
    let mut write = StatusWrite { object, addresses: addresses.into(), version: Some("7".into()) };
    let (line, patch) = body(status(&write));
    assert_eq!(line, "PATCH /apis/networking.k8s.io/v1/namespaces/shop/ingresses/cart/status?&fieldManager=sluice");
    let entries = json!([{"ip": "203.0.113.1"}, {"hostname": "a.example"}]);
    assert_eq!(patch, json!({"metadata": {"resourceVersion": "7"}, "status": {"loadBalancer": {"ingress": entries}}}));
    (write.addresses, write.version) = (Arc::default(), None);
    assert_eq!(body(status(&write)).1, json!({"status": {"loadBalancer": {"ingress": null}}}));
}

#[test]
fn an_event() {
    let write = event_write(Kind::Ingress, "shop");
    let (line, event) = body(create(&write, &"é".repeat(100)));
    assert_eq!(line, "POST /apis/events.k8s.io/v1/namespaces/shop/events?&fieldManager=sluice");
    let regarding = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "shop",
        "name": "cart", "uid": "u"});
    assert_eq!((&event["regarding"], &event["type"]), (&regarding, &json!("Warning")));
    assert_eq!(event["reportingInstance"].as_str().map(str::len), Some(INSTANCE_BYTES_MAX));
    assert_eq!(event["eventTime"].as_str().map(|time| time.len()), Some("2026-01-02T03:04:05.123456Z".len()));
    let (line, patch) = body(series(&write, 3));
    let name = event["metadata"]["name"].as_str().expect("a name");
    assert_eq!(line, format!("PATCH /apis/events.k8s.io/v1/namespaces/shop/events/{name}?&fieldManager=sluice"));
    assert_eq!(patch["series"]["count"], 3);
}

#[test]
fn an_event_about_an_object_of_the_cluster_is_in_default() {
    let (line, event) = body(create(&event_write(Kind::IngressClass, ""), "i"));
    assert_eq!(line, "POST /apis/events.k8s.io/v1/namespaces/default/events?&fieldManager=sluice");
    assert_eq!((&event["metadata"]["namespace"], event["regarding"].get("namespace")), (&json!("default"), None));
}
