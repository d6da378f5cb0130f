//! Tables: what `kubectl get` prints.
//!
//! Goes in: objects of a kind. Comes out: a `Table` (`meta.k8s.io/v1`) with the columns of kube-apiserver for the kinds
//! that matter here, else name and age. Does not do: every column of every kind.

use super::clock;
use super::object::Object;
use super::path::dotted;
use super::resource::Resource;
use serde_json::{Value, json};

/// A column: its title, whether only `-o wide` shows it, and the cell of an object.
type Column = (&'static str, bool, fn(&Value) -> String);

const INGRESS: &[Column] = &[
    ("Class", false, |o| text(o, "spec.ingressClassName", "<none>")),
    ("Hosts", false, |o| joined(&o["spec"]["rules"], "*", |rule| rule["host"].as_str().unwrap_or("*").to_owned())),
    ("Address", false, |o| addresses(o)),
    ("Ports", false, |o| if o["spec"]["tls"].is_array() { "80, 443".to_owned() } else { "80".to_owned() }),
];
const SERVICE: &[Column] = &[
    ("Type", false, |o| text(o, "spec.type", "")),
    ("Cluster-IP", false, |o| text(o, "spec.clusterIP", "<none>")),
    ("External-IP", false, |o| {
        if o["spec"]["type"] == "ExternalName" { text(o, "spec.externalName", "") } else { or_none(addresses(o)) }
    }),
    ("Port(s)", false, |o| {
        joined(&o["spec"]["ports"], "<none>", |port| {
            format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))
        })
    }),
];
const SECRET: &[Column] = &[
    ("Type", false, |o| text(o, "type", "")),
    ("Data", false, |o| o["data"].as_object().map_or(0, |d| d.len()).to_string()),
];
const CONFIG_MAP: &[Column] = &[("Data", false, |o| o["data"].as_object().map_or(0, |d| d.len()).to_string())];
const LEASE: &[Column] = &[("Holder", false, |o| text(o, "spec.holderIdentity", ""))];
const NODE: &[Column] = &[
    ("Status", false, |o| {
        let conditions = o["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if is_ready { "Ready".to_owned() } else { "NotReady".to_owned() }
    }),
    ("Version", false, |o| text(o, "status.nodeInfo.kubeletVersion", "")),
];
const NAMESPACE: &[Column] = &[("Status", false, |o| text(o, "status.phase", ""))];
const ENDPOINT_SLICE: &[Column] = &[
    ("AddressType", false, |o| text(o, "addressType", "")),
    ("Ports", false, |o| joined(&o["ports"], "<unset>", |port| port["port"].to_string())),
    ("Endpoints", false, |o| {
        joined(&o["endpoints"], "<unset>", |e| e["addresses"][0].as_str().unwrap_or_default().to_owned())
    }),
];
const EVENT: &[Column] = &[
    ("Type", false, |o| text(o, "type", "")),
    ("Reason", false, |o| text(o, "reason", "")),
    ("Object", false, |o| {
        let about = &o["involvedObject"];
        format!("{}/{}", text(about, "kind", "").to_lowercase(), text(about, "name", ""))
    }),
    ("Message", false, |o| text(o, "message", "")),
];
const INGRESS_CLASS: &[Column] = &[
    ("Controller", false, |o| text(o, "spec.controller", "")),
    ("Parameters", false, |o| text(o, "spec.parameters.name", "<none>")),
];
const WEBHOOK: &[Column] = &[("Webhooks", false, |o| o["webhooks"].as_array().map_or(0, Vec::len).to_string())];
const DAEMON_SET: &[Column] = &[
    ("Desired", false, |o| text(o, "status.desiredNumberScheduled", "0")),
    ("Ready", false, |o| text(o, "status.numberReady", "0")),
    ("Images", true, |o| {
        joined(&o["spec"]["template"]["spec"]["containers"], "", |c| c["image"].as_str().unwrap_or_default().to_owned())
    }),
];

fn columns(kind: &str) -> &'static [Column] {
    match kind {
        "Ingress" => INGRESS,
        "Service" => SERVICE,
        "Secret" => SECRET,
        "ConfigMap" => CONFIG_MAP,
        "Lease" => LEASE,
        "Node" => NODE,
        "Namespace" => NAMESPACE,
        "EndpointSlice" => ENDPOINT_SLICE,
        "Event" => EVENT,
        "IngressClass" => INGRESS_CLASS,
        "ValidatingWebhookConfiguration" => WEBHOOK,
        "DaemonSet" => DAEMON_SET,
        _ => &[],
    }
}

/// The table of some objects.
#[must_use]
pub fn make(resource: &Resource, objects: &[&Object], list_metadata: &Value) -> Value {
    let own = columns(resource.kind);
    let definition = |name: &str, wide: bool| {
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(wide)})
    };
    let mut definitions = vec![definition("Name", false)];
    definitions.extend(own.iter().map(|(name, wide, _)| definition(name, *wide)));
    definitions.push(definition("Age", false));
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let value = object.value();
            let mut cells = vec![json!(object.name())];
            cells.extend(own.iter().map(|(_, _, cell)| json!(cell(value))));
            cells.push(json!(age(value)));
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
            });
            json!({"cells": cells, "object": partial})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn age(value: &Value) -> String {
    let made = value["metadata"]["creationTimestamp"].as_str().and_then(clock::parse);
    let Some(made) = made else { return "<unknown>".to_owned() };
    match (clock::now_s(0) - made).max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn text(value: &Value, path: &str, default: &str) -> String {
    match dotted(value, path) {
        Value::Null => default.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn joined(list: &Value, default: &str, shown: impl Fn(&Value) -> String) -> String {
    let parts: Vec<String> = list.as_array().into_iter().flatten().take(3).map(shown).collect();
    if parts.is_empty() { default.to_owned() } else { parts.join(",") }
}

fn addresses(value: &Value) -> String {
    let one = |entry: &Value| entry["ip"].as_str().or(entry["hostname"].as_str()).unwrap_or_default().to_owned();
    joined(&value["status"]["loadBalancer"]["ingress"], "", one)
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}
