//! Discovery and OpenAPI: what the server says about itself.
//!
//! Goes in: a path. Comes out: a document made of the table of resources, plain or aggregated. The OpenAPI v3 documents
//! say just what `kubectl` looks for: which resources take `dryRun` and `fieldValidation`. Does not do: schemas, OpenAPI
//! v2 in protobuf.

use super::resource::{RESOURCES, Resource};
use serde_json::{Map, Value, json};

/// The version that the server says it has.
const VERSION: (&str, &str) = ("1", "37");

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Content type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The document at a path and its content type; nothing when there is none.
#[must_use]
pub fn document(path: &str, accept: &str) -> Option<(Value, &'static str)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_aggregated = accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2;");
    let is_aggregated = is_aggregated || (accept.contains("as=APIGroupDiscoveryList") && accept.ends_with("v=v2"));
    let found = match parts.as_slice() {
        ["api"] if is_aggregated => return Some((aggregated(&[""]), AGGREGATED)),
        ["apis"] if is_aggregated => return Some((aggregated(&groups()), AGGREGATED)),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let all: Vec<Value> = groups().into_iter().map(group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
        }
        ["apis", name] if groups().contains(name) => {
            let mut group = group(name);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        ["api", "v1"] => resources(""),
        ["apis", name, "v1"] if groups().contains(name) => resources(name),
        ["openapi", "v3"] => openapi_index(),
        ["openapi", "v3", "api", "v1"] => openapi(""),
        ["openapi", "v3", "apis", name, "v1"] if groups().contains(name) => openapi(name),
        ["openapi", "v2"] => json!({"swagger": "2.0", "info": info(), "paths": {}, "definitions": {}}),
        ["version"] => version(),
        _ => return None,
    };
    Some((found, "application/json"))
}

/// `/version`.
#[must_use]
pub fn version() -> Value {
    let (major, minor) = VERSION;
    json!({
        "major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0+sluice-stand-in"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// Named groups, each once.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = RESOURCES.iter().map(|r| r.group).filter(|group| !group.is_empty()).collect();
    groups.dedup();
    groups.sort_unstable();
    groups.dedup();
    groups.extend(["authentication.k8s.io", "authorization.k8s.io"]);
    groups
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn of_group(group: &str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(move |r| r.group == group)
}

fn resources(group: &str) -> Value {
    let mut all: Vec<Value> = Vec::new();
    for resource in of_group(group) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular(), "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": VERBS, "storageVersionHash": "",
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = json!([resource.short]);
        }
        all.push(entry);
        if resource.status {
            all.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all})
}

fn aggregated(groups: &[&str]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let resources: Vec<Value> = of_group(group).map(discovered).collect();
            let version = json!({"version": "v1", "resources": resources, "freshness": "Current"});
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": [version]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn discovered(resource: &Resource) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind, "singularResource": resource.singular(),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": VERBS,
    });
    if !resource.short.is_empty() {
        entry["shortNames"] = json!([resource.short]);
    }
    if resource.status {
        entry["subresources"] =
            json!([{"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]}]);
    }
    entry
}

fn openapi_index() -> Value {
    let mut paths = Map::new();
    let groups = groups();
    for group in std::iter::once("").chain(groups) {
        let path = if group.is_empty() { "api/v1".to_owned() } else { format!("apis/{group}/v1") };
        paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=1")}));
    }
    json!({"paths": paths})
}

fn openapi(group: &str) -> Value {
    let option = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let options = json!([option("dryRun"), option("fieldManager"), option("fieldValidation")]);
    let mut paths = Map::new();
    for resource in of_group(group) {
        let place = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
        let kind = json!({"group": group, "version": "v1", "kind": resource.kind});
        let operation = json!({
            "x-kubernetes-group-version-kind": kind, "parameters": options,
            "responses": {"200": {"description": "OK"}},
        });
        let mut patch = operation.clone();
        patch["x-kubernetes-action"] = json!("patch");
        paths.insert(format!("{root}/{place}{}", resource.plural), json!({"post": operation.clone()}));
        paths.insert(format!("{root}/{place}{}/{{name}}", resource.plural), json!({"put": operation, "patch": patch}));
    }
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": {}}})
}

fn info() -> Value {
    json!({"title": "sluice's stand-in for Kubernetes", "version": "unversioned"})
}
