//! Translation: what is in the store becomes what serves. Pure, and it never fails.
//!
//! Goes in: a [`Store`], the settings, the time. Comes out: a Snapshot and Problems, in an order that depends on the
//! objects alone, not on what was translated before: a [`Translator`] remembers only what saves work ([`memory`]). After it there is no Ingress, only hosts, routes, services and certificates. Older objects win over
//! younger ones; an object without a creation time is younger than one with, and then namespace and name decide.

pub mod annotations;
pub mod backend;
pub mod class;
pub mod client_auth;
pub mod endpoints;
pub mod expression;
pub mod external;
pub mod index;
pub mod memory;
pub mod passthrough;
pub mod path;
pub mod report;
pub mod rule;
pub mod shared;
pub mod steering;
pub mod tls;
pub mod topology;
mod update;

use super::reason;
use super::store::Store;
use crate::config::{self, ClassMode};
use annotations::Settings;
use backend::Services;
use class::Classes;
use expression::Compiled;
use index::ServiceIndex;
use k8s_openapi::api::networking::v1::{Ingress, IngressSpec};
use k8s_openapi::jiff::Timestamp;
use lb_core::model::ObjectRef;
use lb_core::{Problem, Snapshot};
use memory::{Memory, Owners};
use report::Report;
use shared::Shared;
use std::sync::Arc;
use topology::Location;

/// An Ingress that is ours, with what its annotations say.
#[derive(Debug)]
pub struct Served<'a> {
    /// Its name.
    pub key: &'a Arc<ObjectRef>,
    /// What it asks for.
    pub spec: &'a IngressSpec,
    /// What its annotations ask for.
    pub settings: Settings,
    /// What its class says of paths.
    pub mode: ClassMode,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Translates, and remembers what the next translation can use.
#[derive(Debug, Default)]
pub struct Translator {
    compiled: Compiled,
    shared: Shared,
    memory: Option<Memory>,
}

/// Translates once. `now_s` is the time in seconds since 1970; only certificates look at it.
#[must_use]
pub fn translate(store: &Store, objects: &config::Objects, now_s: i64) -> (Snapshot, Vec<Problem>) {
    Translator::default().translate(store, objects, now_s)
}

impl Translator {
    /// Translates as [`translate()`], but for the order of hosts and the numbers of services. Only what changed since
    /// the last time is looked at, where that will do.
    #[must_use]
    pub fn translate(&mut self, store: &Store, objects: &config::Objects, now_s: i64) -> (Snapshot, Vec<Problem>) {
        self.update(store, objects, now_s).unwrap_or_else(|| self.all(store, objects, now_s))
    }

    fn all(&mut self, store: &Store, objects: &config::Objects, now_s: i64) -> (Snapshot, Vec<Problem>) {
        // What it holds would outlast the sweep.
        self.memory = None;
        let mut report = Report::new(store);
        let served = served(store.ingresses(), store, objects, &mut self.shared, &mut report);
        let certificates = tls::bind(&served, store, now_s, &mut report);
        let client_auth = client_auth::bind(&served, &mut report);
        let location = Location::of(store, objects);
        let mut services = Services::new(store, objects, location.clone());
        let holders = passthrough::Holders::of(&served, &mut report);
        let tables = rule::Tables { certificates: &certificates, client_auth: &client_auth, holders: &holders };
        let made = rule::routes(&served, tables, &mut self.compiled, &mut services, &mut report);
        let routes = made.builder.build();
        let passthrough = holders.table(&made.passed).into();
        steering::report(&routes, &mut report);
        drop(holders);
        let (services, close) = services.finish();
        let (certificates, client_auth) = (certificates.into(), client_auth.into());
        let snapshot = Snapshot { version: 0, routes, services, certificates, client_auth, passthrough };
        let memory = Memory {
            mark: store.mark(),
            objects: objects.clone(),
            now_s,
            stale_at_s: store.certificates_change_at_s(now_s),
            snapshot: snapshot.clone(),
            problems: report.finish(),
            location,
            services: ServiceIndex::of(&snapshot.services, &close),
            owners: Owners::of(&served, made.services, store),
            steered: steering::services(&snapshot.routes),
        };
        drop(served);
        self.compiled.sweep();
        self.shared.sweep();
        let problems = memory.problems.clone();
        self.memory = Some(memory);
        (snapshot, problems)
    }

    /// When the time alone will change what the last translation made, seconds since 1970.
    #[must_use]
    pub fn stale_at_s(&self) -> Option<i64> {
        self.memory.as_ref()?.stale_at_s
    }

    /// The Ingresses that are ours and serve, by namespace and name, as of the last translation of this store.
    #[must_use]
    pub fn served(&self, store: &Store) -> Vec<Arc<ObjectRef>> {
        let Some(memory) = &self.memory else { return Vec::new() };
        store.ingresses().map(|(name, _)| name).filter(|name| memory.owners.has(name)).cloned().collect()
    }

    /// How many path expressions were compiled so far.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.compiled.compilations()
    }
}

/// Those of the Ingresses, which come by name, that are ours, oldest first.
fn served<'a>(
    ingresses: impl Iterator<Item = (&'a Arc<ObjectRef>, &'a Ingress)>,
    store: &Store,
    objects: &config::Objects,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> Vec<Served<'a>> {
    let classes = Classes::read(store, objects, report);
    let mut ours: Vec<Served<'_>> = Vec::new();
    let mut plain: Option<Settings> = None;
    for (key, ingress) in ingresses {
        let Some((spec, mode)) = classes.claim(key, ingress, report) else { continue };
        let given = ingress.metadata.annotations.as_ref();
        let settings = match &plain {
            Some(plain) if !annotations::matter(given) => plain.clone(),
            _ => annotations::read(key, given, store, &objects.defaults, shared, report),
        };
        if plain.is_none() && !annotations::matter(given) {
            plain = Some(settings.clone());
        }
        if settings.withdrawn {
            continue;
        }
        if spec.default_backend.is_none() && spec.rules.as_ref().is_none_or(Vec::is_empty) {
            report.fault(
                key,
                "spec",
                reason::NOTHING_TO_SERVE,
                "The Ingress has neither rules nor a default backend, so it serves nothing.",
                "Add a rule or spec.defaultBackend.",
            );
        }
        let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        ours.push(Served { key, spec, settings, mode, created });
    }
    // Those of one age stay as they came, by name.
    ours.sort_by_key(|ingress| (ingress.created.is_none(), ingress.created));
    ours
}

#[cfg(test)]
mod tests;
