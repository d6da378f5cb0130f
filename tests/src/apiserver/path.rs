//! Paths into objects, and lists whose items have keys (`x-kubernetes-list-map-keys`).
//!
//! Goes in: a value and a path of segments: a field's name, or `[port=80,protocol=TCP]` for an item. Comes out: what is
//! there, or the value with it changed. Does not do: owners or patches.

use serde_json::{Map, Value, json};

/// Segments from the root.
pub type Path = Vec<String>;

/// The keys of a list's items; none when the list is replaced whole.
#[must_use]
pub fn list_keys(path: &[String]) -> &'static [&'static str] {
    let parent = path.len().checked_sub(2).map_or("", |index| path[index].as_str());
    match path.last().map_or("", String::as_str) {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets"
        | "webhooks" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ownerReferences" => &["uid"],
        "conditions" => &["type"],
        "hostAliases" => &["ip"],
        "ports" if parent == "spec" => &["port", "protocol"],
        "ports" if parent.starts_with("[name=") => &["containerPort", "protocol"],
        _ => &[],
    }
}

/// The segment of an item. A missing protocol is TCP, as the defaults say.
#[must_use]
pub fn item_segment(keys: &[&str], item: &Value) -> String {
    let pairs: Vec<String> = keys
        .iter()
        .map(|key| {
            let value = &item[*key];
            match value {
                Value::Null if *key == "protocol" => format!("{key}=TCP"),
                Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}"),
            }
        })
        .collect();
    format!("[{}]", pairs.join(","))
}

/// What is below a value: fields, or items of a list with keys. Nothing when the value is a leaf.
#[must_use]
pub fn children<'a>(value: &'a Value, path: &[String]) -> Option<Vec<(String, &'a Value)>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(name, child)| (name.clone(), child)).collect()),
        Value::Array(items) => {
            let keys = list_keys(path);
            (!keys.is_empty()).then(|| items.iter().map(|item| (item_segment(keys, item), item)).collect())
        }
        _ => None,
    }
}

/// What is at a path.
#[must_use]
pub fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut found = value;
    for depth in 0..path.len() {
        found = match found {
            Value::Object(map) => map.get(&path[depth])?,
            Value::Array(items) => {
                let keys = list_keys(&path[..depth]);
                items.iter().find(|item| item_segment(keys, item) == path[depth])?
            }
            _ => return None,
        };
    }
    Some(found)
}

/// Puts a leaf at a path, making what is missing on the way. Keys of new items are taken from `source`.
pub fn insert(value: &mut Value, path: &[String], leaf: &Value, source: &Value) {
    let mut place = value;
    for depth in 0..path.len() {
        let segment = &path[depth];
        place = if segment.starts_with('[') {
            if !place.is_array() {
                *place = json!([]);
            }
            let keys = list_keys(&path[..depth]);
            let Value::Array(items) = place else { return };
            let index = items.iter().position(|item| item_segment(keys, item) == *segment).unwrap_or_else(|| {
                let whole = at(source, &path[..=depth]).cloned().unwrap_or_else(|| json!({}));
                let named = keys.iter().filter_map(|key| Some(((*key).to_owned(), whole.get(*key)?.clone())));
                items.push(Value::Object(named.collect::<Map<_, _>>()));
                items.len() - 1
            });
            &mut items[index]
        } else {
            if !place.is_object() {
                *place = json!({});
            }
            let Value::Object(map) = place else { return };
            map.entry(segment.clone()).or_insert(Value::Null)
        };
    }
    *place = leaf.clone();
}

/// Removes what is at a path, and what is left empty above it, but not a whole top-level field.
pub fn remove(value: &mut Value, path: &[String]) {
    remove_below(value, path, 0);
}

fn remove_below(value: &mut Value, path: &[String], depth: usize) -> bool {
    let last = depth + 1 == path.len();
    let emptied = match value {
        Value::Object(map) => {
            let gone = last || map.get_mut(&path[depth]).is_some_and(|child| remove_below(child, path, depth + 1));
            if gone {
                map.remove(&path[depth]);
            }
            map.is_empty()
        }
        Value::Array(items) => {
            let keys = list_keys(&path[..depth]);
            if let Some(index) = items.iter().position(|item| item_segment(keys, item) == path[depth]) {
                // An item is gone with the first of its keys.
                let is_key = path.get(depth + 1).is_some_and(|field| keys.contains(&field.as_str()));
                if last || is_key || remove_below(&mut items[index], path, depth + 1) {
                    items.remove(index);
                }
            }
            items.is_empty()
        }
        _ => false,
    };
    emptied && depth > 0
}

/// Whether `inner` is `outer` or below it.
#[must_use]
pub fn is_within(inner: &[String], outer: &[String]) -> bool {
    inner.starts_with(outer)
}

/// As messages write it: `.spec.ports[port=80,protocol=TCP].name`.
#[must_use]
pub fn shown(path: &[String]) -> String {
    path.iter().map(|s| if s.starts_with('[') { s.clone() } else { format!(".{s}") }).collect()
}

/// What is at a dotted path of fields, as field selectors write it.
#[must_use]
pub fn dotted<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, field| &value[field])
}
