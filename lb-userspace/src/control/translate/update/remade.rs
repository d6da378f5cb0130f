//! Services that are made again because their Service or its endpoints changed: all others stay the very same.
//!
//! Goes in: what changed. Comes out: the services, each in its place, and the Ingresses that have something else to be told.
//! A service keeps its number, so routes that lead to it need not be looked at.

use super::super::super::store::{Store, external};
use super::super::backend;
use super::super::memory::Memory;
use super::super::report::Report;
use super::changes::{self, Changes};
use lb_core::model::{Kind, ObjectRef, Service};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Services, some of which were made again.
#[derive(Debug)]
pub(super) struct Remade {
    /// By number.
    pub services: Vec<Arc<Service>>,
    /// Ingresses that name one of them, and are to be told something else of it.
    pub ingresses: BTreeSet<Arc<ObjectRef>>,
    /// Services, slices and Endpoints whose Problems were found again.
    pub endpoints: BTreeSet<Arc<ObjectRef>>,
}

impl Remade {
    /// Makes the services of changed Services again. `None`, when one of them comes to an end.
    pub fn of(store: &Store, memory: &Memory, changes: &Changes, report: &mut Report<'_>) -> Option<Self> {
        let services = memory.snapshot.services.clone();
        let mut remade = Self { services, ingresses: BTreeSet::new(), endpoints: changes.endpoints.clone() };
        for (service, itself) in &changes.services {
            let (namespace, name) = (&*service.namespace, &*service.name);
            let is_external = || store.service(namespace, name).is_some_and(external::is_external);
            let mut told = *itself && (memory.services.is_close(namespace, name) || is_external());
            for id in memory.services.ports(namespace, name, &memory.snapshot.services) {
                let held = remade.services.get_mut(id.0 as usize)?;
                let made = backend::make(&held.key, store, &memory.objects, &memory.location, report).ok()?;
                if made != **held {
                    told |= shortage(&made) != shortage(held);
                    *held = Arc::new(made);
                }
            }
            if told {
                let all = store.ingresses_of(namespace).filter(|(_, ingress)| changes::names(ingress, name));
                remade.ingresses.extend(all.map(|(key, _)| key.clone()));
            }
            remade.endpoints.extend(store.slices_of(namespace, name).iter().map(|held| held.key.clone()));
            let legacy = ObjectRef::new(Kind::Endpoints, service.namespace.clone(), service.name.clone());
            remade.endpoints.extend([Arc::new(legacy), Arc::new(service.clone())]);
        }
        Some(remade)
    }
}

/// What Ingresses are told of a service.
fn shortage(service: &Service) -> Option<&str> {
    service.endpoints.is_empty().then_some(service.note.as_str())
}
