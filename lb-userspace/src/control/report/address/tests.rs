//! Addresses from every source, by data.

use super::*;
use crate::config::{NamespacedName, Report};
use crate::control::object::Object;
use serde_json::{Value, json};

fn store(objects: &[Value]) -> Store {
    let mut store = Store::default();
    for value in objects {
        store.upsert(object(value));
    }
    store
}

fn object(value: &Value) -> Object {
    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> std::sync::Arc<T> {
        std::sync::Arc::new(serde_json::from_value(value.clone()).expect("an object"))
    }
    match value["kind"].as_str() {
        Some("Service") => Object::Service(read(value)),
        Some("Node") => Object::Node(read(value)),
        Some("EndpointSlice") => Object::EndpointSlice(read(value)),
        kind => panic!("{kind:?}"),
    }
}

fn name(text: &str) -> Option<NamespacedName> {
    Some(text.parse().expect("a name"))
}

fn check(settings: &Report, objects: &[Value], want: &[&str]) {
    let mut want: Vec<Address> = want.iter().map(|text| address(text)).collect();
    want.sort_unstable();
    assert_eq!(wanted(settings, &store(objects)), want, "{settings:?}");
}

fn service(spec: &Value, balancer: &Value) -> Value {
    json!({"kind": "Service", "metadata": {"namespace": "n", "name": "s"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": balancer}}})
}

fn node(name: &str, ready: &str, addresses: &[(&str, &str)]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|(kind, ip)| json!({"type": kind, "address": ip})).collect();
    json!({"kind": "Node", "metadata": {"name": name},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}})
}

fn slice(name: &str, of: &str, endpoints: &Value) -> Value {
    json!({"kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"namespace": "n", "name": name, "labels": {"kubernetes.io/service-name": of}}})
}

fn agent(pod: &str, node: &str, conditions: &Value) -> Value {
    json!({"addresses": ["10.0.0.1"], "nodeName": node, "conditions": conditions,
        "targetRef": {"kind": "Pod", "namespace": "n", "name": pod}})
}

#[test]
fn fixed_addresses_win() {
    let addresses = ["203.0.113.2", "2001:DB8::1", "lb.example", "203.0.113.2"].map(str::to_owned).to_vec();
    let settings = Report { addresses, publish_service: name("n/s"), ..Report::default() };
    let published = service(&json!({"clusterIP": "10.1.1.1"}), &json!([]));
    check(&settings, &[published], &["203.0.113.2", "2001:db8::1", "lb.example"]);
}

#[test]
fn a_published_service() {
    let settings = Report { publish_service: name("n/s"), ..Report::default() };
    let cluster = json!({"type": "ClusterIP", "clusterIP": "10.1.1.1", "clusterIPs": ["10.1.1.1", "fd00::1"]});
    let balancer = json!([{"ip": "203.0.113.9"}, {"hostname": "lb.example"}]);
    let mut waits = cluster.clone();
    waits["type"] = json!("LoadBalancer");
    let mut external = waits.clone();
    external["externalIPs"] = json!(["198.51.100.7", "no address"]);
    for (spec, balancer, want) in [
        (&waits, &balancer, &["203.0.113.9", "lb.example"][..]),
        (&external, &balancer, &["203.0.113.9", "lb.example"]),
        (&external, &json!([]), &["198.51.100.7"]),
        (&waits, &json!([]), &[]),
        (&cluster, &json!([]), &["10.1.1.1", "fd00::1"]),
        (&json!({"clusterIP": "None"}), &json!([]), &[]),
        (&json!({"clusterIP": "10.1.1.2"}), &json!([]), &["10.1.1.2"]),
        (&json!({"type": "ExternalName", "externalName": "other.example"}), &json!([]), &["other.example"]),
    ] {
        check(&settings, &[service(spec, balancer)], want);
    }
    check(&settings, &[], &[]);
}

#[test]
fn nodes_that_run_a_ready_agent() {
    let settings = Report { nodes: true, agents: name("n/agents"), ..Report::default() };
    let (ready, not) = (json!({"ready": true}), json!({"ready": false}));
    let leaving = json!({"ready": true, "terminating": true});
    let agents = json!([
        agent("a", "one", &ready),
        agent("b", "two", &ready),
        agent("c", "three", &not),
        agent("d", "four", &leaving),
        agent("e", "five", &ready),
        agent("f", "absent", &ready)
    ]);
    let (inner, outer) = ("InternalIP", "ExternalIP");
    let nodes = [
        node("one", "True", &[(inner, "10.0.0.1"), (outer, "203.0.113.1"), (outer, "2001:db8::1")]),
        node("two", "True", &[(inner, "10.0.0.2"), (inner, "fd00::2"), ("Hostname", "two")]),
        node("three", "True", &[(inner, "10.0.0.3")]),
        node("four", "True", &[(inner, "10.0.0.4")]),
        node("five", "Unknown", &[(inner, "10.0.0.5")]),
        slice("s1", "agents", &agents),
        slice("s2", "other", &json!([agent("x", "three", &ready)])),
    ];
    check(&settings, &nodes, &["203.0.113.1", "2001:db8::1", "10.0.0.2", "fd00::2"]);
}

#[test]
fn who_else_is_ready() {
    let settings = Report { agents: name("n/agents"), pod: Some("a".to_owned()), ..Report::default() };
    let check = |settings: &Report, endpoints: &Value, want| {
        let me = Me { pod: settings.pod.as_deref(), node: Some("one") };
        let store = store(&[slice("s", "agents", endpoints)]);
        assert_eq!(others_are_ready(settings, me, &store), want, "{endpoints}");
    };
    let (ready, not) = (json!({}), json!({"ready": false}));
    check(&settings, &json!([agent("a", "one", &ready)]), Some(false));
    check(&settings, &json!([agent("a", "one", &ready), agent("b", "one", &ready)]), Some(true));
    check(&settings, &json!([agent("a", "one", &ready), agent("b", "two", &not)]), Some(false));
    check(&Report { pod: None, ..settings }, &json!([agent("b", "one", &ready)]), Some(false));
    check(&Report::default(), &json!([]), None);
}

#[test]
fn what_is_seen_is_compared_without_order() {
    let ingress = |entries: &Value| -> Ingress {
        serde_json::from_value(json!({"metadata": {}, "status": {"loadBalancer": {"ingress": entries}}})).expect("one")
    };
    let of = |entries: &Value| seen(&ingress(entries));
    let both = of(&json!([{"ip": "2001:DB8:0::1"}, {"hostname": "a.example"}]));
    assert_eq!(both, of(&json!([{"hostname": "a.example", "ip": ""}, {"ip": "2001:db8::1", "ports": []}])));
    assert_eq!(both, [address("2001:db8::1"), address("a.example")]);
    assert_ne!(of(&json!([{"ip": "10.0.0.1"}])), of(&json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}])));
    let ports = json!([{"ip": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]}]);
    assert!(matches!(of(&ports)[..], [Address::Foreign(_)]));
    assert!(of(&json!(null)).is_empty());
}
