//! Translation of what a change concerns, where that is little: the rest is taken over as it was.
//!
//! Goes in: a store with few changes, and the [`Memory`] of the translation before. Comes out: what a translation of
//! everything would make, but for the order of hosts and the numbers of services; or `None`, when everything has to be
//! translated. Three facts carry it. A service depends on its Service, on the endpoints of that, and on the place of the
//! agent: where one of these changed it is made again, in its place. What an Ingress makes depends on itself, on its
//! services, and on those that have a say in one of its hosts: all of these are translated here, by the same functions.
//! What the functions look at beside is the same as before, or else `None` is the answer: classes, the place of the agent,
//! which names have certificates, who asks clients for theirs, where TLS passes through, who opted in to steering, and
//! which services there are no more.

mod changes;
mod remade;

use super::super::store::Store;
use super::backend::Services;
use super::memory::{self, Affected, Memory, Owner};
use super::passthrough::Holders;
use super::report::{self, Report};
use super::topology::Location;
use super::{Served, Translator, rule, served, tls};
use crate::config;
use changes::Changes;
use lb_core::model::{CertificateTable, HostPattern, Kind, ObjectRef, Service, ServiceId, ServiceKey, host};
use lb_core::route::RouteTable;
use lb_core::{Problem, Snapshot};
use remade::Remade;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What took the place of something.
struct Changed<'a> {
    served: Vec<Served<'a>>,
    /// The services that each Ingress names.
    named: Vec<Box<[ServiceId]>>,
    routes: RouteTable,
    services: Vec<Arc<Service>>,
    /// Those whose Services decide more than endpoints.
    close: Vec<ServiceKey>,
    /// Services, slices and Endpoints whose Problems were found again.
    endpoints: BTreeSet<Arc<ObjectRef>>,
    certificates: Arc<CertificateTable>,
    problems: Vec<Problem>,
}

impl Translator {
    /// Translates what changes of the store concern.
    pub(super) fn update(
        &mut self,
        store: &Store,
        objects: &config::Objects,
        now_s: i64,
    ) -> Option<(Snapshot, Vec<Problem>)> {
        let memory = self.memory.as_ref()?;
        let stale = now_s < memory.now_s || memory.stale_at_s.is_some_and(|at| now_s >= at);
        if stale || memory.objects != *objects || memory.location != Location::of(store, objects) {
            return None;
        }
        let changes = Changes::of(store, &memory.mark)?;
        let mut report = Report::new(store);
        let remade = Remade::of(store, memory, &changes, &mut report)?;
        let affected = Affected::of(store, memory, changes.ingresses.into_iter().chain(remade.ingresses.clone()))?;
        let steered = |name: &Arc<ObjectRef>| memory.leads_to_steered(memory.owners.services(name));
        let looks_beyond = |name: &Arc<ObjectRef>| memory.owners.decides(name) || steered(name);
        if affected.names.iter().any(looks_beyond) || any_passes_around(memory, &affected) {
            return None;
        }
        let changed = self.change(store, objects, now_s, &affected, remade, report)?;
        self.compiled.sweep();
        self.shared.sweep();
        let memory = self.memory.as_mut()?;
        memory.take(store, now_s, &affected, changed);
        Some((memory.snapshot.clone(), memory.problems.clone()))
    }

    fn change<'a>(
        &mut self,
        store: &'a Store,
        objects: &'a config::Objects,
        now_s: i64,
        affected: &Affected,
        remade: Remade,
        mut report: Report<'_>,
    ) -> Option<Changed<'a>> {
        let Self { compiled, shared, memory } = self;
        let memory = memory.as_ref()?;
        let present = affected.names.iter().filter_map(|name| store.ingress(name));
        let served = served(present, store, objects, shared, &mut report);
        if served.iter().any(memory::decides) {
            return None;
        }
        let bound = tls::bind(&served, store, now_s, &mut report);
        let certificates = certificates(&memory.snapshot.certificates, affected, &bound)?;
        let mut services = Services::after(store, objects, memory.location.clone(), &memory.services, remade.services);
        let (client_auth, holders) = (&*memory.snapshot.client_auth, Holders::default());
        let tables = rule::Tables { certificates: &certificates, client_auth, holders: &holders };
        let made = rule::routes(&served, tables, compiled, &mut services, &mut report);
        let steered = made.services.iter().any(|services| memory.leads_to_steered(services));
        if steered || !memory.owners.keep_services(affected.names.iter(), &made.services) {
            return None;
        }
        let routes = made.builder.replace(&memory.snapshot.routes, &affected.hosts)?;
        let endpoints = remade.endpoints;
        let problems = problems(report, |object| affected.is_about(object) || endpoints.contains(object))?;
        let (services, close) = services.finish();
        Some(Changed { named: made.services, routes, services, close, endpoints, certificates, problems, served })
    }
}

