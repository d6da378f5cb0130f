//! References: which Secrets Ingresses name, and which of them name each.
//!
//! Goes in: Ingresses as they come and go. Comes out: the Secrets that are named now. Does not know whether an Ingress is ours.

use super::super::super::translate::annotations;
use k8s_openapi::api::networking::v1::Ingress;
use lb_core::model::{Kind, ObjectRef};
use std::collections::{BTreeSet, HashMap};

/// Secrets by the Ingresses that name them.
#[derive(Debug, Default)]
pub struct References {
    by_ingress: HashMap<ObjectRef, Box<[ObjectRef]>>,
    by_secret: HashMap<ObjectRef, Vec<ObjectRef>>,
}

impl References {
    /// Whether any Ingress names a Secret.
    #[must_use]
    pub fn names(&self, secret: &ObjectRef) -> bool {
        self.by_secret.contains_key(secret)
    }

    /// The Ingresses that name a Secret.
    #[must_use]
    pub fn of(&self, secret: &ObjectRef) -> &[ObjectRef] {
        self.by_secret.get(secret).map_or(&[], Vec::as_slice)
    }

    /// Takes an Ingress as it is now; `None`: it is gone. Answers the Secrets that are named, or not named any more, since.
    pub fn take(&mut self, key: &ObjectRef, ingress: Option<&Ingress>) -> BTreeSet<ObjectRef> {
        let now = ingress.map(|ingress| secrets(key, ingress)).unwrap_or_default();
        let before = self.by_ingress.get(key).map(Box::as_ref).unwrap_or_default();
        if *before == *now {
            return BTreeSet::new();
        }
        let before = self.by_ingress.remove(key).unwrap_or_default();
        let mut changed = BTreeSet::new();
        for secret in before {
            let Some(users) = self.by_secret.get_mut(&secret) else { continue };
            users.retain(|user| user != key);
            if users.is_empty() {
                self.by_secret.remove(&secret);
            }
            changed.insert(secret);
        }
        for secret in &now {
            self.by_secret.entry(secret.clone()).or_default().push(key.clone());
            changed.insert(secret.clone());
        }
        if !now.is_empty() {
            self.by_ingress.insert(key.clone(), now);
        }
        changed
    }
}

/// The Secrets that an Ingress names, each once. Those of other namespaces are none that it may use.
fn secrets(key: &ObjectRef, ingress: &Ingress) -> Box<[ObjectRef]> {
    let tls = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    let names = tls.filter_map(|tls| tls.secret_name.as_deref()).filter(|name| !name.is_empty());
    let of_tls = names.map(|name| ObjectRef::new(Kind::Secret, key.namespace.clone(), name));
    let annotations = ingress.metadata.annotations.iter();
    let of_annotations = annotations.flat_map(|all| annotations::named_secrets(key, all));
    of_tls.chain(of_annotations).collect::<BTreeSet<ObjectRef>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_named() {
        let key = ObjectRef::new(Kind::Ingress, "shop", "cart");
        let ingress = |tls: &str, ca: &str| -> Ingress {
            serde_json::from_value(json!({"metadata": {"name": "cart", "namespace": "shop", "annotations": {
                "nginx.ingress.kubernetes.io/auth-tls-secret": ca}}, "spec": {"tls": [{"secretName": tls}, {}]}}))
            .expect("an Ingress")
        };
        let names = |set: BTreeSet<ObjectRef>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut references = References::default();
        let changed = references.take(&key, Some(&ingress("cert", "shop/ca")));
        assert_eq!(names(changed), ["Secret shop/ca", "Secret shop/cert"]);
        assert!(references.take(&key, Some(&ingress("cert", "shop/ca"))).is_empty());
        let changed = references.take(&key, Some(&ingress("cert", "other/ca")));
        assert_eq!(names(changed), ["Secret shop/ca", "Secret shop/cert"]);
        let (ca, cert) = (ObjectRef::new(Kind::Secret, "shop", "ca"), ObjectRef::new(Kind::Secret, "shop", "cert"));
        assert!(!references.names(&ca) && references.names(&cert));
        assert_eq!(references.of(&cert), std::slice::from_ref(&key));
        references.take(&key, None);
        assert!(!references.names(&cert) && references.by_ingress.is_empty());
    }
}
