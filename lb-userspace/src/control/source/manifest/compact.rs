//! Compacting: an object loses what is never read and gives back the room that its vectors grew for.
//!
//! Goes in: an object as it was decoded. Comes out: the same, smaller. With 10,000 Ingresses of one path each this is 7 MB of
//! room for three more paths of each, and with objects of a cluster the greater part of their text: who managed
//! which field, and the manifest that was applied last. Does not touch anything that decides what is served.

use k8s_openapi::api::core::v1::{Service, ServiceStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};

/// Where `kubectl apply` keeps the whole object once more, as JSON.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Any object.
pub fn object<T: Resource + Metadata<Ty = ObjectMeta>>(mut object: T) -> T {
    let metadata = object.metadata_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    object
}

/// An Ingress.
pub fn ingress(ingress: Ingress) -> Ingress {
    let mut ingress = object(ingress);
    // The addresses are what we would write there: whether that is needed is decided by them.
    let balancer = |status: &IngressStatus| status.load_balancer.as_ref()?.ingress.as_ref().map(Vec::is_empty);
    ingress.status = ingress.status.filter(|status| balancer(status) == Some(false));
    let Some(spec) = &mut ingress.spec else { return ingress };
    for rule in spec.rules.iter_mut().flatten() {
        if let Some(http) = &mut rule.http {
            http.paths.shrink_to_fit();
        }
    }
    spec.rules.iter_mut().for_each(Vec::shrink_to_fit);
    for tls in spec.tls.iter_mut().flatten() {
        tls.hosts.iter_mut().for_each(Vec::shrink_to_fit);
    }
    spec.tls.iter_mut().for_each(Vec::shrink_to_fit);
    ingress
}

/// A Service.
pub fn service(service: Service) -> Service {
    let mut service = object(service);
    // The addresses of a published Service are those of its balancer.
    let balancer = service.status.take().and_then(|status| status.load_balancer);
    let balancer = balancer.filter(|balancer| balancer.ingress.as_ref().is_some_and(|entries| !entries.is_empty()));
    service.status = balancer.map(|balancer| ServiceStatus { load_balancer: Some(balancer), conditions: None });
    if let Some(spec) = &mut service.spec {
        spec.ports.iter_mut().for_each(Vec::shrink_to_fit);
        spec.cluster_ips.iter_mut().for_each(Vec::shrink_to_fit);
        spec.ip_families.iter_mut().for_each(Vec::shrink_to_fit);
    }
    service
}

/// An EndpointSlice.
pub fn endpoint_slice(slice: EndpointSlice) -> EndpointSlice {
    let mut slice = object(slice);
    slice.endpoints.iter_mut().flatten().for_each(|endpoint| endpoint.addresses.shrink_to_fit());
    slice.endpoints.iter_mut().for_each(Vec::shrink_to_fit);
    slice.ports.iter_mut().for_each(Vec::shrink_to_fit);
    slice
}
