//! Backends: what a rule names becomes a service of the Snapshot, or the reason why there is none.

use super::super::reason;
use super::super::store::{self, Store};
use super::endpoints;
use super::external;
use super::index::ServiceIndex;
use super::report::Report;
use super::rule;
use super::topology::Location;
use crate::config;
use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::{Service as KubeService, ServicePort};
use k8s_openapi::api::networking::v1::{IngressBackend, ServiceBackendPort};
use lb_core::model::route::Target;
use lb_core::model::{Origin, Service, ServiceId, ServiceKey};
use std::collections::HashMap;
use std::sync::Arc;

/// The services of a Snapshot in the making, each once.
#[derive(Debug)]
pub struct Services<'a> {
    store: &'a Store,
    objects: &'a config::Objects,
    location: Location,
    known: HashMap<Named<'a>, Result<ServiceId, Refused>, RandomState>,
    /// Those of the Snapshot before, by name.
    before: Option<&'a ServiceIndex>,
    services: Vec<Arc<Service>>,
    /// Whose Services decide more than endpoints: they were named in vain, or name hosts.
    close: Vec<ServiceKey>,
    /// Which ones the Ingress at hand names.
    named: Vec<ServiceId>,
}

/// What a backend names, borrowed: most backends name what another one has named already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Named<'a> {
    namespace: &'a str,
    name: &'a str,
    port: Port<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Port<'a> {
    Number(u16),
    Name(&'a str),
}

/// Why a backend cannot be used.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Below the backend's field.
    pub field: &'static str,
    /// In one word.
    pub reason: &'static str,
    /// A sentence without its stop.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl<'a> Services<'a> {
    /// Nothing yet, of a store, seen from a place.
    #[must_use]
    pub fn new(store: &'a Store, objects: &'a config::Objects, location: Location) -> Self {
        let (known, services, close, named) = (HashMap::default(), Vec::new(), Vec::new(), Vec::new());
        Self { store, objects, location, known, before: None, services, close, named }
    }

    /// Those of the Snapshot before, made again where they changed; more may come.
    #[must_use]
    pub fn after(
        store: &'a Store,
        objects: &'a config::Objects,
        location: Location,
        before: &'a ServiceIndex,
        services: Vec<Arc<Service>>,
    ) -> Self {
        Self { before: Some(before), services, ..Self::new(store, objects, location) }
    }

    /// Which ones were named since this was last asked, each once.
    pub fn take_named(&mut self) -> Box<[ServiceId]> {
        self.named.sort_unstable();
        self.named.dedup();
        let named = self.named.as_slice().into();
        self.named.clear();
        named
    }

    /// Where the requests of a backend of an Ingress in `namespace` go. `origin` is where it is named.
    pub fn target(
        &mut self,
        namespace: &'a str,
        backend: &'a IngressBackend,
        origin: &Origin,
        report: &mut Report<'_>,
    ) -> Target {
        let found = named(namespace, backend).and_then(|named| match self.known.get(&named) {
            Some(known) => known.clone(),
            None => {
                let resolved = self.resolve(&named.key(), report);
                self.known.insert(named, resolved.clone());
                resolved
            }
        });
        match found {
            Ok(id) => {
                self.named.push(id);
                self.note_no_endpoints(origin, id, report);
                Target::Service(id)
            }
            Err(refused) => {
                let separator = if refused.field.is_empty() { "" } else { "." };
                let field = rule::field(origin, &format!("backend{separator}{}", refused.field));
                let why = refused.message.as_str().into();
                let message = format!("{}; requests are answered 503.", refused.message);
                report.fault(&origin.ingress, field, refused.reason, message, refused.remedy);
                Target::Unavailable(why)
            }
        }
    }

    /// The host that a service is the addresses of, if it is that of an `ExternalName` Service.
    #[must_use]
    pub fn external(&self, target: &Target) -> Option<Arc<str>> {
        let Target::Service(id) = target else { return None };
        let key = &self.services.get(id.0 as usize)?.key;
        store::external::name(self.store.service(&key.namespace, &key.name)?)
    }

    /// The services, by id; and those whose Services decide more than endpoints: they were named in vain, or name hosts.
    #[must_use]
    pub fn finish(self) -> (Vec<Arc<Service>>, Vec<ServiceKey>) {
        (self.services, self.close)
    }

    fn resolve(&mut self, key: &ServiceKey, report: &mut Report<'_>) -> Result<ServiceId, Refused> {
        if let Some(id) = self.before.and_then(|before| before.get(key, &self.services)) {
            return Ok(id);
        }
        let made = make(key, self.store, self.objects, &self.location, report);
        let kube = self.store.service(&key.namespace, &key.name);
        if made.is_err() || kube.is_some_and(store::external::is_external) {
            self.close.push(key.clone());
        }
        let service = made?;
        let id = ServiceId(u32::try_from(self.services.len()).unwrap_or(u32::MAX));
        self.services.push(Arc::new(service));
        Ok(id)
    }

    fn note_no_endpoints(&self, origin: &Origin, id: ServiceId, report: &mut Report<'_>) {
        let Some(service) = self.services.get(id.0 as usize) else { return };
        if service.endpoints.is_empty() {
            let message =
                format!("Service {} has no endpoint: {}; requests are answered 503.", service.key, service.note);
            let remedy = "Wait until its pods are ready, or look at its selector and its EndpointSlices.";
            let field = rule::field(origin, "backend.service");
            report.note(&origin.ingress, field, reason::NO_ENDPOINTS, message, remedy);
        }
    }
}

