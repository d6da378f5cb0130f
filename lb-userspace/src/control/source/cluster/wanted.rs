//! What is wanted: the scopes that are followed always, and those that follow from what objects name.
//!
//! Goes in: settings, and what is known. Comes out: [`Scope`]s. Secrets that hold no TLS certificate, and ConfigMaps, are read one by
//! one and only while an Ingress or an IngressClass of ours names them.

use super::super::super::reason;
use super::super::super::store::Store;
use super::super::super::translate::class::{self, Classes};
use super::super::super::translate::report::Report;
use super::intake::{Intake, problem};
use super::scope::{Scope, Watched};
use crate::config;
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::Severity;

/// Objects that are watched one by one. Each is a connection to the API server, from every agent.
pub const NAMED_MAX: usize = 64;

/// Nothing is published before these were read.
#[must_use]
pub fn needed(settings: &config::Cluster) -> Vec<Scope> {
    let mut scopes = vec![Scope::of(Watched::Object(Kind::IngressClass), None)];
    if let Some(selector) = &settings.namespace_selector {
        scopes.push(Scope { labels: selector.clone(), ..Scope::of(Watched::Namespace, None) });
    }
    let namespaces: Vec<Option<&str>> = match settings.namespaces.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    for namespace in namespaces {
        for kind in [Kind::Ingress, Kind::Service, Kind::EndpointSlice] {
            scopes.push(Scope::of(Watched::Object(kind), namespace));
        }
        let secrets = Scope::of(Watched::Object(Kind::Secret), namespace);
        scopes.push(Scope { fields: "type=kubernetes.io/tls".to_owned(), ..secrets });
    }
    scopes
}

/// These are read, too; without them less is known, and everything works.
#[must_use]
pub fn useful(settings: &config::Cluster, objects: &config::Objects) -> Vec<Scope> {
    if settings.nodes {
        return vec![Scope::of(Watched::Object(Kind::Node), None)];
    }
    let node = objects.node.as_ref().filter(|_| objects.zone.is_none());
    node.map(|name| Scope::one(Kind::Node, None, name)).into_iter().collect()
}

/// What objects name.
#[derive(Debug, Default)]
pub struct Wanted {
    /// To be followed.
    pub scopes: Vec<Scope>,
    /// What is named and cannot be followed.
    pub problems: Vec<Problem>,
}

impl Wanted {
    /// Looks again.
    pub fn look(&mut self, intake: &Intake, objects: &config::Objects) {
        (self.scopes, self.problems) = (Vec::new(), Vec::new());
        let store = intake.store();
        let mut report = Report::new(store);
        let classes = Classes::read(store, objects, &mut report);
        self.scopes.extend(parameters(store, &classes));
        let mut ours = |key: &ObjectRef| {
            let ingress = store.ingress(key);
            ingress.is_some_and(|(key, ingress)| classes.claim(key, ingress, &mut report).is_some())
        };
        for (secret, owners) in intake.missing() {
            let Some(owner) = owners.iter().find(|key| ours(key)) else { continue };
            if self.scopes.len() < NAMED_MAX {
                self.scopes.push(Scope::one(Kind::Secret, Some(&secret.namespace), &secret.name));
            } else {
                self.problems.push(too_many(owner, secret));
            }
        }
    }
}

/// The ConfigMaps that classes of ours name.
fn parameters(store: &Store, classes: &Classes<'_>) -> Vec<Scope> {
    let ours = store.ingress_classes().filter(|(key, _)| classes.is_ours(&key.name));
    let named = ours.filter_map(|(_, class)| class::parameters(class)?.ok());
    let mut scopes: Vec<Scope> =
        named.map(|key| Scope::one(Kind::ConfigMap, Some(&key.namespace), &key.name)).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.truncate(NAMED_MAX / 2);
    scopes
}

fn too_many(owner: &ObjectRef, secret: &ObjectRef) -> Problem {
    let message = format!(
        "{secret} is not of type kubernetes.io/tls, or does not exist; {NAMED_MAX} such Secrets are watched already, \
         so this one is not read."
    );
    let remedy = "Make it a Secret of type kubernetes.io/tls (beside ca.crt it may have any tls.crt and tls.key).";
    problem(Severity::Fault, owner, "", reason::TOO_MANY_SECRETS, message, remedy)
}
