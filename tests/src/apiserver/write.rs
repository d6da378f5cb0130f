//! Changes: what an update, patch or delete makes of an object, decided before anything is stored.
//!
//! Goes in: the storage, a request and its body. Comes out: a [`Draft`], which webhooks may see, and which [`commit`]
//! stores if nobody was faster. Source: kubernetes.io/docs/reference/using-api/api-concepts and each kind's strategy
//! in k8s.io/kubernetes `pkg/registry`. Does not do: creating (`birth`),
//! permission, answers.

use super::ask::Ask;
use super::birth::{create, created};
use super::clock;
use super::event;
use super::failure::Failure;
use super::managers::{self, Manager, Writer};
use super::object::Object;
use super::patch;
use super::resource::Resource;
use super::rules;
use super::store::{Key, Store};
use serde_json::{Value, json};
use std::sync::Arc;

/// A change that is decided and not yet stored.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Of what kind.
    pub resource: &'static Resource,
    /// Of which object.
    pub key: Key,
    /// Before.
    pub old: Option<Arc<Object>>,
    /// After; nothing for a deletion.
    pub new: Option<Value>,
    /// Owners of the fields after.
    pub managers: Vec<Manager>,
}

/// The body of a request, by its content type.
#[derive(Clone, Debug)]
pub enum Body {
    /// An object.
    Object(Value),
    /// `application/json-patch+json`.
    JsonPatch(Value),
    /// `application/merge-patch+json`.
    MergePatch(Value),
    /// `application/strategic-merge-patch+json`.
    StrategicPatch(Value),
    /// `application/apply-patch+yaml`.
    Apply(Value),
}

/// Kinds whose objects have a `metadata.generation`.
pub(super) const WITH_GENERATION: &[&str] = &[
    "Ingress",
    "IngressClass",
    "EndpointSlice",
    "DaemonSet",
    "Deployment",
    "PodDisruptionBudget",
    "ValidatingWebhookConfiguration",
    "CustomResourceDefinition",
];

/// Kinds that a PUT creates when they are missing (`AllowCreateOnUpdate`).
const CREATED_BY_UPDATE: &[&str] = &["Lease", "Event", "Endpoints"];

/// Kinds that a PUT must give the version of (not `AllowUnconditionalUpdate`).
const UPDATED_BY_VERSION: &[&str] = &["Lease", "PodDisruptionBudget", "ValidatingWebhookConfiguration"];

/// Decides an update, of the whole or of the status.
///
/// # Errors
/// 400, 404, 409, 422.
pub fn update(store: &Store, ask: &Ask, body: &Value, skew_s: i64) -> Result<Draft, Failure> {
    let mut value = taken(ask, body)?;
    if value["metadata"]["name"].is_null() {
        value["metadata"]["name"] = json!(ask.name);
    }
    if value["metadata"]["name"] != ask.name.as_str() {
        let (sent, path) = (&value["metadata"]["name"], &ask.name);
        return Err(Failure::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({path})",
            sent.as_str().unwrap_or_default()
        )));
    }
    let key = key_of(ask, &value);
    let Some(old) = store.get(ask.resource, &key) else {
        if CREATED_BY_UPDATE.contains(&ask.resource.kind) && ask.subresource.is_empty() {
            return create(store, ask, body, skew_s);
        }
        return Err(Failure::not_found(ask.resource, &ask.name));
    };
    let is_versioned = value["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
    if !is_versioned && UPDATED_BY_VERSION.contains(&ask.resource.kind) {
        let cause = (
            "metadata.resourceVersion".to_owned(),
            "FieldValueInvalid",
            "Invalid value: 0x0: must be specified for an update".to_owned(),
        );
        return Err(Failure::invalid(ask.resource.kind, ask.resource.group, &ask.name, &[cause]));
    }
    changed(ask, key, old, value, None)
}

