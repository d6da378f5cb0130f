//! What a translation leaves to the next one: what it made, and which Ingresses had a say in what.
//!
//! Goes in: what a translation made. Comes out: the Ingresses and hosts that a change may concern ([`Affected`]). Nothing
//! in here decides what serves: without it the next translation would come to the same result, later.

use super::super::few::Few;
use super::super::store::Store;
use super::super::store::journal::Mark;
use super::index::ServiceIndex;
use super::topology::Location;
use super::{Served, tls};
use crate::config;
use foldhash::fast::RandomState;
use k8s_openapi::api::networking::v1::IngressSpec;
use lb_core::model::{HostPattern, ObjectRef, ServiceId};
use lb_core::{Problem, Snapshot};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Ingresses that are translated apart from the others. Where more hang together, all are translated.
pub const AFFECTED_MAX: usize = 256;

/// The memory of a translator.
#[derive(Debug)]
pub struct Memory {
    /// What the store was like.
    pub mark: Mark,
    /// The settings.
    pub objects: config::Objects,
    /// When it was.
    pub now_s: i64,
    /// From when on certificates are to be looked at again, seconds since 1970.
    pub stale_at_s: Option<i64>,
    /// What was made.
    pub snapshot: Snapshot,
    /// What its owners were told.
    pub problems: Vec<Problem>,
    /// Where the agent was.
    pub location: Location,
    /// Services by name.
    pub services: ServiceIndex,
    /// Who had a say.
    pub owners: Owners,
    /// Services of owners who opted in to steering of whole connections: their classes look at all routes to these.
    pub steered: HashSet<ServiceId>,
}

/// The Ingresses that are ours, and what each had a say in.
#[derive(Debug, Default)]
pub struct Owners {
    by_name: HashMap<Arc<ObjectRef>, Owner, RandomState>,
    by_host: HashMap<HostPattern, Few<Arc<ObjectRef>>, RandomState>,
    /// How many Ingresses name each service.
    users: Vec<u32>,
}

/// What an Ingress has a say in.
#[derive(Debug)]
pub struct Owner {
    /// Hosts of its rules and certificates; every host, for a default backend.
    pub hosts: Few<HostPattern>,
    /// Services that it names.
    pub services: Box<[ServiceId]>,
    /// It asks for what is decided for hosts before their routes, or for steering of whole connections.
    pub decides: bool,
}

/// What a change may concern: everything that hangs together by hosts with what changed.
#[derive(Debug, Default)]
pub struct Affected {
    /// The Ingresses, those that are no more among them.
    pub names: BTreeSet<Arc<ObjectRef>>,
    /// The hosts. No other Ingress has a say in them.
    pub hosts: BTreeSet<HostPattern>,
}

impl Affected {
    /// What hangs together with Ingresses that are to be translated again. `None`, when that may be anything.
    #[must_use]
    pub fn of(store: &Store, memory: &Memory, again: impl IntoIterator<Item = Arc<ObjectRef>>) -> Option<Self> {
        let (mut affected, mut hosts) = (Self::default(), Vec::new());
        for name in again {
            hosts.extend_from_slice(memory.owners.hosts(&name));
            let spec = store.ingress(&name).and_then(|(_, ingress)| ingress.spec.as_ref());
            hosts.extend(spec.map(|spec| named_hosts(&name, spec, store)).unwrap_or_default());
            affected.names.insert(name);
        }
        if affected.names.len() > AFFECTED_MAX {
            return None;
        }
        while let Some(host) = hosts.pop() {
            if affected.hosts.contains(&host) {
                continue;
            }
            for name in memory.owners.of_host(&host) {
                if affected.names.insert(name.clone()) {
                    hosts.extend_from_slice(memory.owners.hosts(name));
                }
            }
            affected.hosts.insert(host);
            if affected.names.len() > AFFECTED_MAX {
                return None;
            }
        }
        Some(affected)
    }
}

