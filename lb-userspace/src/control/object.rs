//! An object of one of the kinds that are read, whatever source it came from.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_core::model::{Kind, ObjectRef};
use std::sync::Arc;

/// The namespace of an object that names none, as `kubectl apply` would choose.
pub const DEFAULT_NAMESPACE: &str = "default";

/// An object that is read. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the Kubernetes kinds themselves")]
pub enum Object {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Endpoints(Arc<Endpoints>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    Node(Arc<Node>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Node(_) => Kind::Node,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Ingress(o) => &o.metadata,
            Self::IngressClass(o) => &o.metadata,
            Self::Service(o) => &o.metadata,
            Self::EndpointSlice(o) => &o.metadata,
            Self::Endpoints(o) => &o.metadata,
            Self::Secret(o) => &o.metadata,
            Self::ConfigMap(o) => &o.metadata,
            Self::Node(o) => &o.metadata,
        }
    }

    /// Its name in the store: kind, namespace (`default` where a namespaced kind names none), name.
    #[must_use]
    pub fn key(&self) -> ObjectRef {
        let (kind, metadata) = (self.kind(), self.metadata());
        let name = metadata.name.clone().unwrap_or_default();
        if !namespaced(kind) {
            return ObjectRef::new(kind, "", name);
        }
        let namespace = metadata.namespace.clone().filter(|n| !n.is_empty());
        ObjectRef::new(kind, namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), name)
    }
}

/// Whether objects of this kind live in a namespace.
#[must_use]
pub fn namespaced(kind: Kind) -> bool {
    !matches!(kind, Kind::IngressClass | Kind::Node | Kind::File)
}
