//! Translation: what is in the store becomes what serves. Pure, and it never fails.
//!
//! Goes in: a [`Store`], the settings, the time. Comes out: a Snapshot and Problems, in an order that depends on the
//! objects alone, not on what was translated before: a [`Translator`] remembers only what saves work. After it there is no Ingress, only hosts, routes, services and certificates. Older objects win over
//! younger ones; an object without a creation time is younger than one with, and then namespace and name decide.

pub mod annotations;
pub mod backend;
pub mod class;
pub mod client_auth;
pub mod endpoints;
pub mod expression;
pub mod passthrough;
pub mod path;
pub mod report;
pub mod rule;
pub mod shared;
pub mod steering;
pub mod tls;
pub mod topology;

use super::reason;
use super::store::Store;
use crate::config::{self, ClassMode};
use annotations::Settings;
use backend::Services;
use class::Classes;
use expression::Compiled;
use k8s_openapi::api::networking::v1::IngressSpec;
use k8s_openapi::jiff::Timestamp;
use lb_core::model::ObjectRef;
use lb_core::{Problem, Snapshot};
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
}

/// Translates, and remembers what the next translation can use.
#[derive(Debug, Default)]
pub struct Translator {
    compiled: Compiled,
    shared: Shared,
}

/// Translates once. `now_s` is the time in seconds since 1970; only certificates look at it.
#[must_use]
pub fn translate(store: &Store, objects: &config::Objects, now_s: i64) -> (Snapshot, Vec<Problem>) {
    Translator::default().translate(store, objects, now_s)
}

impl Translator {
    /// Translates everything, as [`translate()`].
    #[must_use]
    pub fn translate(&mut self, store: &Store, objects: &config::Objects, now_s: i64) -> (Snapshot, Vec<Problem>) {
        let mut report = Report::new(store);
        let served = served(store, objects, &mut self.shared, &mut report);
        let certificates = tls::bind(&served, store, now_s, &mut report);
        let client_auth = client_auth::bind(&served, &mut report);
        let mut services = Services::new(store, Location::of(store, objects));
        let holders = passthrough::Holders::of(&served, &mut report);
        let tables = rule::Tables { certificates: &certificates, client_auth: &client_auth, holders: &holders };
        let (routes, passed) = rule::routes(&served, tables, &mut self.compiled, &mut services, &mut report);
        let passthrough = holders.table(&passed);
        steering::report(&routes, &mut report);
        drop(holders);
        drop(served);
        self.compiled.sweep();
        self.shared.sweep();
        let services = services.finish();
        (Snapshot { version: 0, routes, services, certificates, client_auth, passthrough }, report.finish())
    }

    /// How many path expressions were compiled so far.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.compiled.compilations()
    }
}

/// The Ingresses that are ours, oldest first.
fn served<'a>(
    store: &'a Store,
    objects: &config::Objects,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> Vec<Served<'a>> {
    let classes = Classes::read(store, objects, report);
    let mut ours: Vec<(Age<'_>, Served<'a>)> = Vec::new();
    let mut plain: Option<Settings> = None;
    for (key, ingress) in store.ingresses() {
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
        ours.push((Age::new(created, key), Served { key, spec, settings, mode }));
    }
    ours.sort_by(|(a, _), (b, _)| a.cmp(b));
    ours.into_iter().map(|(_, served)| served).collect()
}

/// Orders objects from oldest to youngest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age<'a> {
    unknown: bool,
    created: Option<Timestamp>,
    key: &'a ObjectRef,
}

impl<'a> Age<'a> {
    fn new(created: Option<Timestamp>, key: &'a ObjectRef) -> Self {
        Self { unknown: created.is_none(), created, key }
    }
}

#[cfg(test)]
mod tests;
