//! The wire: what the API server sends becomes items, each for itself.
//!
//! Goes in: a line of a watch, a page of a list (JSON; Kubernetes API concepts). Comes out: [`Event`]s and [`Page`]s. An object that
//! cannot be read, because a field has a type that this version does not know, spoils neither its page nor the watch: it is
//! an item that says so. That takes two passes over every object, first as JSON and then as its kind; between them
//! everything is cut off that is never read, so that a change of it alone is no change.

use super::super::super::object::Object;
use super::super::manifest::decode;
use super::scope::Watched;
use k8s_openapi::api::core::v1::ServiceStatus;
use lb_core::model::{Kind, ObjectRef};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// An object, or why it is none.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// Its name; the kind is not looked at for a Namespace.
    pub key: ObjectRef,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// The object; `None` for a Namespace, of which the name is all.
    pub object: Result<Option<Object>, Unreadable>,
    /// Fields that the kind does not have.
    pub unknown: Vec<String>,
}

/// Why an object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a watch tells.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// An object is new, or another than before.
    Put(Item),
    /// An object is gone.
    Gone {
        /// Its name.
        key: ObjectRef,
        /// The version at which it went.
        version: String,
    },
    /// Nothing happened up to this version.
    Bookmark {
        /// The version.
        version: String,
        /// All objects that a streaming list begins with were told.
        whole: bool,
    },
    /// The watch is over.
    Over(Status),
}

/// A page of a list.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// The objects.
    pub items: Vec<Item>,
    /// The version of the list.
    pub version: String,
    /// Asks for the next page; `None`: this was the last.
    pub next: Option<String>,
}

/// What the API server says of a failure (`v1.Status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// In one word, as `Expired`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What cannot be understood at all.
#[derive(Debug, thiserror::Error)]
#[error("the API server sent what is no {what}: {why}")]
pub struct Garbled {
    what: &'static str,
    why: String,
}

/// Reads a line of a watch.
///
/// # Errors
/// [`Garbled`], when it is no event about an object with a name.
pub fn event(watched: Watched, line: &[u8]) -> Result<Event, Garbled> {
    #[derive(Deserialize)]
    struct Line {
        r#type: String,
        object: Value,
    }
    let garbled = |why: String| Garbled { what: "watch event", why };
    let Line { r#type, object } = serde_json::from_slice(line).map_err(|error| garbled(error.to_string()))?;
    match r#type.as_str() {
        "ADDED" | "MODIFIED" => Ok(Event::Put(item(watched, object).map_err(garbled)?)),
        "DELETED" => {
            let (key, version) = name(watched, &object).map_err(garbled)?;
            Ok(Event::Gone { key, version })
        }
        "BOOKMARK" => {
            let metadata = &object["metadata"];
            let version = text(metadata, "resourceVersion");
            Ok(Event::Bookmark { version, whole: metadata["annotations"]["k8s.io/initial-events-end"] == "true" })
        }
        "ERROR" => Ok(Event::Over(Status::deserialize(object).unwrap_or_default())),
        other => Err(garbled(format!("its type is {other:?}"))),
    }
}

/// Reads a page of a list.
///
/// # Errors
/// [`Garbled`], when it is no list.
pub fn page(watched: Watched, body: &[u8]) -> Result<Page, Garbled> {
    #[derive(Deserialize)]
    struct List {
        metadata: Value,
        items: Option<Vec<Value>>,
    }
    let garbled = |why: String| Garbled { what: "list", why };
    let List { metadata, items } = serde_json::from_slice(body).map_err(|error| garbled(error.to_string()))?;
    let items = items.unwrap_or_default().into_iter().map(|value| item(watched, value)).collect::<Result<_, _>>();
    let next = Some(text(&metadata, "continue")).filter(|token| !token.is_empty());
    Ok(Page { items: items.map_err(garbled)?, version: text(&metadata, "resourceVersion"), next })
}

/// Reads what came with a status of failure.
#[must_use]
pub fn status(code: u16, body: &[u8]) -> Status {
    let status = serde_json::from_slice::<Status>(body).unwrap_or_default();
    let message = if status.message.is_empty() {
        String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned()
    } else {
        status.message
    };
    Status { code, message, ..status }
}