/// The hosts that an Ingress has a say in, each once.
fn named_hosts(key: &ObjectRef, spec: &IngressSpec, store: &Store) -> Vec<HostPattern> {
    let rules = spec.rules.iter().flatten().map(|rule| rule.host.as_deref().unwrap_or_default());
    let mut hosts: Vec<HostPattern> = rules.filter_map(|host| HostPattern::parse(host).ok()).collect();
    hosts.extend(spec.default_backend.as_ref().map(|_| HostPattern::Any));
    hosts.extend(tls::hosts(key, spec, store));
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// Whether an Ingress asks for what looks beyond its own hosts.
#[must_use]
pub fn decides(ingress: &Served<'_>) -> bool {
    let settings = &ingress.settings;
    settings.steering.connection || settings.passthrough.is_some() || settings.client_auth.is_some()
}

impl Owner {
    /// What an Ingress has a say in, with the services that it was found to name.
    #[must_use]
    pub fn of(ingress: &Served<'_>, services: Box<[ServiceId]>, store: &Store) -> Self {
        let mut hosts = named_hosts(ingress.key, ingress.spec, store);
        let hosts = match hosts.pop() {
            Some(one) if hosts.is_empty() => Few::One(one),
            last => {
                hosts.extend(last);
                Few::Many(hosts)
            }
        };
        Self { hosts, services, decides: decides(ingress) }
    }
}

impl Owners {
    /// All Ingresses, with the services that each names.
    #[must_use]
    pub fn of(served: &[Served<'_>], services: Vec<Box<[ServiceId]>>, store: &Store) -> Self {
        let mut owners = Self::default();
        owners.by_name.reserve(served.len());
        owners.by_host.reserve(served.len());
        for (ingress, services) in served.iter().zip(services) {
            owners.insert(ingress.key, Owner::of(ingress, services, store));
        }
        owners
    }

    /// Whether an Ingress is ours.
    #[must_use]
    pub fn has(&self, name: &ObjectRef) -> bool {
        self.by_name.contains_key(name)
    }

    /// The hosts that an Ingress had a say in.
    #[must_use]
    pub fn hosts(&self, name: &ObjectRef) -> &[HostPattern] {
        self.by_name.get(name).map_or(&[], |owner| owner.hosts.as_slice())
    }

    /// The services that an Ingress named.
    #[must_use]
    pub fn services(&self, name: &ObjectRef) -> &[ServiceId] {
        self.by_name.get(name).map_or(&[], |owner| &owner.services)
    }

    /// Whether an Ingress asked for what looks beyond its own hosts.
    #[must_use]
    pub fn decides(&self, name: &ObjectRef) -> bool {
        self.by_name.get(name).is_some_and(|owner| owner.decides)
    }

    /// The Ingresses that had a say in a host.
    #[must_use]
    pub fn of_host(&self, host: &HostPattern) -> &[Arc<ObjectRef>] {
        self.by_host.get(host).map_or(&[], Few::as_slice)
    }

    /// Adds an Ingress.
    pub fn insert(&mut self, name: &Arc<ObjectRef>, owner: Owner) {
        for host in owner.hosts.as_slice() {
            match self.by_host.get_mut(host) {
                Some(names) => names.push(name.clone()),
                None => drop(self.by_host.insert(host.clone(), Few::One(name.clone()))),
            }
        }
        for id in &owner.services {
            let place = id.0 as usize;
            if place >= self.users.len() {
                self.users.resize(place + 1, 0);
            }
            self.users[place] += 1;
        }
        self.by_name.insert(name.clone(), owner);
    }

    /// Takes an Ingress out.
    pub fn remove(&mut self, name: &ObjectRef) {
        let Some(owner) = self.by_name.remove(name) else { return };
        for host in owner.hosts.as_slice() {
            if self.by_host.get_mut(host).is_some_and(|names| names.remove(|known| **known == *name)) {
                self.by_host.remove(host);
            }
        }
        for id in &owner.services {
            self.users[id.0 as usize] -= 1;
        }
    }

    /// Whether every service would still be named, if these Ingresses named others.
    #[must_use]
    pub fn keep_services<'a>(
        &self,
        names: impl Iterator<Item = &'a Arc<ObjectRef>>,
        instead: &[Box<[ServiceId]>],
    ) -> bool {
        let mut fewer: HashMap<ServiceId, u32, RandomState> = HashMap::default();
        for id in names.filter_map(|name| self.by_name.get(name)).flat_map(|owner| &owner.services) {
            *fewer.entry(*id).or_default() += 1;
        }
        let still = |id: &ServiceId| instead.iter().any(|services| services.contains(id));
        fewer.iter().all(|(id, count)| self.users.get(id.0 as usize).is_some_and(|all| all > count) || still(id))
    }
}
