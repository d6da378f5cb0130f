//! What changed, by what it may concern: the journal of the store, read kind by kind.
//!
//! Goes in: a store, and what it was like before. Comes out: Ingresses to translate again, Services to make again, and the
//! slices that may have other Problems. `None`, when only a whole translation can tell.

use super::super::super::store::Store;
use super::super::super::store::journal::Mark;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use lb_core::model::{Kind, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Ingresses that changed, or whose Secrets did.
    pub ingresses: BTreeSet<Arc<ObjectRef>>,
    /// Services; and whether the object itself changed, not its endpoints alone.
    pub services: BTreeMap<ObjectRef, bool>,
    /// Slices, and legacy Endpoints.
    pub endpoints: BTreeSet<Arc<ObjectRef>>,
}

impl Changes {
    /// What changed in a store since.
    pub fn of(store: &Store, since: &Mark) -> Option<Self> {
        let mut changes = Self::default();
        let mut secrets = BTreeSet::new();
        for name in store.changes(since)? {
            match name.kind {
                Kind::Ingress => drop(changes.ingresses.insert(name.clone())),
                Kind::Service => drop(changes.services.insert(ObjectRef::clone(name), true)),
                Kind::Endpoints => {
                    let service = ObjectRef::new(Kind::Service, name.namespace.clone(), name.name.clone());
                    changes.services.entry(service).or_default();
                    changes.endpoints.insert(name.clone());
                }
                Kind::EndpointSlice => drop(changes.endpoints.insert(name.clone())),
                Kind::Secret => drop(secrets.insert(name.clone())),
                // All that counts of a Node is the place of the agent, which is compared by itself.
                Kind::Node => {}
                Kind::IngressClass | Kind::ConfigMap | Kind::File => return None,
            }
        }
        let users = secrets.iter().flat_map(|secret| {
            let all = store.ingresses_of(&secret.namespace);
            all.filter(|(_, ingress)| may_use(ingress, &secret.name)).map(|(key, _)| key.clone())
        });
        changes.ingresses.extend(users);
        Some(changes)
    }
}

/// Whether an Ingress may use a Secret of its namespace: an annotation with the name in it is enough.
fn may_use(ingress: &Ingress, secret: &str) -> bool {
    let spec = ingress.spec.as_ref();
    let mut tls = spec.and_then(|spec| spec.tls.as_ref()).into_iter().flatten();
    let mut annotations = ingress.metadata.annotations.iter().flatten();
    tls.any(|tls| tls.secret_name.as_deref() == Some(secret)) || annotations.any(|(_, text)| text.contains(secret))
}

/// Whether an Ingress names a Service of its namespace.
pub(super) fn names(ingress: &Ingress, service: &str) -> bool {
    let Some(spec) = &ingress.spec else { return false };
    let is = |backend: &IngressBackend| backend.service.as_ref().is_some_and(|named| named.name == service);
    let mut paths = spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
    spec.default_backend.as_ref().is_some_and(is) || paths.any(|path| is(&path.backend))
}
