//! What `deploy/` holds: the chart by the real Helm engine, the plain manifests by the real kubectl, the unit by systemd.
//!
//! Rendered objects are decoded strictly by the Kubernetes API's own types; references among them lead somewhere; rights
//! are a table; arguments are taken by the real `sluice`. `cargo xtask setup` installs Helm and kubectl to `target/tools`.

mod apply;
mod chart;
mod decode;
mod kustomize;
mod rights;
mod unit;

use lb_tests::agent::binary;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A tool that came as a Python package.
fn tool(package: &str) -> PathBuf {
    let binary = binary("sluice");
    let target = binary.parent().and_then(Path::parent).expect("binaries lie in target/PROFILE");
    let directory = target.join("tools").join(package);
    assert!(directory.is_dir(), "{} is missing: `cargo xtask setup` installs it", directory.display());
    directory
}

/// `Kind namespace/name`, or `Kind name`.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{}", text(&metadata["name"])),
        None => format!("{kind} {}", text(&metadata["name"])),
    }
}

/// The one object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let [one] = found.as_slice() else { panic!("{} objects of kind {kind}", found.len()) };
    one
}

/// Texts of an array.
fn texts(array: &Value) -> Vec<&str> {
    array.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
