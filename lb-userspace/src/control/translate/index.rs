//! The services of a Snapshot by the names of their Services, and which Services decide more than endpoints.
//!
//! Goes in: services, as they are found. Comes out: numbers of services. Names are held by their hashes, and
//! the services themselves tell apart what two of them share: 40 bytes a Service.

use super::super::few::Few;
use foldhash::fast::RandomState;
use lb_core::model::{Service, ServiceId, ServiceKey};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Services by name.
#[derive(Debug, Default)]
pub struct ServiceIndex {
    by_name: HashMap<u64, Few<ServiceId>, RandomState>,
    /// Some backend named it in vain, or it names a host: when it changes, so may the routes that lead to it. Never
    /// forgotten but by a whole translation.
    close: HashSet<u64, RandomState>,
    hasher: RandomState,
}

impl ServiceIndex {
    /// The index of all services.
    #[must_use]
    pub fn of(services: &[Arc<Service>], close: &[ServiceKey]) -> Self {
        let mut index = Self::default();
        index.by_name.reserve(services.len());
        index.add(services, 0, close);
        index
    }

    /// Adds the services from a place on, and those whose Services decide more than endpoints.
    pub fn add(&mut self, services: &[Arc<Service>], from: usize, close: &[ServiceKey]) {
        for (id, service) in (0..).map(ServiceId).zip(services).skip(from) {
            let place = self.place(&service.key.namespace, &service.key.name);
            match self.by_name.get_mut(&place) {
                Some(ids) => ids.push(id),
                None => drop(self.by_name.insert(place, Few::One(id))),
            }
        }
        for key in close {
            self.close.insert(self.place(&key.namespace, &key.name));
        }
    }

    /// All ports of a Service, out of `services`.
    pub fn ports<'s>(
        &'s self,
        namespace: &'s str,
        name: &'s str,
        services: &'s [Arc<Service>],
    ) -> impl Iterator<Item = ServiceId> + 's {
        let ids = self.by_name.get(&self.place(namespace, name)).map_or(&[][..], Few::as_slice);
        let own = move |id: &ServiceId| {
            let key = services.get(id.0 as usize).map(|service| &service.key);
            key.is_some_and(|key| *key.namespace == *namespace && *key.name == *name)
        };
        ids.iter().copied().filter(own)
    }

    /// One port of a Service, out of `services`.
    #[must_use]
    pub fn get(&self, key: &ServiceKey, services: &[Arc<Service>]) -> Option<ServiceId> {
        let mut ports = self.ports(&key.namespace, &key.name, services);
        ports.find(|id| services.get(id.0 as usize).is_some_and(|service| service.key.port == key.port))
    }

    /// Whether a Service may decide more than endpoints.
    #[must_use]
    pub fn is_close(&self, namespace: &str, name: &str) -> bool {
        self.close.contains(&self.place(namespace, name))
    }

    fn place(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_service() {
        let key = |name: &str, port: &str| ServiceKey { namespace: "n".into(), name: name.into(), port: port.into() };
        let service = |name: &str, port: &str| {
            Arc::new(Service { key: key(name, port), endpoints: Vec::new(), note: String::new() })
        };
        let mut services = vec![service("a", "80"), service("b", "80")];
        let mut index = ServiceIndex::of(&services, &[key("c", "80")]);
        services.push(service("a", "web"));
        index.add(&services, 2, &[]);
        let ports = |name: &str| index.ports("n", name, &services).map(|id| id.0).collect::<Vec<_>>();
        assert_eq!((ports("a"), ports("b"), ports("c")), (vec![0, 2], vec![1], vec![]));
        assert_eq!(index.get(&key("a", "web"), &services), Some(ServiceId(2)));
        assert_eq!(index.get(&key("a", "81"), &services), None);
        assert_eq!((index.is_close("n", "c"), index.is_close("m", "c")), (true, false));
    }
}
