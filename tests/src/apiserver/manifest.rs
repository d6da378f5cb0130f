//! Manifests put into the storage by the handle, past every rule.
//!
//! Goes in: YAML or values. Comes out: stored objects. Missing namespaces are made. Does not do: validation, webhooks,
//! roles; those are for clients.

use super::birth;
use super::event;
use super::object::Object;
use super::resource::{Resource, by_kind, named};
use super::rules;
use super::shared::Shared;
use super::store::Key;
use super::write::{self, Draft};
use serde_json::{Value, json};

/// Creates or replaces one object; answers it as stored.
///
/// # Errors
/// In words, for a kind that the server does not have, or an object without a name.
pub fn put(shared: &Shared, value: &Value) -> Result<Value, String> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let resource = by_kind(text("apiVersion"), text("kind"))
        .ok_or_else(|| format!("the stand-in has no {} {}", text("apiVersion"), text("kind")))?;
    let metadata = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
    if metadata("name").is_empty() {
        return Err(format!("a {} has no name", resource.kind));
    }
    let mut new = if resource.is_new_event() { event::to_core(value) } else { value.clone() };
    if let Some(map) = new.as_object_mut() {
        map.retain(|name, _| name != "apiVersion" && name != "kind");
    }
    let namespace = if metadata("namespace").is_empty() { "default" } else { metadata("namespace") };
    if resource.namespaced {
        ensure_namespace(shared, namespace);
        new["metadata"]["namespace"] = json!(namespace);
    } else if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let given = new["metadata"]["creationTimestamp"].clone();
    rules::set_defaults(resource, &mut new);
    birth::stamp(resource, &mut new, shared.faults.skew_s());
    if given.is_string() {
        new["metadata"]["creationTimestamp"] = given.clone();
    }
    let mut store = shared.store();
    let key = key(resource, namespace, metadata("name"));
    let mut draft = Draft { resource, old: store.get(resource, &key), key, new: None, managers: Vec::new() };
    if let Some(old) = &draft.old {
        write::keep_identity(old, &mut new);
        draft.managers = old.managers().to_vec();
        if given.is_string() {
            new["metadata"]["creationTimestamp"] = given;
        }
    }
    draft.new = Some(new);
    let stored = write::commit(&mut store, &draft, false).expect("the storage was locked since the draft was made");
    Ok(shown(resource, &stored))
}

/// Makes a namespace if it is missing.
pub fn ensure_namespace(shared: &Shared, name: &str) {
    let namespace = named("Namespace");
    if shared.store().get(namespace, &key(namespace, "", name)).is_none() {
        let made = put(shared, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        made.expect("a namespace is of a kind that there is");
    }
}

/// Where an object is kept.
#[must_use]
pub fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
    let namespace = if resource.namespaced { namespace } else { "" };
    (namespace.to_owned(), name.to_owned())
}

/// A stored object with its `apiVersion` and `kind`.
#[must_use]
pub fn shown(resource: &Resource, object: &Object) -> Value {
    let mut value = if resource.is_new_event() { event::to_new(object.value()) } else { object.value().clone() };
    value["apiVersion"] = json!(resource.api_version());
    value["kind"] = json!(resource.kind);
    value
}

/// The objects of one document; those of a list one by one.
///
/// # Errors
/// In words, for what is no YAML.
pub fn objects(document: &str) -> Result<Vec<Value>, String> {
    let value: Value = match serde_json::from_str(document) {
        Ok(value) => value,
        Err(_) => serde_saphyr::from_str(document).map_err(|error| error.to_string())?,
    };
    match value["items"].as_array() {
        Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => Ok(items.clone()),
        _ => Ok(vec![value]),
    }
}

/// The documents of a YAML stream that hold anything.
#[must_use]
pub fn documents(yaml: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in yaml.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let is_empty =
        |text: &String| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    documents.retain(|document| !is_empty(document));
    documents
}
