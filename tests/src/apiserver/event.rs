//! Events in their two forms: stored as core's, shown by `events.k8s.io` under its own names.
//!
//! Goes in: an Event of either form. Comes out: the other. Source: k8s.io/kubernetes `pkg/apis/events/v1/conversion.go`.
//! Does not do: validation (`rules`).

use serde_json::Value;

/// Core's name and the other one.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

/// From `events.k8s.io` to core.
#[must_use]
pub fn to_core(value: &Value) -> Value {
    renamed(value, |name| NAMES.iter().find(|(_, new)| *new == name).map(|(core, _)| *core))
}

/// From core to `events.k8s.io`.
#[must_use]
pub fn to_new(value: &Value) -> Value {
    renamed(value, |name| NAMES.iter().find(|(core, _)| *core == name).map(|(_, new)| *new))
}

fn renamed(value: &Value, other: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let rename = |(name, value): (&String, &Value)| (other(name).unwrap_or(name).to_owned(), value.clone());
    Value::Object(map.iter().map(rename).collect())
}
