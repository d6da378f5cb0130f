//! Topology: endpoints near this agent are preferred, where their Service asks for it.
//!
//! `hints` on every ready endpoint decide (as kube-proxy reads them: a single endpoint without one voids them all), then
//! `spec.trafficDistribution` by the endpoints' own node and zone. When nothing is near, everything is used.

use super::super::store::Store;
use super::endpoints::Candidate;
use crate::config;

/// The label of a Node that names its zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Where this agent runs, as far as it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    node: Option<String>,
    zone: Option<String>,
}

impl Location {
    /// From the settings; the zone, if they do not name it, from the Node object.
    #[must_use]
    pub fn of(store: &Store, objects: &config::Objects) -> Self {
        let node = objects.node.clone();
        let label = || {
            let node = store.node(node.as_deref()?)?;
            node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()
        };
        let zone = objects.zone.clone().or_else(label);
        Self { node, zone }
    }
}

/// The nearest of the endpoints, and a word on it when these are not all.
#[must_use]
pub fn prefer(all: Vec<Candidate>, distribution: Option<&str>, location: &Location) -> (Vec<Candidate>, String) {
    let total = all.len();
    let narrowed = by_hints(&all, location).or_else(|| by_distribution(&all, distribution?, location));
    match narrowed {
        Some((near, whose)) if near.len() < total => {
            let note = format!("{} of {total}: those {whose}", near.len());
            (near, note)
        }
        Some((near, _)) => (near, String::new()),
        None => (all, String::new()),
    }
}

type Near = (Vec<Candidate>, String);

fn by_hints(all: &[Candidate], location: &Location) -> Option<Near> {
    by_hint(all, location.node.as_deref(), |c| &c.for_nodes, "node")
        .or_else(|| by_hint(all, location.zone.as_deref(), |c| &c.for_zones, "zone"))
}

fn by_hint(all: &[Candidate], here: Option<&str>, hint: impl Fn(&Candidate) -> &[String], what: &str) -> Option<Near> {
    let here = here?;
    if all.iter().any(|c| hint(c).is_empty()) {
        return None;
    }
    let near = all.iter().filter(|c| hint(c).iter().any(|name| name == here)).cloned().collect();
    some(near, format!("whose hints name {what} {here}"))
}

fn by_distribution(all: &[Candidate], distribution: &str, location: &Location) -> Option<Near> {
    let node = || {
        let here = location.node.as_deref()?;
        let near = all.iter().filter(|c| c.endpoint.node.as_deref() == Some(here)).cloned().collect();
        some(near, format!("on node {here}"))
    };
    let zone = || {
        let here = location.zone.as_deref()?;
        let near = all.iter().filter(|c| c.endpoint.zone.as_deref() == Some(here)).cloned().collect();
        some(near, format!("in zone {here}"))
    };
    match distribution {
        "PreferSameNode" => node().or_else(zone),
        // PreferClose is the older name of PreferSameZone (Kubernetes 1.34).
        "PreferSameZone" | "PreferClose" => zone(),
        _ => None,
    }
}

fn some(near: Vec<Candidate>, whose: String) -> Option<Near> {
    (!near.is_empty()).then_some((near, whose))
}
