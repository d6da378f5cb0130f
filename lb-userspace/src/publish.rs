//! Publication: one writer replaces the Snapshot whole; readers hold what they loaded for one request, without a lock.
//!
//! Goes in: a Snapshot. Comes out: [`Published`], the Snapshot with the balancing state that outlives it.

mod retire;

use crate::epoch::Epoch;
use arc_swap::{ArcSwap, Cache};
use lb_core::Snapshot;
use lb_core::balance::ServiceState;
use lb_core::model::{Service, ServiceId, ServiceKey};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

/// A Snapshot that serves, with the state of its services.
#[derive(Debug, Default)]
pub struct Published {
    /// The Snapshot.
    pub snapshot: Snapshot,
    states: Vec<Arc<ServiceState>>,
    epoch: Epoch,
}

impl Published {
    /// A service with its balancing state. `None` only for an id of another Snapshot.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<(&Service, &ServiceState)> {
        let index = id.0 as usize;
        Some((self.snapshot.services.get(index)?, self.states.get(index)?))
    }

    /// All services with their balancing state.
    pub fn services(&self) -> impl Iterator<Item = (&Service, &ServiceState)> {
        self.snapshot.services.iter().map(|s| &**s).zip(self.states.iter().map(|s| &**s))
    }

    /// Now, in the time of balancing state: milliseconds since its epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.epoch.elapsed_ms()
    }
}

/// Holds what serves now.
#[derive(Debug, Default)]
pub struct Publisher {
    current: Arc<ArcSwap<Published>>,
    /// Held while a Snapshot is published; takes what served before, once there was something.
    writer: Mutex<Option<Sender<Arc<Published>>>>,
}

/// A reader of one thread: checks for a newer Snapshot with one atomic load.
pub type Reader = Cache<Arc<ArcSwap<Published>>, Arc<Published>>;

impl Publisher {
    /// Makes a Snapshot serve, and answers its version. Balancing state is carried over by the
    /// name of the service and the address of the endpoint.
    pub fn publish(&self, mut snapshot: Snapshot) -> u64 {
        // Held to the end: there is one writer.
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = self.current.load_full();
        snapshot.version = old.snapshot.version + 1;
        let states = carry(&old, &snapshot);
        let (version, epoch) = (snapshot.version, old.epoch);
        self.current.store(Arc::new(Published { snapshot, states, epoch }));
        // It takes nothing when its thread could not be started, and then whoever holds it last takes it apart.
        drop(writer.get_or_insert_with(retire::start).send(old));
        version
    }

    /// What serves now.
    #[must_use]
    pub fn current(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// The zero of the time in which balancing state is kept.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.current.load().epoch
    }

    /// A reader for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Cache::new(self.current.clone())
    }
}

/// Balancing state of the services of a Snapshot: that of the one before, where there is one.
fn carry(old: &Published, snapshot: &Snapshot) -> Vec<Arc<ServiceState>> {
    let now_ms = old.now_ms();
    let before = || old.snapshot.services.iter().zip(&old.states);
    let by_name: OnceCell<HashMap<&ServiceKey, (&Service, &Arc<ServiceState>)>> = OnceCell::new();
    let named = |service: &Service| {
        let all = || before().map(|(service, state)| (&service.key, (&**service, state))).collect();
        by_name.get_or_init(all).get(&service.key).copied()
    };
    let at = |place: usize| Some((old.snapshot.services.get(place)?, old.states.get(place)?));
    let all = snapshot.services.iter().enumerate();
    // Mostly nothing has changed, and names need not be compared; or endpoints have, and the name is where it was.
    let carried = all.map(|(place, service)| match at(place) {
        Some((held, state)) if Arc::ptr_eq(held, service) => state.clone(),
        Some((held, state)) if held.key == service.key => ServiceState::carry(Some((held, state)), service, now_ms),
        _ => ServiceState::carry(named(service), service, now_ms),
    });
    carried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balancing_goes_on_where_it_was() {
        let service = |name: &str| {
            let key = ServiceKey { namespace: "n".into(), name: name.into(), port: "80".into() };
            Arc::new(Service { key, endpoints: Vec::new(), note: String::new() })
        };
        let publisher = Publisher::default();
        let state = |id| {
            let published = publisher.current();
            std::ptr::from_ref(published.service(ServiceId(id)).expect("service").1)
        };
        assert_eq!(publisher.publish(Snapshot { services: vec![service("a")], ..Snapshot::default() }), 1);
        let before = state(0);
        let services = vec![service("b"), service("a")];
        assert_eq!(publisher.publish(Snapshot { services, ..Snapshot::default() }), 2);
        assert_eq!(state(1), before);
        assert_ne!(state(0), before);
    }
}
