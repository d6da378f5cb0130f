//! RBAC: exactly these rights, and why each is needed. Whether they are enough is shown where the agent runs against the
//! stand-in of the API, which refuses what is not granted.

use super::chart::render_file;
use super::texts;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is read in the watched namespaces, and what is written there.
const WATCHED: [(&str, &str); 10] = [
    ("networking.k8s.io/ingresses", "list watch"),
    ("networking.k8s.io/ingresses/status", "patch"),
    ("services", "list watch"),
    ("discovery.k8s.io/endpointslices", "list watch"),
    ("secrets", "list watch"),
    ("events.k8s.io/events", "create get patch"),
    // Never: what would let the agent change what it serves, or read what is none of its business.
    ("pods", ""),
    ("networking.k8s.io/ingresses/finalizers", ""),
    ("configmaps", ""),
    ("*", ""),
];

/// What has no namespace.
const CLUSTER: [(&str, &str); 2] = [("networking.k8s.io/ingressclasses", "list watch"), ("nodes", "list watch")];

/// What is granted in our own namespace.
const OWN: [(&str, &str); 3] = [
    ("coordination.k8s.io/leases", "create"),
    ("coordination.k8s.io/leases[sluice-leader]", "get patch"),
    ("configmaps", "list watch"),
];

#[test]
fn rights_are_these_and_no_more() {
    let own = || granted(OWN.iter(), "Role sluice-system");
    let expect = |file: &str, want: Vec<BTreeSet<String>>| {
        let want: BTreeSet<String> = want.into_iter().flatten().collect();
        assert_eq!(rights(&render_file(file).objects()), want, "{file}");
    };
    let everywhere = || granted(WATCHED.iter().chain(&CLUSTER), "ClusterRole");
    expect("", vec![everywhere(), own()]);
    expect("values-takeover-nginx.yaml", vec![everywhere(), own()]);
    let selected = granted([("namespaces", "list watch")].iter(), "ClusterRole");
    expect("ci/every-option-values.yaml", vec![everywhere(), own(), selected]);
    // Two namespaces alone, and ours, which has the Service of the agents.
    let watched = ["Role shop", "Role search", "Role sluice-system"].map(|place| granted(WATCHED.iter(), place));
    let cluster = granted(CLUSTER.iter(), "ClusterRole");
    expect("ci/namespaces-values.yaml", watched.into_iter().chain([own(), cluster]).collect());
}

/// `PLACE: RESOURCE VERB` for each.
fn granted<'a>(table: impl Iterator<Item = &'a (&'a str, &'a str)>, place: &str) -> BTreeSet<String> {
    let one = |(resource, verbs): &(&str, &str)| {
        let verbs: Vec<String> = verbs.split_whitespace().map(|verb| format!("{place}: {resource} {verb}")).collect();
        verbs
    };
    table.flat_map(one).collect()
}

/// What the roles say, in the same form.
fn rights(objects: &[Value]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for role in objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role") {
        let namespace = role["metadata"]["namespace"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        let place = format!("{}{namespace}", role["kind"].as_str().unwrap_or_default());
        for rule in role["rules"].as_array().into_iter().flatten() {
            assert!(rule["nonResourceURLs"].is_null(), "{rule}");
            let only = texts(&rule["resourceNames"]);
            let only = if only.is_empty() { String::new() } else { format!("[{}]", only.join(",")) };
            for group in texts(&rule["apiGroups"]) {
                let group = if group.is_empty() { String::new() } else { format!("{group}/") };
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        rights.insert(format!("{place}: {group}{resource}{only} {verb}"));
                    }
                }
            }
        }
    }
    rights
}