impl Named<'_> {
    /// The name under which it is known across Snapshots.
    fn key(&self) -> ServiceKey {
        let port = match self.port {
            Port::Number(number) => number.to_string().into(),
            Port::Name(name) => name.into(),
        };
        ServiceKey { namespace: self.namespace.into(), name: self.name.into(), port }
    }
}

/// Makes a service of the port of a Service, as the store has them.
pub(super) fn make(
    key: &ServiceKey,
    store: &Store,
    objects: &config::Objects,
    location: &Location,
    report: &mut Report<'_>,
) -> Result<Service, Refused> {
    let service = store.service(&key.namespace, &key.name).ok_or_else(|| Refused {
        field: "service.name",
        reason: reason::SERVICE_MISSING,
        message: format!("Service {}/{} does not exist", key.namespace, key.name),
        remedy: "Create the Service, or correct the name.".to_owned(),
    })?;
    if store::external::is_external(service) {
        return external::make(key, service, store, objects, report);
    }
    let port = port(key, service)?;
    let (endpoints, note) = endpoints::choose(key, service, port, store, location, report);
    Ok(Service { key: key.clone(), endpoints, note })
}

/// What a backend names.
fn named<'a>(namespace: &'a str, backend: &'a IngressBackend) -> Result<Named<'a>, Refused> {
    let invalid = |field, message: &str| Refused {
        field,
        reason: reason::INVALID_BACKEND,
        message: message.to_owned(),
        remedy: "Name a service, and its port by number or by name.".to_owned(),
    };
    if backend.resource.is_some() {
        return Err(Refused {
            field: "resource",
            reason: reason::RESOURCE_BACKEND,
            message: "Backends other than services are not supported".to_owned(),
            remedy: "Name a service instead.".to_owned(),
        });
    }
    let service = backend.service.as_ref().ok_or_else(|| invalid("", "The backend names no service"))?;
    if service.name.is_empty() {
        return Err(invalid("service.name", "The backend names no service"));
    }
    let port = service.port.as_ref();
    let named = port.and_then(|p| p.name.as_deref()).filter(|name| !name.is_empty());
    let port = match (port.and_then(number), named) {
        (Some(_), Some(_)) => return Err(invalid("service.port", "The port has both a number and a name")),
        (None, None) => return Err(invalid("service.port", "The backend names no port")),
        (None, Some(name)) => Port::Name(name),
        (Some(number), None) => match u16::try_from(number) {
            Ok(number) if number > 0 => Port::Number(number),
            _ => return Err(invalid("service.port.number", "The port number is not from 1 to 65535")),
        },
    };
    Ok(Named { namespace, name: &service.name, port })
}

/// 0 is how a serialised "no number" looks.
fn number(port: &ServiceBackendPort) -> Option<i32> {
    port.number.filter(|number| *number != 0)
}

/// The port of a Service that a backend names. A port name has a letter, so it never looks like a number.
fn port<'s>(key: &ServiceKey, service: &'s KubeService) -> Result<&'s ServicePort, Refused> {
    let spec = service.spec.as_ref();
    let ports = || spec.and_then(|s| s.ports.as_ref()).into_iter().flatten();
    let wanted: Option<i32> = key.port.parse().ok();
    let matches = |p: &&ServicePort| match wanted {
        Some(number) => p.port == number,
        None => p.name.as_deref() == Some(&*key.port),
    };
    let tcp = |p: &&ServicePort| p.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    ports().filter(matches).find(tcp).ok_or_else(|| {
        let has: Vec<String> = ports().filter(tcp).map(shown).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        Refused {
            field: "service.port",
            reason: reason::SERVICE_PORT_MISSING,
            message: format!("Service {}/{} has no TCP port {} (it has {has})", key.namespace, key.name, key.port),
            remedy: "Name one of the ports of the Service.".to_owned(),
        }
    })
}

/// `http (80)` or `80`.
fn shown(port: &ServicePort) -> String {
    match &port.name {
        Some(name) => format!("{name} ({})", port.port),
        None => port.port.to_string(),
    }
}
