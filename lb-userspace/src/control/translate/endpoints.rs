//! Endpoints: which addresses of a Service can take a new request.
//!
//! From all EndpointSlices of the Service, both families; from its legacy Endpoints only where there is no slice. A Pod with
//! addresses of both counts once, by that of the family that its Service names first: two would be two circuits and
//! twice the limits for one Pod. Ready ones (absent means ready), narrowed by topology; of these, ones that terminate
//! only when all do (a Service may publish them as ready all the same); when none is ready, those that serve while they
//! terminate.

use super::super::reason;
use super::super::store::Store;
use super::report::Report;
use super::topology::{self, Location};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Service as KubeService, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use lb_core::model::{Endpoint, Kind, ObjectRef, ServiceKey};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An address of a Service with what decides whether it is used.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// It takes new requests.
    pub ready: bool,
    /// It can answer, ready or not.
    pub serving: bool,
    /// Zones that it is meant for; empty without a hint.
    pub for_zones: Vec<String>,
    /// Nodes that it is meant for; empty without a hint.
    pub for_nodes: Vec<String>,
}

impl Candidate {
    /// The higher the better.
    fn rank(&self) -> (bool, bool) {
        (self.ready, self.serving)
    }
}

/// The endpoints of a Service's port that new requests may go to, in order of address; and, where these are none or not
/// all, why.
pub fn choose(
    key: &ServiceKey,
    service: &KubeService,
    port: &ServicePort,
    store: &Store,
    location: &Location,
    report: &mut Report<'_>,
) -> (Vec<Endpoint>, String) {
    let mut candidates = Candidates::default();
    let slices = store.slices_of(&key.namespace, &key.name);
    let source = if !slices.is_empty() {
        slices.iter().for_each(|held| candidates.slice(&held.key, &held.slice, port, report));
        "EndpointSlices"
    } else if store.endpoints(&key.namespace, &key.name).is_some() {
        candidates.legacy(key, store, port, report);
        "Endpoints"
    } else {
        return (Vec::new(), "there is no EndpointSlice of it".to_owned());
    };
    if !candidates.port_found {
        let name = port.name.as_deref().unwrap_or_default();
        return (Vec::new(), format!("its {source} have no TCP port {name:?}"));
    }
    let distribution = service.spec.as_ref().and_then(|s| s.traffic_distribution.as_deref());
    let all = of_one_family(candidates.by_address.into_values().collect(), service);
    select(all, distribution, location)
}

/// Without the second addresses of Pods that have both families, unless they are in a better state.
fn of_one_family(mut all: Vec<Candidate>, service: &KubeService) -> Vec<Candidate> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let first_is_v6 = families.and_then(|families| families.first()).is_some_and(|family| family == "IPv6");
    let is_first = |c: &Candidate| c.endpoint.address.is_ipv6() == first_is_v6;
    // Most Services have one family.
    if all.iter().all(is_first) || !all.iter().any(is_first) {
        return all;
    }
    let first = all.iter().filter(|c| is_first(c)).filter_map(|c| Some((c.endpoint.pod.clone()?, c.rank())));
    let first: HashMap<Arc<str>, (bool, bool)> = first.collect();
    let known = |c: &Candidate| c.endpoint.pod.as_ref().and_then(|pod| first.get(pod));
    all.retain(|c| is_first(c) || known(c).is_none_or(|rank| c.rank() > *rank));
    all
}

fn select(all: Vec<Candidate>, distribution: Option<&str>, location: &Location) -> (Vec<Endpoint>, String) {
    let total = all.len();
    let (mut ready, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.ready);
    if !ready.is_empty() {
        let waiting = rest.len();
        if ready.iter().any(|c| !c.endpoint.terminating) {
            ready.retain(|c| !c.endpoint.terminating);
        }
        let leaving = total - waiting - ready.len();
        let (chosen, mut note) = topology::prefer(ready, distribution, location);
        if note.is_empty() && waiting > 0 {
            note = format!("{waiting} of {total} are not ready");
        } else if note.is_empty() && leaving > 0 {
            note = format!("{leaving} of {total} terminate");
        }
        return (chosen.into_iter().map(|c| c.endpoint).collect(), note);
    }
    let draining: Vec<Endpoint> =
        rest.into_iter().filter(|c| c.serving && c.endpoint.terminating).map(|c| c.endpoint).collect();
    let note = match (total, draining.len()) {
        (0, _) => "its EndpointSlices list no address".to_owned(),
        (_, 0) => format!("none of {total} is ready, and none serves while it terminates"),
        (_, left) => format!("none of {total} is ready; {left} serve while they terminate"),
    };
    (draining, note)
}

#[derive(Debug, Default)]
struct Candidates {
    by_address: BTreeMap<SocketAddr, Candidate>,
    /// Some slice has the port, with or without addresses.
    port_found: bool,
}

