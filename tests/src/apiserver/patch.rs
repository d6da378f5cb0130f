//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.
//!
//! Goes in: a value and a patch. Comes out: the changed value, or a refusal. Strategic merge knows the directives
//! `$patch`, `$retainKeys`, `$setElementOrder` and `$deleteFromPrimitiveList`, and the keys of `path::list_keys`; other
//! lists are replaced. Does not do: server-side apply (`managers`).

use super::failure::Failure;
use super::path::{item_segment, list_keys};
use serde_json::{Map, Value};

/// Applies a JSON patch.
///
/// # Errors
/// 400 for a patch that is none, 422 for an operation that cannot be done or a failed `test`.
pub fn json_patch(value: &mut Value, patch: &Value) -> Result<(), Failure> {
    let operations = patch.as_array().ok_or_else(|| Failure::bad_request("a JSON patch is a list of operations"))?;
    for operation in operations {
        let text = |field: &str| operation[field].as_str().map(str::to_owned);
        let verb = text("op").ok_or_else(|| Failure::bad_request("an operation has no op"))?;
        let path = text("path").ok_or_else(|| Failure::bad_request("an operation has no path"))?;
        let refused = || {
            let reason = format!("the server rejected our request due to an error in our request: {verb} {path}");
            Failure::new(422, "Invalid", reason)
        };
        let given = || operation.get("value").cloned().ok_or_else(refused);
        let done = match verb.as_str() {
            "add" => add(value, &path, given()?),
            "remove" => take(value, &path).map(|_| ()),
            "replace" => take(value, &path).and(Some(given()?)).and_then(|new| add(value, &path, new)),
            "test" => (value.pointer(&path) == Some(&given()?)).then_some(()),
            "move" => text("from").and_then(|from| take(value, &from)).and_then(|moved| add(value, &path, moved)),
            "copy" => {
                text("from").and_then(|from| value.pointer(&from).cloned()).and_then(|copied| add(value, &path, copied))
            }
            _ => return Err(Failure::bad_request(format!("unknown operation {verb}"))),
        };
        done.ok_or_else(refused)?;
    }
    Ok(())
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(value: &mut Value, path: &str, new: Value) -> Option<()> {
    if path.is_empty() {
        *value = new;
        return Some(());
    }
    let (parent, last) = split(path)?;
    match value.pointer_mut(parent)? {
        Value::Object(map) => {
            map.insert(last, new);
        }
        Value::Array(items) => {
            let index = if last == "-" { items.len() } else { last.parse().ok()? };
            (index <= items.len()).then(|| items.insert(index, new))?;
        }
        _ => return None,
    }
    Some(())
}

fn take(value: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match value.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&last),
        Value::Array(items) => {
            let index: usize = last.parse().ok()?;
            (index < items.len()).then(|| items.remove(index))
        }
        _ => None,
    }
}

/// Applies a JSON merge patch.
pub fn merge_patch(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    let map = as_map(value);
    for (name, new) in patch {
        if new.is_null() {
            map.remove(name);
        } else {
            merge_patch(map.entry(name.clone()).or_insert(Value::Null), new);
        }
    }
}

/// Applies a strategic merge patch.
pub fn strategic_patch(value: &mut Value, patch: &Value) {
    strategic(value, patch, &mut Vec::new());
}

fn strategic(value: &mut Value, patch: &Value, path: &mut Vec<String>) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    let fields = || patch.iter().filter(|(name, _)| !name.starts_with('$'));
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        *value = Value::Object(fields().map(|(name, new)| (name.clone(), new.clone())).collect());
        return;
    }
    let map = as_map(value);
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    for (name, gone) in patch.iter().filter_map(|(n, v)| Some((n.strip_prefix("$deleteFromPrimitiveList/")?, v))) {
        if let (Some(items), Some(gone)) = (map.get_mut(name).and_then(Value::as_array_mut), gone.as_array()) {
            items.retain(|item| !gone.contains(item));
        }
    }
    for (name, new) in fields() {
        path.push(name.clone());
        match new {
            Value::Null => {
                map.remove(name);
            }
            Value::Object(directive) if directive.get("$patch").is_some_and(|d| d == "delete") => {
                map.remove(name);
            }
            Value::Array(items) => {
                let order = patch.get(&format!("$setElementOrder/{name}")).and_then(Value::as_array);
                strategic_list(map.entry(name.clone()).or_insert(Value::Null), items, order, path);
            }
            _ => strategic(map.entry(name.clone()).or_insert(Value::Null), new, path),
        }
        path.pop();
    }
}