impl Memory {
    fn take(&mut self, store: &Store, now_s: i64, affected: &Affected, changed: Changed<'_>) {
        (self.mark, self.now_s) = (store.mark(), now_s);
        if !affected.names.is_empty() {
            self.stale_at_s = store.certificates_change_at_s(now_s);
        }
        self.services.add(&changed.services, self.snapshot.services.len(), &changed.close);
        affected.names.iter().for_each(|name| self.owners.remove(name));
        for (ingress, named) in changed.served.iter().zip(changed.named) {
            self.owners.insert(ingress.key, Owner::of(ingress, named, store));
        }
        self.snapshot.routes = changed.routes;
        self.snapshot.services = changed.services;
        self.snapshot.certificates = changed.certificates;
        let again =
            |problem: &Problem| affected.is_about(&problem.object) || changed.endpoints.contains(&problem.object);
        if !changed.problems.is_empty() || self.problems.iter().any(again) {
            self.problems.retain(|problem| !again(problem));
            self.problems.extend(changed.problems);
            report::sort(&mut self.problems);
        }
    }

    /// Whether one of these services is reached through a route whose owner opted in to steering.
    fn leads_to_steered(&self, services: &[ServiceId]) -> bool {
        !self.steered.is_empty() && services.iter().any(|id| self.steered.contains(id))
    }
}

impl Affected {
    fn is_about(&self, object: &ObjectRef) -> bool {
        object.kind == Kind::Ingress && self.names.contains(object)
    }
}

/// Whether TLS of a wildcard over one of the hosts passes through: then it is said of the host that its own does not.
fn any_passes_around(memory: &Memory, affected: &Affected) -> bool {
    let table = &memory.snapshot.passthrough;
    let around = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => {
            host::parent(name).is_some_and(|suffix| table.get(&HostPattern::Wildcard(suffix.into())).is_some())
        }
        HostPattern::Wildcard(_) | HostPattern::Any => false,
    };
    !table.is_empty() && affected.hosts.iter().any(around)
}

/// The certificates, with those that are bound to the affected hosts now. `None`, when another set of names has one: then
/// other hosts may be redirected to HTTPS, or no more.
fn certificates(
    before: &Arc<CertificateTable>,
    affected: &Affected,
    bound: &CertificateTable,
) -> Option<Arc<CertificateTable>> {
    let mut others = Vec::new();
    for host in &affected.hosts {
        match (before.get(host), bound.get(host)) {
            (None, None) => {}
            (Some(held), Some(found)) if held == found => {}
            (Some(_), Some(found)) => others.push((host, found)),
            _ => return None,
        }
    }
    if others.is_empty() {
        return Some(before.clone());
    }
    let mut table = CertificateTable::clone(before);
    for (host, found) in others {
        table.remove(host);
        table.insert(host, found.clone());
    }
    Some(table.into())
}

/// What is to be said of the objects that were looked at. `None`, when something was found about others.
fn problems(report: Report<'_>, looked_at: impl Fn(&ObjectRef) -> bool) -> Option<Vec<Problem>> {
    let mut problems = report.finish();
    // All classes were read again, and nothing about them has changed.
    problems.retain(|problem| problem.object.kind != Kind::IngressClass);
    problems.iter().all(|problem| looked_at(&problem.object)).then_some(problems)
}

#[cfg(test)]
mod tests;