impl Candidates {
    fn slice(&mut self, key: &ObjectRef, slice: &EndpointSlice, port: &ServicePort, report: &mut Report<'_>) {
        let name = port.name.as_deref().unwrap_or_default();
        let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|p| p == "TCP");
        let matches =
            slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or_default() == name && tcp(&p.protocol));
        let Some(number) = matches.and_then(|p| p.port) else { return };
        let Ok(number) = u16::try_from(number) else {
            let message = format!("Port {number} is not from 1 to 65535, so it is not used.");
            return report.fault(key, "ports", reason::INVALID_ENDPOINT, message, "Correct the port.");
        };
        self.port_found = true;
        for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
            // Only the first address has a meaning (discovery.k8s.io/v1, Endpoint.addresses).
            let text = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
            match address(text) {
                Ok(ip) => self.add(candidate(endpoint, SocketAddr::new(ip, number))),
                Err(why) => invalid(key, format!("endpoints[{index}].addresses[0]"), text, why, report),
            }
        }
    }

    fn legacy(&mut self, service: &ServiceKey, store: &Store, port: &ServicePort, report: &mut Report<'_>) {
        let Some(endpoints) = store.endpoints(&service.namespace, &service.name) else { return };
        let key = ObjectRef::new(Kind::Endpoints, service.namespace.clone(), service.name.clone());
        let name = port.name.as_deref().unwrap_or_default();
        let matches = |p: &&EndpointPort| {
            p.name.as_deref().unwrap_or_default() == name && p.protocol.as_deref().is_none_or(|p| p == "TCP")
        };
        for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
            let number = subset.ports.iter().flatten().find(matches).and_then(|p| u16::try_from(p.port).ok());
            let Some(number) = number else { continue };
            self.port_found = true;
            let ready = subset.addresses.iter().flatten().map(|a| ("addresses", a, true));
            let waiting = subset.not_ready_addresses.iter().flatten().map(|a| ("notReadyAddresses", a, false));
            for (field, found, ready) in ready.chain(waiting) {
                match address(&found.ip) {
                    Ok(ip) => self.add(legacy_candidate(found, SocketAddr::new(ip, number), ready)),
                    Err(why) => invalid(&key, format!("subsets[{index}].{field}"), &found.ip, why, report),
                }
            }
        }
    }

    /// While an address moves from one slice to another it is in both, perhaps with other conditions: the better counts.
    fn add(&mut self, candidate: Candidate) {
        match self.by_address.get_mut(&candidate.endpoint.address) {
            Some(known) if known.rank() >= candidate.rank() => {}
            Some(known) => *known = candidate,
            None => drop(self.by_address.insert(candidate.endpoint.address, candidate)),
        }
    }
}

fn candidate(endpoint: &SliceEndpoint, address: SocketAddr) -> Candidate {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = endpoint.hints.as_ref();
    let zones = hints.and_then(|h| h.for_zones.as_ref()).into_iter().flatten();
    let nodes = hints.and_then(|h| h.for_nodes.as_ref()).into_iter().flatten();
    let pod = endpoint.target_ref.as_ref().and_then(|t| t.name.as_deref());
    Candidate {
        endpoint: Endpoint {
            address,
            pod: pod.map(Into::into),
            node: endpoint.node_name.as_deref().map(Into::into),
            zone: endpoint.zone.as_deref().map(Into::into),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        },
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        for_zones: zones.map(|zone| zone.name.clone()).collect(),
        for_nodes: nodes.map(|node| node.name.clone()).collect(),
    }
}

fn legacy_candidate(found: &EndpointAddress, address: SocketAddr, ready: bool) -> Candidate {
    let endpoint = Endpoint {
        address,
        pod: found.target_ref.as_ref().and_then(|t| t.name.as_deref()).map(Into::into),
        node: found.node_name.as_deref().map(Into::into),
        zone: None,
        terminating: false,
    };
    Candidate { endpoint, ready, serving: ready, for_zones: Vec::new(), for_nodes: Vec::new() }
}

/// Reads an address that a connection can be made to.
///
/// Loopback passes: in a directory the author decides, and an API server refuses it itself. Link-local does not: it has
/// no meaning without an interface, and on clouds it is the metadata service.
fn address(text: &str) -> Result<IpAddr, &'static str> {
    let ip: IpAddr = text.parse().map_err(|_| "is not an IP address")?;
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match ip {
        _ if ip.is_unspecified() => Err("is the unspecified address"),
        _ if ip.is_multicast() => Err("is a multicast address"),
        _ if link_local => Err("is a link-local address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Err("is the broadcast address"),
        _ => Ok(ip),
    }
}

fn invalid(key: &ObjectRef, field: String, text: &str, why: &str, report: &mut Report<'_>) {
    let message = format!("{text:?} {why}, so this endpoint is not used.");
    report.fault(key, field, reason::INVALID_ENDPOINT, message, "Write the address of the pod or host.");
}
