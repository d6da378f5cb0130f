//! The stand-in for kube-apiserver has the manners of the real one. What is asked here is written in the Kubernetes API's
//! documentation (API concepts, server-side apply, RBAC, extensible admission controllers).

mod client;
mod faults;
mod kubectl;
mod lists;

mod program;
mod roles;
mod watches;
mod webhooks;
mod writes;

use serde_json::{Value, json};

const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

fn config_map(name: &str, data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": name}}, "data": data})
        .to_string()
}

fn ingress(name: &str, host: &str) -> Value {
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]},
    })
}
