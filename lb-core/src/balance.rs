//! Balancing: which endpoint of a service takes the next request.
//!
//! Goes in: a [`Service`] and its [`ServiceState`]. Comes out: an endpoint. One state is shared by all workers, so that
//! every endpoint is seen whatever the number of cores; it is one relaxed atomic addition for each request, never a lock.

use crate::model::{Endpoint, Service};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What balancing remembers of a service from one request, and one Snapshot, to the next.
#[derive(Debug, Default)]
pub struct ServiceState {
    cursor: AtomicUsize,
}

/// The next endpoint, round robin. `None` when the service has no endpoint.
#[must_use]
pub fn pick<'a>(service: &'a Service, state: &ServiceState) -> Option<&'a Endpoint> {
    let count = service.endpoints.len();
    if count == 0 {
        return None;
    }
    let turn = state.cursor.fetch_add(1, Ordering::Relaxed);
    service.endpoints.get(turn % count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceKey;

    fn service(count: u8) -> Service {
        let endpoint = |i: u8| Endpoint {
            address: ([10, 0, 0, i], 80).into(),
            pod: None,
            node: None,
            zone: None,
            terminating: false,
        };
        let key = ServiceKey { namespace: "a".into(), name: "b".into(), port: "80".into() };
        Service { key, endpoints: (0..count).map(endpoint).collect(), note: String::new() }
    }

    #[test]
    fn every_endpoint_once_a_round() {
        let (service, state) = (service(10), ServiceState::default());
        for _ in 0..3 {
            let mut seen: Vec<_> = (0..10).filter_map(|_| pick(&service, &state)).map(|e| e.address).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 10);
        }
    }

    #[test]
    fn nothing_of_nothing() {
        assert_eq!(pick(&service(0), &ServiceState::default()), None);
    }
}
