//! YAML to objects, held against the types of the Kubernetes API: unknown and mistyped fields fail.
//!
//! The types are those of the crate k8s-openapi, made from the API's own OpenAPI document. They do not know which fields
//! must be there; what matters of that is asserted by name elsewhere.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All documents of a text, but empty ones.
pub fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// What is wrong with an object.
pub fn faults(object: &Value) -> Vec<String> {
    let kind = |field: &str| object[field].as_str().unwrap_or_default();
    match (kind("apiVersion"), kind("kind")) {
        ("apps/v1", "DaemonSet") => strict::<DaemonSet>(object),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            strict::<ValidatingWebhookConfiguration>(object)
        }
        ("v1", "Namespace") => strict::<Namespace>(object),
        ("v1", "Service") => strict::<Service>(object),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(object),
        ("networking.k8s.io/v1", "IngressClass") => strict::<IngressClass>(object),
        ("policy/v1", "PodDisruptionBudget") => strict::<PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => strict::<ClusterRoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<RoleBinding>(object),
        // Of the Prometheus operator, not of Kubernetes: a test of its own looks at it.
        ("monitoring.coreos.com/v1", "ServiceMonitor") => Vec::new(),
        (version, kind) => vec![format!("{version} {kind}: no such kind is expected")],
    }
}

fn strict<T: DeserializeOwned>(object: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let decoded: Result<T, _> =
        serde_ignored::deserialize(object, |path| faults.push(format!("unknown field {path}").replace("?.", "")));
    faults.extend(decoded.err().map(|error| error.to_string()));
    faults
}

#[test]
fn a_slip_is_found() {
    let check = |text: &str, want: &[&str]| {
        let found: Vec<String> = documents(text).iter().flat_map(faults).collect();
        assert_eq!(found.len(), want.len(), "{found:?}");
        for (found, want) in found.iter().zip(want) {
            assert!(found.contains(want), "{want} in {found}");
        }
    };
    let spec = |pod: &str| format!("apiVersion: apps/v1\nkind: DaemonSet\nspec: {{template: {{spec: {{{pod}}}}}}}\n");
    check(&spec("hostNetwork: true, containers: [{name: a}]"), &[]);
    check(&spec("hostNetworks: true"), &["unknown field spec.template.spec.hostNetworks"]);
    check(&spec("containers: [{name: a, securityContext: {capabilities: {adds: [BPF]}}}]"), &["capabilities.adds"]);
    check(&spec("hostNetwork: \"true\""), &["invalid type"]);
    check("apiVersion: v1\nkind: Secret\n", &["no such kind"]);
}