fn item(watched: Watched, mut value: Value) -> Result<Item, String> {
    let (key, version) = name(watched, &value)?;
    let Watched::Object(kind) = watched else {
        return Ok(Item { key, version, object: Ok(None), unknown: Vec::new() });
    };
    trim(kind, &mut value);
    let status = match kind {
        Kind::Node => None,
        _ => value.as_object_mut().and_then(|object| object.remove("status")),
    };
    let mut unknown = Vec::new();
    let object = decode::object(kind, value, &mut unknown);
    let object = object.map(|object| Some(with_status(object, status, &version)));
    let object = object.map_err(|failure| Unreadable { field: failure.field, why: failure.error.to_string() });
    Ok(Item { key, version, object, unknown })
}

/// Gives an Ingress and a Service what reporting reads: their addresses, and the version in which they have them. A status
/// that cannot be read is none: it decides nothing that is served.
fn with_status(mut object: Object, status: Option<Value>, version: &str) -> Object {
    fn read<T: serde::de::DeserializeOwned>(status: Option<Value>) -> Option<T> {
        serde_json::from_value(status?).ok()
    }
    match &mut object {
        Object::Ingress(ingress) => {
            let ingress = Arc::make_mut(ingress);
            ingress.status = read(status);
            ingress.metadata.resource_version = Some(version.to_owned());
        }
        Object::Service(service) => {
            let status: Option<ServiceStatus> = read(status);
            let balancer = status.and_then(|status| status.load_balancer).filter(|balancer| balancer.ingress.is_some());
            let status = balancer.map(|it| ServiceStatus { load_balancer: Some(it), conditions: None });
            Arc::make_mut(service).status = status;
        }
        _ => {}
    }
    object
}

fn name(watched: Watched, value: &Value) -> Result<(ObjectRef, String), String> {
    let metadata = &value["metadata"];
    let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
    if name.is_empty() {
        return Err("it has no metadata.name".to_owned());
    }
    let kind = match watched {
        Watched::Object(kind) => kind,
        Watched::Namespace => Kind::File,
    };
    Ok((ObjectRef::new(kind, namespace, name), text(metadata, "resourceVersion")))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Cuts off what is never read.
fn trim(kind: Kind, value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "selfLink", "ownerReferences", "finalizers"] {
            metadata.remove(field);
        }
        // The name of a Service is in the labels of its slices; what their annotations say is for their controller.
        if matches!(kind, Kind::EndpointSlice | Kind::Secret | Kind::Node) {
            metadata.remove("annotations");
        }
    }
    match kind {
        Kind::Node => node(value),
        Kind::Service => {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.retain(|field, _| !SERVICE_FIELDS.contains(&field.as_str()));
            }
        }
        Kind::EndpointSlice => slice(value),
        Kind::Secret if value["type"] == "kubernetes.io/tls" => {
            if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
                data.retain(|key, _| matches!(key.as_str(), "tls.crt" | "tls.key" | "ca.crt"));
            }
        }
        _ => {}
    }
}

/// What kube-proxy and the controllers of a Service read, and nobody here.
const SERVICE_FIELDS: [&str; 8] = [
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
];

/// Leaves of a slice whose it is, and of the Pods of its endpoints their names: the rest is half of its memory.
fn slice(value: &mut Value) {
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.retain(|label, _| label == "kubernetes.io/service-name");
    }
    for endpoint in value.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(target) = endpoint.get_mut("targetRef").and_then(Value::as_object_mut) {
            target.retain(|field, _| matches!(field.as_str(), "kind" | "name"));
        }
    }
}

