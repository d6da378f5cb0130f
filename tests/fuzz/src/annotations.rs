//! Values of annotations: whatever they are, the Ingress is translated, to the same every time; each value that is not
//! understood is told of, and what keeps somebody out never vanishes in silence.

use crate::bytes::Bytes;
use lb_core::filter::Filter;
use lb_core::model::Route;
use lb_core::model::route::Target;
use lb_userspace::config::Objects;
use lb_userspace::control::source::manifest;
use lb_userspace::control::store::Store;
use lb_userspace::control::translate::translate;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Annotations of one Ingress.
const ANNOTATIONS_MAX: usize = 4;

const KEYS: [&str; 24] = [
    "rewrite-target",
    "use-regex",
    "ssl-redirect",
    "force-ssl-redirect",
    "backend-protocol",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "allowlist-source-range",
    "whitelist-source-range",
    "permanent-redirect",
    "permanent-redirect-code",
    "temporal-redirect",
    "load-balance",
    "upstream-hash-by",
    "proxy-next-upstream",
    "proxy-next-upstream-tries",
    "proxy-ssl-secret",
    "proxy-ssl-verify",
    "proxy-ssl-name",
    "auth-tls-secret",
    "configuration-snippet",
    "no-such-annotation",
];

/// What keeps somebody out: it fails closed.
const ALLOWLIST: &str = "nginx.ingress.kubernetes.io/allowlist-source-range";

/// The target.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (path, kind) = (bytes.text(), bytes.one_of(&["Prefix", "Exact", "ImplementationSpecific", "Other"]));
    let mut annotations = Map::new();
    while !bytes.is_empty() && annotations.len() < ANNOTATIONS_MAX {
        let key = format!("nginx.ingress.kubernetes.io/{}", bytes.one_of(&KEYS));
        annotations.insert(key, bytes.text().into());
    }
    let manifest = format!("{}\n---\n{}", service(), ingress(&path, kind, &annotations));
    let file: Arc<str> = "fuzz.yaml".into();
    let read = manifest::read(&file, manifest.as_bytes());
    let mut store = Store::default();
    store.replace_file(&file, read.entries);
    let (snapshot, problems) = translate(&store, &Objects::default(), 0);
    let (again, problems_again) = translate(&store, &Objects::default(), 0);
    assert_eq!(format!("{problems:?}"), format!("{problems_again:?}"));
    assert_eq!(format!("{:?}", snapshot.routes), format!("{:?}", again.routes));
    if annotations.contains_key(ALLOWLIST) {
        let open = |route: &Route| {
            let guarded = route.filters.iter().any(|filter| matches!(filter, Filter::SourceRange(_)));
            matches!(route.target, Target::Service(_)) && !guarded
        };
        assert!(!snapshot.routes.iter().any(|(_, route)| open(route)), "open to all: {manifest}");
    }
}

fn ingress(path: &str, kind: &str, annotations: &Map<String, Value>) -> Value {
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let rule = json!({"host": "a.b", "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "n", "annotations": annotations},
        "spec": {"rules": [rule]},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {"ports": [{"port": 80, "targetPort": 80}]},
    })
}
