//! The EndpointSlices of each Service, so that a change of one need not look at all others.
//!
//! Goes in: slices, as they come and go. Comes out: those of a Service, by name. Services are held by a hash of their names,
//! which leaves 40 bytes for each: with 10,000 of them less than a megabyte. What two hashes share is told apart by the
//! slices themselves.

use super::super::few::Few;
use foldhash::fast::RandomState;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lb_core::model::ObjectRef;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The label that names the Service of a slice.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Slices by Service.
#[derive(Debug, Default)]
pub struct Slices {
    by_service: HashMap<u64, Few<Held>, RandomState>,
    hasher: RandomState,
}

/// A slice with its name.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its name.
    pub key: Arc<ObjectRef>,
    /// What it says.
    pub slice: Arc<EndpointSlice>,
}

impl Held {
    /// The Service that it is of, in its own namespace.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.slice.metadata.labels.as_ref()?.get(SERVICE_LABEL).map(String::as_str)
    }
}

impl Slices {
    /// Adds a slice, if it is of a Service.
    pub fn add(&mut self, held: Held) {
        let Some(place) = self.place_of(&held) else { return };
        match self.by_service.get_mut(&place) {
            Some(slices) => slices.push(held),
            None => drop(self.by_service.insert(place, Few::One(held))),
        }
    }

    /// Takes a slice out, as it was added.
    pub fn remove(&mut self, held: &Held) {
        let Some(place) = self.place_of(held) else { return };
        let slices = self.by_service.get_mut(&place);
        if slices.is_some_and(|slices| slices.remove(|other| other.key == held.key)) {
            self.by_service.remove(&place);
        }
    }

    /// The slices of a Service, by name.
    #[must_use]
    pub fn of(&self, namespace: &str, service: &str) -> Vec<&Held> {
        let held = self.by_service.get(&self.place(namespace, service)).map_or(&[][..], Few::as_slice);
        let own = |held: &&Held| *held.key.namespace == *namespace && held.service() == Some(service);
        let mut slices: Vec<&Held> = held.iter().filter(own).collect();
        slices.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        slices
    }

    fn place_of(&self, held: &Held) -> Option<u64> {
        Some(self.place(&held.key.namespace, held.service()?))
    }

    fn place(&self, namespace: &str, service: &str) -> u64 {
        self.hasher.hash_one((namespace, service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::model::Kind;

    fn held(name: &str, service: Option<&str>) -> Held {
        let mut slice = EndpointSlice::default();
        slice.metadata.labels = service.map(|service| [(SERVICE_LABEL.to_owned(), service.to_owned())].into());
        Held { key: Arc::new(ObjectRef::new(Kind::EndpointSlice, "n", name)), slice: Arc::new(slice) }
    }

    #[test]
    fn slices_come_and_go() {
        let mut slices = Slices::default();
        let all = [held("c", Some("s")), held("a", Some("s")), held("b", Some("t")), held("d", None)];
        all.iter().cloned().for_each(|held| slices.add(held));
        let names = |slices: &Slices, service: &str| -> Vec<String> {
            slices.of("n", service).iter().map(|held| held.key.name.to_string()).collect()
        };
        assert_eq!((names(&slices, "s"), names(&slices, "t")), (vec!["a".into(), "c".into()], vec!["b".into()]));
        assert!(names(&slices, "u").is_empty() && slices.of("m", "s").is_empty());
        all.iter().for_each(|held| slices.remove(held));
        assert!(slices.by_service.is_empty());
    }
}
