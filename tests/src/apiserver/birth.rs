//! Creating: what a new object is given, and why it may not be.
//!
//! Goes in: the storage, a request and its body. Comes out: a [`Draft`]. Does not do: storing.

use super::ask::Ask;
use super::clock;
use super::failure::Failure;
use super::managers::{self, Manager, Writer};
use super::resource::{Resource, named};
use super::rules;
use super::store::Store;
use super::write::{Draft, WITH_GENERATION, drop_field, key_of, taken};
use serde_json::{Value, json};

/// Letters of generated names (k8s.io/apimachinery `pkg/util/rand`), how many, and how long the rest may be.
const GENERATED_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const GENERATED_LENGTH: usize = 5;
const GENERATED_BASE_MAX: usize = 58;

/// Decides a create.
///
/// # Errors
/// 400, 404 (namespace), 409, 422.
pub fn create(store: &Store, ask: &Ask, body: &Value, skew_s: i64) -> Result<Draft, Failure> {
    let mut value = taken(ask, body)?;
    generate_name(&mut value);
    if value["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let writer = Writer { name: ask.manager(), subresource: &ask.subresource };
    let owners = managers::updated(&[], &json!({}), &value, writer);
    created(store, ask, value, owners, skew_s)
}

/// Decides what becomes of an object that is not there yet, with the owners of its fields.
///
/// # Errors
/// As [`create`].
pub fn created(
    store: &Store,
    ask: &Ask,
    mut value: Value,
    owners: Vec<Manager>,
    skew_s: i64,
) -> Result<Draft, Failure> {
    let resource = ask.resource;
    let is_namespace_missing = || store.get(named("Namespace"), &(String::new(), ask.namespace.clone())).is_none();
    if resource.namespaced && is_namespace_missing() {
        return Err(Failure::not_found(named("Namespace"), &ask.namespace));
    }
    if resource.status && resource.kind != "Node" {
        drop_field(&mut value, "status");
    }
    let key = key_of(ask, &value);
    rules::validate(resource, &value)?;
    if store.get(resource, &key).is_some() {
        return Err(Failure::already_exists(resource, &key.1));
    }
    rules::set_defaults(resource, &mut value);
    stamp(resource, &mut value, skew_s);
    Ok(Draft { resource, key, old: None, new: Some(value), managers: owners })
}

/// Gives a new object what only the server gives.
pub fn stamp(resource: &Resource, value: &mut Value, skew_s: i64) {
    let metadata = &mut value["metadata"];
    metadata["uid"] = json!(uid());
    metadata["creationTimestamp"] = json!(clock::rfc3339(clock::now_s(skew_s)));
    if WITH_GENERATION.contains(&resource.kind) {
        metadata["generation"] = json!(1);
    }
    drop_field(metadata, "deletionTimestamp");
    drop_field(metadata, "managedFields");
}

/// A random one (RFC 9562, version 4).
fn uid() -> String {
    let random = fastrand::u128(..);
    let (a, b, c, d) = (random >> 96, (random >> 80) & 0xffff, (random >> 64) & 0xfff, (random >> 48) & 0x3fff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", d | 0x8000, random & 0xffff_ffff_ffff)
}

fn generate_name(value: &mut Value) {
    let metadata = &mut value["metadata"];
    let base = metadata["generateName"].as_str().unwrap_or_default();
    if metadata["name"].as_str().is_none_or(str::is_empty) && !base.is_empty() {
        let base: String = base.chars().take(GENERATED_BASE_MAX).collect();
        let letter = |_| char::from(GENERATED_LETTERS[fastrand::usize(..GENERATED_LETTERS.len())]);
        let tail: String = (0..GENERATED_LENGTH).map(letter).collect();
        metadata["name"] = json!(base + &tail);
    }
}