/// Leaves of a Node what says where it is and whether it is ready; heartbeats change the rest every few minutes.
fn node(value: &mut Value) {
    let Some(node) = value.as_object_mut() else { return };
    node.remove("spec");
    let Some(status) = node.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.retain(|field, _| matches!(field.as_str(), "addresses" | "conditions"));
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| condition["type"] == "Ready");
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.retain(|field, _| matches!(field.as_str(), "type" | "status"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const INGRESS: Watched = Watched::Object(Kind::Ingress);

    fn line(kind: &str, object: &Value) -> Vec<u8> {
        json!({ "type": kind, "object": object }).to_string().into_bytes()
    }

    #[test]
    fn events() {
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a",
            "namespace": "n", "resourceVersion": "7", "managedFields": [{"manager": "x"}]}, "spec": {"rules": []}});
        let Ok(Event::Put(item)) = event(INGRESS, &line("ADDED", &object)) else { panic!("not put") };
        assert_eq!((item.key.to_string().as_str(), item.version.as_str()), ("Ingress n/a", "7"));
        let Ok(Some(Object::Ingress(ingress))) = item.object else { panic!("{:?}", item.object) };
        assert_eq!(ingress.metadata.resource_version.as_deref(), Some("7"));
        assert!(ingress.metadata.managed_fields.is_none());
        let gone = event(INGRESS, &line("DELETED", &object)).expect("read");
        assert_eq!(gone, Event::Gone { key: ObjectRef::new(Kind::Ingress, "n", "a"), version: "7".to_owned() });
        let mark = json!({"kind": "Ingress", "metadata": {"resourceVersion": "9", "creationTimestamp": null,
            "annotations": {"k8s.io/initial-events-end": "true"}}, "spec": {}});
        let want = Event::Bookmark { version: "9".to_owned(), whole: true };
        assert_eq!(event(INGRESS, &line("BOOKMARK", &mark)).expect("read"), want);
        let over = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        let want = Status { code: 410, reason: "Expired".to_owned(), message: "too old".to_owned() };
        assert_eq!(event(INGRESS, &line("ERROR", &over)).expect("read"), Event::Over(want));
        for text in ["", "{", "[]", "{\"type\":\"ADDED\",\"object\":{}}", "{\"type\":\"NEW\",\"object\":{}}"] {
            assert!(event(INGRESS, text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_that_cannot_be_read_spoils_nothing() {
        let body = json!({"kind": "IngressList", "metadata": {"resourceVersion": "5", "continue": "next"}, "items": [
            {"metadata": {"name": "bad", "namespace": "n"}, "spec": {"rules": [{"host": 7}]}},
            {"metadata": {"name": "good", "namespace": "n"}, "spec": {"rules": [], "ruled": 1}}]});
        let page = page(INGRESS, body.to_string().as_bytes()).expect("read");
        assert_eq!((page.version.as_str(), page.next.as_deref()), ("5", Some("next")));
        assert_eq!(page.items[0].object.as_ref().expect_err("bad").field, "spec.rules[0].host");
        assert!(page.items[1].object.is_ok());
        assert_eq!(page.items[1].unknown, ["spec.ruled"]);
    }

    #[test]
    fn what_is_never_read_is_cut_off() {
        let value = json!({"metadata": {"name": "a", "namespace": "n", "annotations": {"x": "y"}, "labels":
            {"kubernetes.io/service-name": "a", "x": "y"}}, "addressType": "IPv4", "endpoints": [{"addresses":
            ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "p", "namespace": "n", "uid": "u"}}]});
        let object = item(Watched::Object(Kind::EndpointSlice), value).expect("named").object;
        let Ok(Some(Object::EndpointSlice(slice))) = object else { panic!("{object:?}") };
        assert_eq!(slice.metadata.labels.as_ref().map(|labels| labels.len()), Some(1));
        assert!(slice.metadata.annotations.is_none());
        let endpoint = slice.endpoints.iter().flatten().next().expect("an endpoint");
        let target = endpoint.target_ref.as_ref().expect("a target");
        assert_eq!((target.name.as_deref(), &target.uid, &target.namespace), (Some("p"), &None, &None));
    }

    #[test]
    fn what_changes_all_the_time_is_cut_off() {
        let node = |beat: &str| {
            let value = json!({"metadata": {"name": "a", "resourceVersion": beat, "labels": {"z": "1"}}, "status": {
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "images": [{"names": ["x"]}],
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]}});
            item(Watched::Object(Kind::Node), value).expect("named").object
        };
        let (one, two) = (node("2026-01-01T00:00:00Z"), node("2026-01-01T00:05:00Z"));
        assert!(one.is_ok(), "{one:?}");
        assert_eq!(one, two);
    }
}