/// Decides a patch.
///
/// # Errors
/// 400, 404, 409, 415, 422.
pub fn patch(store: &Store, ask: &Ask, body: &Body, skew_s: i64) -> Result<Draft, Failure> {
    let key = (ask.namespace.clone(), ask.name.clone());
    let old = store.get(ask.resource, &key);
    let writer = Writer { name: ask.manager(), subresource: &ask.subresource };
    if let Body::Apply(configuration) = body {
        if ask.option("fieldManager").is_empty() {
            let cause = (
                "fieldManager".to_owned(),
                "FieldValueRequired",
                "Required value: is required for apply patch".to_owned(),
            );
            return Err(Failure::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
        }
        let mut configuration = taken(ask, configuration)?;
        let version = configuration["metadata"]["resourceVersion"].clone();
        // The status is applied by its own path only, and that applies nothing else.
        if ask.subresource == "status" {
            configuration = json!({"metadata": {"name": ask.name}, "status": configuration["status"]});
        } else if ask.resource.status {
            drop_field(&mut configuration, "status");
        }
        let (live, owners) = match &old {
            Some(old) => (old.value().clone(), old.managers()),
            None => (json!({"metadata": {"name": ask.name}}), &[][..]),
        };
        let (mut value, owners) = managers::apply(owners, &live, &configuration, writer, ask.is_set("force"))?;
        return match old {
            Some(old) => {
                value["metadata"]["resourceVersion"] = version;
                changed(ask, key, old, value, Some(owners))
            }
            None if !ask.subresource.is_empty() => Err(Failure::not_found(ask.resource, &ask.name)),
            None => {
                if ask.resource.namespaced {
                    value["metadata"]["namespace"] = json!(ask.namespace);
                }
                created(store, ask, value, owners, skew_s)
            }
        };
    }
    let Some(old) = old else { return Err(Failure::not_found(ask.resource, &ask.name)) };
    let mut value = if ask.resource.is_new_event() { event::to_new(old.value()) } else { old.value().clone() };
    match body {
        Body::JsonPatch(operations) => patch::json_patch(&mut value, operations)?,
        Body::MergePatch(merged) => patch::merge_patch(&mut value, merged),
        Body::StrategicPatch(merged) => patch::strategic_patch(&mut value, merged),
        Body::Object(_) | Body::Apply(_) => {
            return Err(Failure::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    }
    let value = taken(ask, &value)?;
    changed(ask, key, old, value, None)
}

/// What an update or patch makes of an object that is there. Without `owners` they follow from what changed.
fn changed(
    ask: &Ask,
    key: Key,
    old: Arc<Object>,
    mut value: Value,
    owners: Option<Vec<Manager>>,
) -> Result<Draft, Failure> {
    let resource = ask.resource;
    let sent = value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    if !sent.is_empty() && sent != old.version().to_string() {
        return Err(Failure::stale(resource, &key.1));
    }
    if let Some(uid) = value["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty() && *uid != old.uid()) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid());
        return Err(Failure::conflict(resource, &key.1, &why));
    }
    if ask.subresource == "status" {
        let status = value["status"].take();
        value = old.value().clone();
        value["status"] = status;
    } else if resource.status {
        match old.value().get("status") {
            Some(status) => value["status"] = status.clone(),
            None => drop_field(&mut value, "status"),
        }
    }
    rules::set_defaults(resource, &mut value);
    keep_identity(&old, &mut value);
    rules::validate(resource, &value)?;
    let writer = Writer { name: ask.manager(), subresource: &ask.subresource };
    let owners = owners.unwrap_or_else(|| managers::updated(old.managers(), old.value(), &value, writer));
    let is_leaving = !value["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&value);
    Ok(Draft { resource, key, old: Some(old), new: (!is_leaving).then_some(value), managers: owners })
}

/// Takes over what only the server sets, and counts the generation up when the meaning changed.
pub fn keep_identity(old: &Object, value: &mut Value) {
    let before = &old.value()["metadata"];
    for field in ["name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"]
    {
        match before.get(field) {
            Some(before) => value["metadata"][field] = before.clone(),
            None => drop_field(&mut value["metadata"], field),
        }
    }
    drop_field(&mut value["metadata"], "managedFields");
    if let Some(generation) = before["generation"].as_u64()
        && is_meant_otherwise(old.value(), value)
    {
        value["metadata"]["generation"] = json!(generation + 1);
    }
}

/// Whether anything but metadata and status differs.
fn is_meant_otherwise(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return true };
    let meant = |name: &&String| *name != "metadata" && *name != "status";
    old.keys().chain(new.keys()).filter(meant).any(|name| old.get(name) != new.get(name))
}

/// Decides a deletion. With finalizers the object stays and is marked.
///
/// # Errors
/// 404, 409.
pub fn delete(store: &Store, ask: &Ask, options: &Value, skew_s: i64) -> Result<Draft, Failure> {
    let key = (ask.namespace.clone(), ask.name.clone());
    let Some(old) = store.get(ask.resource, &key) else { return Err(Failure::not_found(ask.resource, &ask.name)) };
    for (field, have) in [("uid", old.uid().to_owned()), ("resourceVersion", old.version().to_string())] {
        if let Some(wanted) = options["preconditions"][field].as_str().filter(|wanted| *wanted != have) {
            let name = if field == "uid" { "UID" } else { "ResourceVersion" };
            let why = format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {have}");
            return Err(Failure::conflict(ask.resource, &ask.name, &why));
        }
    }
    let mut new = None;
    if has_finalizers(old.value()) {
        let mut value = old.value().clone();
        if value["metadata"]["deletionTimestamp"].is_null() {
            value["metadata"]["deletionTimestamp"] = json!(clock::rfc3339(clock::now_s(skew_s)));
        }
        new = Some(value);
    }
    let managers = old.managers().to_vec();
    Ok(Draft { resource: ask.resource, key, old: Some(old), new, managers })
}

/// Stores a draft, and answers the object after it. Nothing when somebody was faster: then decide again.
pub fn commit(store: &mut Store, draft: &Draft, is_dry_run: bool) -> Option<Arc<Object>> {
    let current = store.get(draft.resource, &draft.key);
    if current.as_ref().map(|object| object.version()) != draft.old.as_ref().map(|object| object.version()) {
        return None;
    }
    match &draft.new {
        Some(new) => {
            if let Some(old) = &current
                && old.value() == new
                && old.managers() == draft.managers
            {
                return current;
            }
            if is_dry_run {
                let version = current.map_or(0, |object| object.version());
                return Some(Arc::new(Object::new(new.clone(), version, draft.managers.clone())));
            }
            Some(store.put(draft.resource, draft.key.clone(), new.clone(), draft.managers.clone()))
        }
        None if is_dry_run => current,
        None => {
            let last = store.remove(draft.resource, &draft.key);
            if draft.resource.kind == "Namespace" {
                empty(store, &draft.key.1);
            }
            last
        }
    }
}

/// Removes everything in a namespace.
fn empty(store: &mut Store, namespace: &str) {
    for resource in super::resource::RESOURCES.iter().filter(|r| r.namespaced && !r.is_new_event()) {
        let keys: Vec<Key> = store.all(resource, namespace).map(|(key, _)| key.clone()).collect();
        for key in keys {
            store.remove(resource, &key);
        }
    }
}

/// The body as it is stored: checked against the path, without `apiVersion` and `kind`, an Event in core's form.
pub(super) fn taken(ask: &Ask, body: &Value) -> Result<Value, Failure> {
    let mut value = body.clone();
    if !value.is_object() || !(value["metadata"].is_object() || value["metadata"].is_null()) {
        return Err(Failure::bad_request("the object provided is unrecognized (must be of type Object)"));
    }
    for (field, want) in [("apiVersion", ask.resource.api_version()), ("kind", ask.resource.kind.to_owned())] {
        let sent = value[field].as_str().unwrap_or_default();
        if !sent.is_empty() && sent != want {
            let what = if field == "kind" { "kind" } else { "API version" };
            return Err(Failure::bad_request(format!(
                "the {what} in the data ({sent}) does not match the expected {what} ({want})"
            )));
        }
        drop_field(&mut value, field);
    }
    if ask.resource.is_new_event() {
        value = event::to_core(&value);
    }
    let sent = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if ask.resource.namespaced {
        if !sent.is_empty() && sent != ask.namespace {
            return Err(Failure::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({sent} and {})",
                ask.namespace
            )));
        }
        value["metadata"]["namespace"] = json!(ask.namespace);
    }
    Ok(value)
}

pub(super) fn key_of(ask: &Ask, value: &Value) -> Key {
    (ask.namespace.clone(), value["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

pub(super) fn drop_field(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}