fn strategic_list(value: &mut Value, patch: &[Value], order: Option<&Vec<Value>>, path: &mut Vec<String>) {
    // The merge key of a strategic patch is the first of the keys: `port`, not `port` and `protocol`.
    let keys = list_keys(path);
    let keys = &keys[..keys.len().min(1)];
    let replaced = patch.iter().any(|item| item["$patch"] == "replace");
    let is_set = path.last().is_some_and(|name| name == "finalizers");
    if replaced || (keys.is_empty() && !is_set) || !value.is_array() {
        let plain = patch.iter().filter(|item| item["$patch"].is_null()).cloned();
        *value = Value::Array(plain.collect());
        return;
    }
    let Value::Array(items) = value else { return };
    for new in patch {
        let same =
            |item: &Value| if is_set { item == new } else { item_segment(keys, item) == item_segment(keys, new) };
        let found = items.iter().position(same);
        match found {
            Some(index) if new["$patch"] == "delete" => {
                items.remove(index);
            }
            Some(index) => {
                path.push(item_segment(keys, new));
                strategic(&mut items[index], new, path);
                path.pop();
            }
            None if new["$patch"] == "delete" => {}
            None => items.push(new.clone()),
        }
    }
    if let Some(order) = order.filter(|_| !is_set) {
        let wanted = |item: &Value| order.iter().position(|o| item_segment(keys, o) == item_segment(keys, item));
        items.sort_by_key(|item| wanted(item).unwrap_or(usize::MAX));
    }
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::{json_patch, merge_patch, strategic_patch};
    use serde_json::{Value, json};

    #[test]
    fn patches() {
        let value = json!({"spec": {"a": 1, "ports": [{"port": 80, "name": "x"}, {"port": 81}], "list": [1, 2]}});
        let check = |kind: &str, patch: Value, want: Value| {
            let mut value = value.clone();
            match kind {
                "merge" => merge_patch(&mut value, &patch),
                "strategic" => strategic_patch(&mut value, &patch),
                _ => json_patch(&mut value, &patch).expect("it can be done"),
            }
            assert_eq!(value, want, "{kind} {patch}");
        };
        check("merge", json!({"spec": {"a": null, "ports": null, "list": [3]}}), json!({"spec": {"list": [3]}}));
        check(
            "strategic",
            json!({"spec": {"a": null, "ports": [{"port": 80, "name": "y"}, {"port": 81, "$patch": "delete"}, {"port": 82}],
                "list": [3]}}),
            json!({"spec": {"ports": [{"port": 80, "name": "y"}, {"port": 82}], "list": [3]}}),
        );
        check("strategic", json!({"spec": {"$patch": "replace", "b": 1}}), json!({"spec": {"b": 1}}));
        check(
            "json",
            json!([{"op": "test", "path": "/spec/a", "value": 1}, {"op": "remove", "path": "/spec/ports"},
                {"op": "replace", "path": "/spec/a", "value": 2}, {"op": "add", "path": "/spec/list/-", "value": 3},
                {"op": "add", "path": "/spec/x~1y", "value": {}}]),
            json!({"spec": {"a": 2, "list": [1, 2, 3], "x/y": {}}}),
        );
        let failed = json_patch(&mut value.clone(), &json!([{"op": "test", "path": "/spec/a", "value": 9}]));
        assert_eq!(failed.expect_err("the test fails").code, 422);
    }
}
