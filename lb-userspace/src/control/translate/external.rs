//! `ExternalName` Services: a service whose endpoints are the addresses of a name, where the operator allows it.
//!
//! Goes in: a Service, and what the store knows of its name. Comes out: endpoints, and Problems of the Service. The port is
//! the one that the backend names: by number, or by a name that the Service declares.

use super::super::reason;
use super::super::store::{Store, external};
use super::backend::Refused;
use super::report::Report;
use crate::config;
use k8s_openapi::api::core::v1::Service as KubeService;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use lb_core::model::{Endpoint, Kind, ObjectRef, Service, ServiceKey, Upstream, UpstreamTls};
use std::net::SocketAddr;
use std::sync::Arc;

const FIELD: &str = "spec.externalName";

/// Makes a service of an `ExternalName` Service.
pub fn make(
    key: &ServiceKey,
    service: &KubeService,
    store: &Store,
    objects: &config::Objects,
    report: &mut Report<'_>,
) -> Result<Service, Refused> {
    if objects.external_names.is_none() {
        return Err(refused(
            "service.name",
            format!("Service {}/{} is an ExternalName, which is not served here", key.namespace, key.name),
            "Name a Service with endpoints; or the operator allows it with --allow-external-name.",
        ));
    }
    let Some(name) = external::name(service) else {
        let message = format!("Service {}/{} is an ExternalName whose name is no DNS name", key.namespace, key.name);
        return Err(refused("service.name", message, "Write a DNS name into spec.externalName."));
    };
    let port = port(key, service)?;
    let object = ObjectRef::new(Kind::Service, key.namespace.clone(), key.name.clone());
    let answer = store.answer(&object);
    let addresses = answer.map_or(&[][..], |answer| &answer.addresses);
    let endpoints = addresses.iter().map(|address| endpoint(SocketAddr::new(*address, port))).collect();
    let note = match answer {
        _ if !store.is_resolved(&object) => too_many(&object, report),
        None => format!("{name} is not resolved yet"),
        Some(answer) => {
            if let Some((address, why)) = answer.refused {
                let message = format!("{name} leads to {address}, which is {why}; that address is not used.");
                let remedy = "Name a host that is neither this machine nor its network.";
                report.fault(&object, FIELD, reason::NAME_REFUSED, message, remedy);
            }
            if answer.left_out > 0 {
                let message = format!("{name} has {} more addresses than are used.", answer.left_out);
                report.note(
                    &object,
                    FIELD,
                    reason::TOO_MANY_ADDRESSES,
                    message,
                    "Nothing, if those that are used suffice.",
                );
            }
            match &answer.failing {
                Some(failing) => {
                    let since = Timestamp::from_second(failing.since_s).map(|at| at.to_string()).unwrap_or_default();
                    let kept = if answer.addresses.is_empty() { "" } else { " The addresses from before are used." };
                    let message = format!("{name} cannot be resolved since {since} ({}).{kept}", failing.why);
                    report.note(
                        &object,
                        FIELD,
                        reason::NAME_UNRESOLVED,
                        message,
                        "Correct the name, or look at the DNS.",
                    );
                    format!("{name} cannot be resolved since {since}")
                }
                None if answer.addresses.is_empty() => format!("{name} has no address that may be used"),
                None => format!("the addresses of {name}"),
            }
        }
    };
    Ok(Service { key: key.clone(), endpoints, note })
}

/// How the endpoints of a name are spoken to: their TLS is asked for that name, where annotations name no other.
#[must_use]
pub fn named(upstream: &Arc<Upstream>, name: &Arc<str>) -> Arc<Upstream> {
    let Some(tls) = upstream.tls.as_ref().filter(|tls| tls.name.is_none()) else { return upstream.clone() };
    let tls = UpstreamTls { name: Some(name.clone()), send_name: true, ..UpstreamTls::clone(tls) };
    Arc::new(Upstream { tls: Some(Arc::new(tls)), ..Upstream::clone(upstream) })
}

fn too_many(object: &ObjectRef, report: &mut Report<'_>) -> String {
    let (all, each) = (external::NAMES_MAX, external::NAMES_PER_NAMESPACE_MAX);
    let message = format!(
        "Only {each} ExternalName Services of a namespace are resolved, the first by name, and {all} in all; this one is not."
    );
    report.fault(object, FIELD, reason::TOO_MANY_NAMES, message, "Take out those that nobody needs.");
    "it is one ExternalName too many".to_owned()
}

/// As in ingress-nginx: what the Service declares (its numeric target port, if it has one), else the number itself.
fn port(key: &ServiceKey, service: &KubeService) -> Result<u16, Refused> {
    let number: Option<i32> = key.port.parse().ok();
    let mut declared = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    let declared = declared.find(|port| match number {
        Some(number) => port.port == number,
        None => port.name.as_deref() == Some(&*key.port),
    });
    let target = declared.map(|port| match port.target_port {
        Some(IntOrString::Int(target)) if target != 0 => target,
        _ => port.port,
    });
    target.or(number).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).ok_or_else(|| Refused {
        reason: reason::SERVICE_PORT_MISSING,
        ..refused(
            "service.port",
            format!("Service {}/{} is an ExternalName and declares no port {}", key.namespace, key.name, key.port),
            "Name the port by its number.",
        )
    })
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address, pod: None, node: None, zone: None, terminating: false }
}

fn refused(field: &'static str, message: String, remedy: &str) -> Refused {
    Refused { field, reason: reason::EXTERNAL_NAME, message, remedy: remedy.to_owned() }
}
