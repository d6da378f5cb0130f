//! Where a decision came from: the object, and the place inside it, by name.

use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The kinds of object that configuration is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[allow(missing_docs, reason = "the names are the Kubernetes kinds themselves")]
pub enum Kind {
    Ingress,
    IngressClass,
    Service,
    EndpointSlice,
    Endpoints,
    Secret,
    ConfigMap,
    Node,
    /// A file that could not be read as objects at all.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An object by kind, namespace (empty for those of the cluster) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace; empty where the kind has none.
    pub namespace: Arc<str>,
    /// Name; for [`Kind::File`] the path.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    /// `Ingress shop/cart`, or `Node worker-1` where there is no namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The place in an Ingress that a route was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    /// The Ingress.
    pub ingress: Arc<ObjectRef>,
    /// Index in `spec.rules`; `None` for `spec.defaultBackend`.
    pub rule: Option<u32>,
    /// Index in `spec.rules[rule].http.paths`; `None` for a rule without `http` and for `spec.defaultBackend`.
    pub path: Option<u32>,
}

impl fmt::Display for Origin {
    /// `shop/cart rules[0].paths[1]`, `shop/cart rules[0]` or `shop/cart defaultBackend`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ", self.ingress.namespace, self.ingress.name)?;
        match (self.rule, self.path) {
            (Some(rule), Some(path)) => write!(f, "rules[{rule}].paths[{path}]"),
            (Some(rule), None) => write!(f, "rules[{rule}]"),
            (None, _) => f.write_str("defaultBackend"),
        }
    }
}
