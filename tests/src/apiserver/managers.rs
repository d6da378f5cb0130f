//! Field managers: who owns which field of an object, and what server-side apply does with that.
//!
//! Goes in: a stored object and a configuration or a changed value. Comes out: the new value with its owners, or a 409
//! that names the fields and their owners. Source: kubernetes.io/docs/reference/using-api/server-side-apply. Does not
//! do: `metadata.managedFields` on the wire; ownership is kept beside the object, by paths of leaves.

use super::failure::Failure;
use super::path::{Path, at, children, insert, is_within, remove, shown};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One owner of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// `fieldManager`.
    pub name: String,
    /// Whether it applies; else it updates.
    pub applies: bool,
    /// `status` or nothing.
    pub subresource: String,
    /// Paths of the leaves it owns.
    pub fields: BTreeSet<Path>,
}

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// `fieldManager`.
    pub name: &'a str,
    /// `status` or nothing.
    pub subresource: &'a str,
}

/// Fields that nobody owns: they say which object it is, or the server sets them.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
];

/// The leaves of a value, each with its path. Lists without keys are leaves.
#[must_use]
pub fn leaves(value: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    collect(value, &mut Vec::new(), &mut found);
    found.retain(|path, _| {
        !(path.first().is_some_and(|first| first == "metadata")
            && path.get(1).is_none_or(|second| UNOWNED.contains(&second.as_str())))
    });
    found
}

fn collect(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
    match children(value, path) {
        Some(children) if !children.is_empty() => {
            for (segment, child) in children {
                path.push(segment);
                collect(child, path, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone(), value.clone());
        }
    }
}

/// Owners after an update or another patch: who changed a leaf owns it alone.
#[must_use]
pub fn updated(before: &[Manager], old: &Value, new: &Value, writer: Writer<'_>) -> Vec<Manager> {
    let (old, new) = (leaves(old), leaves(new));
    let changed: BTreeSet<Path> =
        new.iter().filter(|(path, value)| old.get(*path) != Some(value)).map(|(path, _)| path.clone()).collect();
    let mut after = before.to_vec();
    for manager in &mut after {
        manager.fields.retain(|path| !changed.contains(path) && new.keys().any(|leaf| is_within(leaf, path)));
    }
    own(&mut after, writer, false).fields.extend(changed);
    after.retain(|manager| !manager.fields.is_empty());
    after
}

/// Applies a configuration to a value.
///
/// # Errors
/// 409 when another manager owns a field with another value, unless `force`.
pub fn apply(
    before: &[Manager],
    live: &Value,
    configuration: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<(Value, Vec<Manager>), Failure> {
    let wanted = leaves(configuration);
    let is_writer = |m: &Manager| m.name == writer.name && m.applies && m.subresource == writer.subresource;
    let mut conflicts: Vec<(String, Path)> = Vec::new();
    let mut after = before.to_vec();
    for (path, value) in &wanted {
        if is_there(live, path, value) {
            continue;
        }
        for manager in after.iter_mut().filter(|m| !is_writer(m)) {
            if manager.fields.iter().any(|owned| is_within(owned, path)) {
                conflicts.push((manager.name.clone(), path.clone()));
                manager.fields.retain(|owned| !is_within(owned, path));
            }
        }
    }
    if !conflicts.is_empty() && !force {
        return Err(refusal(&conflicts));
    }
    let mut value = live.clone();
    for (path, leaf) in wanted.iter().filter(|(path, leaf)| !is_there(live, path, leaf)) {
        insert(&mut value, path, leaf, configuration);
    }
    let had = before.iter().find(|m| is_writer(m)).map(|m| m.fields.clone()).unwrap_or_default();
    for path in had.iter().filter(|path| !wanted.contains_key(*path)) {
        let kept = wanted.keys().any(|want| is_within(want, path))
            || after.iter().any(|m| !is_writer(m) && m.fields.iter().any(|owned| is_within(owned, path)));
        if !kept {
            remove(&mut value, path);
        }
    }
    own(&mut after, writer, true).fields = wanted.into_keys().collect();
    after.retain(|manager| !manager.fields.is_empty());
    Ok((value, after))
}

/// Whether a leaf needs no change. An empty map or list with keys is content with what others put into it.
fn is_there(live: &Value, path: &Path, leaf: &Value) -> bool {
    let is_empty = leaf.as_object().is_some_and(serde_json::Map::is_empty)
        || (leaf.as_array().is_some_and(Vec::is_empty) && children(leaf, path).is_some());
    at(live, path).is_some_and(|found| {
        found == leaf || (is_empty && found.is_object() == leaf.is_object() && found.is_array() == leaf.is_array())
    })
}

fn own<'a>(managers: &'a mut Vec<Manager>, writer: Writer<'_>, applies: bool) -> &'a mut Manager {
    let is_it = |m: &Manager| m.name == writer.name && m.applies == applies && m.subresource == writer.subresource;
    let index = managers.iter().position(is_it).unwrap_or_else(|| {
        let (name, subresource) = (writer.name.to_owned(), writer.subresource.to_owned());
        managers.push(Manager { name, applies, subresource, fields: BTreeSet::new() });
        managers.len() - 1
    });
    &mut managers[index]
}

fn refusal(conflicts: &[(String, Path)]) -> Failure {
    let listed: Vec<String> =
        conflicts.iter().map(|(manager, path)| format!("conflict with \"{manager}\": {}", shown(path))).collect();
    let (number, plural) = (conflicts.len(), if conflicts.len() == 1 { "" } else { "s" });
    let message = format!("Apply failed with {number} conflict{plural}: {}", listed.join("\n"));
    let mut failure = Failure::new(409, "Conflict", message);
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            let message = format!("conflict with \"{manager}\"");
            json!({"reason": "FieldManagerConflict", "message": message, "field": shown(path)})
        })
        .collect();
    failure.details = json!({"causes": causes});
    failure
}

#[cfg(test)]
mod tests {
    use super::{Writer, apply, updated};
    use serde_json::json;

    const A: Writer<'_> = Writer { name: "a", subresource: "" };
    const B: Writer<'_> = Writer { name: "b", subresource: "" };

    #[test]
    fn owners_conflict_and_give_up_fields() {
        let first = json!({"metadata": {"labels": {"x": "1", "y": "1"}}, "spec": {"ports": [{"port": 80}]}});
        let (live, owners) = apply(&[], &json!({}), &first, A, false).expect("nobody else is there");
        assert_eq!(live, first);
        let other = json!({"metadata": {"labels": {"x": "2"}}});
        let refused = apply(&owners, &live, &other, B, false).expect_err("a owns it");
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (409, "Apply failed with 1 conflict: conflict with \"a\": .metadata.labels.x")
        );
        let (live, owners) = apply(&owners, &live, &other, B, true).expect("forced");
        let third = json!({"spec": {"ports": [{"port": 80}, {"port": 443}]}});
        let (live, owners) = apply(&owners, &live, &third, A, false).expect("a owns it");
        assert_eq!(live, json!({"metadata": {"labels": {"x": "2"}}, "spec": {"ports": [{"port": 80}, {"port": 443}]}}));
        let edited = json!({"metadata": {"labels": {"x": "3"}}, "spec": {"ports": [{"port": 80}, {"port": 443}]}});
        let owners = updated(&owners, &live, &edited, Writer { name: "editor", subresource: "" });
        assert_eq!(apply(&owners, &edited, &other, B, false).expect_err("the editor owns it").code, 409);
    }
}
