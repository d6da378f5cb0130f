//! One stored object: its value, its version, and its text, which is made once and sent many times.
//!
//! Goes in: a value without `apiVersion` and `kind` (they are the resource's). Comes out: the value, or the JSON of it.
//! Does not do: changing; a stored object is replaced.

use super::managers::Manager;
use serde_json::Value;
use std::sync::OnceLock;

/// An object as stored.
#[derive(Debug)]
pub struct Object {
    value: Value,
    version: u64,
    text: OnceLock<String>,
    managers: Vec<Manager>,
}

impl Object {
    /// An object at a version, which is written into it. 0 is of a dry run: it has none.
    #[must_use]
    pub fn new(mut value: Value, version: u64, managers: Vec<Manager>) -> Self {
        if version > 0 {
            value["metadata"]["resourceVersion"] = Value::String(version.to_string());
        }
        Self { value, version, text: OnceLock::new(), managers }
    }

    /// The value, without `apiVersion` and `kind`.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Who owns which field.
    #[must_use]
    pub fn managers(&self) -> &[Manager] {
        &self.managers
    }

    /// The JSON, without `apiVersion` and `kind`.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.value.to_string())
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.namespace`; empty for objects of the cluster.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.value["metadata"]["uid"].as_str().unwrap_or_default()
    }
}
