//! Addresses: where clients reach what we serve, as `status.loadBalancer.ingress` says it.
//!
//! Goes in: the settings and the store. Comes out: a sorted list from the first source that has any: fixed addresses, the
//! published Service, the nodes that run a ready agent. Which nodes these are is read from the EndpointSlices of the
//! agents' own Service: they say node and readiness in one, by the probe that clients' traffic follows, and are watched
//! already; Pods would need a right and a watch of their own.

use super::super::store::Store;
use crate::config;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress};
use lb_core::model::{Kind, ObjectRef};
use std::net::IpAddr;

/// Most addresses of one status: more nodes than this are no list that DNS would take (a response of 64 KB holds some
/// 4,000 addresses, and every Ingress has a copy).
pub const ADDRESSES_MAX: usize = 256;

/// One entry of a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Hostname(Box<str>),
    /// What somebody else wrote and we never would: both at once, neither, ports.
    Foreign(Box<str>),
}

impl Address {
    /// The entry, as the API has it.
    #[must_use]
    pub fn entry(&self) -> serde_json::Value {
        match self {
            Self::Ip(ip) => serde_json::json!({ "ip": ip.to_string() }),
            Self::Hostname(name) | Self::Foreign(name) => serde_json::json!({ "hostname": name }),
        }
    }

    fn seen(entry: &IngressLoadBalancerIngress) -> Self {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let ports = entry.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        match (text(&entry.ip), text(&entry.hostname)) {
            (Some(ip), None) if !ports => match ip.parse() {
                Ok(ip) => Self::Ip(ip),
                Err(_) => Self::Foreign(ip.into()),
            },
            (None, Some(name)) if !ports => Self::Hostname(name.into()),
            (ip, name) => Self::Foreign(format!("{ip:?} {name:?} {ports}").into()),
        }
    }
}

/// What the status of an Ingress has now, sorted.
#[must_use]
pub fn seen(ingress: &Ingress) -> Vec<Address> {
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let mut seen: Vec<Address> =
        balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().map(Address::seen).collect();
    seen.sort_unstable();
    seen
}

/// What the statuses of our Ingresses should have, sorted; nothing, while no source has an address.
#[must_use]
pub fn wanted(settings: &config::Report, store: &Store) -> Vec<Address> {
    let mut wanted: Vec<Address> = settings.addresses.iter().map(|text| address(text)).collect();
    if wanted.is_empty()
        && let Some(name) = &settings.publish_service
        && let Some(service) = store.service(&name.namespace, &name.name)
    {
        wanted = of_service(service);
    }
    if wanted.is_empty() && settings.nodes {
        wanted = of_nodes(settings, store);
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.truncate(ADDRESSES_MAX);
    wanted
}

/// Whether a change of this object may change what is [`wanted`], or which agents are ready.
#[must_use]
pub fn matters(settings: &config::Report, name: &ObjectRef) -> bool {
    let is = |known: &Option<config::NamespacedName>| {
        known.as_ref().is_some_and(|known| *known.namespace == *name.namespace && *known.name == *name.name)
    };
    match name.kind {
        Kind::Service => is(&settings.publish_service),
        Kind::EndpointSlice => settings.agents.as_ref().is_some_and(|agents| *agents.namespace == *name.namespace),
        Kind::Node => settings.nodes,
        _ => false,
    }
}

/// Whether an agent other than this one is ready. `None`, when it is not known where agents are listed.
#[must_use]
pub fn others_are_ready(settings: &config::Report, me: Me<'_>, store: &Store) -> Option<bool> {
    settings.agents.as_ref().map(|service| ready_agents(service, store).any(|agent| !me.is(agent)))
}

/// How this agent is listed among the agents.
#[derive(Debug, Clone, Copy)]
pub struct Me<'a> {
    /// Name of the Pod.
    pub pod: Option<&'a str>,
    /// Name of the Node.
    pub node: Option<&'a str>,
}

impl Me<'_> {
    fn is(self, agent: &Endpoint) -> bool {
        let pod = agent.target_ref.as_ref().and_then(|target| target.name.as_deref());
        match (self.pod, pod) {
            (Some(me), Some(pod)) => me == pod,
            _ => self.node.is_some() && self.node == agent.node_name.as_deref(),
        }
    }
}

fn address(text: &str) -> Address {
    text.parse().map_or_else(|_| Address::Hostname(text.into()), Address::Ip)
}

/// Addresses of its balancer, else external ones, else those of the cluster. A Service that waits for a balancer has none:
/// nobody outside could use the cluster's, and DNS would have them for an hour.
fn of_service(service: &Service) -> Vec<Address> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.filter(|name| !name.is_empty()).map(|name| address(&name)).into_iter().collect();
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let of_balancer = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let of_balancer = of_balancer.filter_map(|entry| entry.ip.as_ref().or(entry.hostname.as_ref()));
    let mut addresses: Vec<Address> = of_balancer.filter(|text| !text.is_empty()).map(|text| address(text)).collect();
    if addresses.is_empty() {
        addresses = ips(spec.external_ips.iter().flatten());
    }
    if addresses.is_empty() && spec.type_.as_deref() != Some("LoadBalancer") {
        let first = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_none());
        addresses = ips(spec.cluster_ips.iter().flatten().chain(first));
    }
    addresses
}

fn of_nodes(settings: &config::Report, store: &Store) -> Vec<Address> {
    let agents = settings.agents.iter().flat_map(|service| ready_agents(service, store));
    let mut names: Vec<&str> = agents.filter_map(|agent| agent.node_name.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let nodes = names.into_iter().filter_map(|name| store.node(name)).filter(|node| is_ready(node));
    nodes.flat_map(of_node).collect()
}

/// External addresses, else internal ones; of both families.
fn of_node(node: &Node) -> Vec<Address> {
    let listed = || node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let of = |kind: &str| ips(listed().filter(|listed| listed.type_ == kind).map(|listed| &listed.address));
    let external = of("ExternalIP");
    if external.is_empty() { of("InternalIP") } else { external }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

fn ready_agents<'a>(service: &config::NamespacedName, store: &'a Store) -> impl Iterator<Item = &'a Endpoint> + 'a {
    let slices = store.slices_of(&service.namespace, &service.name).into_iter();
    slices.flat_map(|held| held.slice.endpoints.iter().flatten()).filter(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        conditions.ready != Some(false) && conditions.terminating != Some(true)
    })
}

fn ips<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Address> {
    texts.filter_map(|text| text.parse().ok()).map(Address::Ip).collect()
}

#[cfg(test)]
mod tests;
