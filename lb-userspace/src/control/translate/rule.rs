//! Rules: hosts and paths of Ingresses become routes. The oldest Ingress comes first and holds what it names.

use super::super::reason;
use super::annotations::Expressions;
use super::backend::Services;
use super::expression::Compiled;
use super::report::Report;
use super::{Served, client_auth, path};
use crate::config::ClassMode;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressRule};
use lb_core::model::route::Target;
use lb_core::model::{CertificateTable, ClientAuthTable, HostPattern, ObjectRef, Origin, PathMatch, Route, host};
use lb_core::route::{Builder, RouteTable, plain_route};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Path expressions of one Ingress that are served. Those of a host are tried one after another, 100 ns each, and one
/// may take 1 MB when it is hostile: so an Ingress costs a request 0.1 ms, and the agent 1 GB, at most.
pub const EXPRESSIONS_PER_INGRESS_MAX: usize = 1_000;

/// What was decided about hosts before their routes.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// Certificates by host.
    pub certificates: &'a CertificateTable,
    /// What hosts ask of their clients.
    pub client_auth: &'a ClientAuthTable,
}

/// Makes the routing table of all Ingresses, oldest first.
pub fn routes(
    served: &[Served<'_>],
    tables: Tables<'_>,
    compiled: &mut Compiled,
    services: &mut Services<'_>,
    report: &mut Report<'_>,
) -> RouteTable {
    let mut routes = Routes {
        builder: Builder::default(),
        defaults: HashMap::new(),
        expressions: 0,
        expression_hosts: path::expression_hosts(served),
        certified: Certified::of(tables.certificates),
        client_auth: tables.client_auth,
        compiled,
        services,
        report,
    };
    for ingress in served {
        routes.ingress(ingress);
    }
    routes.builder.build()
}

struct Routes<'a, 's, 'r> {
    builder: Builder,
    /// Who holds the default backend of a host.
    defaults: HashMap<HostPattern, Arc<ObjectRef>>,
    /// Path expressions of the Ingress at hand.
    expressions: usize,
    /// Where all paths of Ingresses in class mode `nginx` are expressions.
    expression_hosts: HashSet<HostPattern>,
    certified: Certified,
    client_auth: &'a ClientAuthTable,
    compiled: &'a mut Compiled,
    services: &'a mut Services<'s>,
    report: &'a mut Report<'r>,
}

impl Routes<'_, '_, '_> {
    fn ingress(&mut self, ingress: &Served<'_>) {
        let mut hosts = Vec::new();
        self.expressions = 0;
        for (index, rule) in (0..).zip(ingress.spec.rules.iter().flatten()) {
            match HostPattern::parse(rule.host.as_deref().unwrap_or_default()) {
                Ok(host) => {
                    self.rule(ingress, index, rule, &host);
                    hosts.push(host);
                }
                Err(error) => {
                    let message = format!("{error}. The rule is not served.");
                    let remedy = "Write a DNS name, *. and a DNS name, or no host for every host.";
                    let field = format!("spec.rules[{index}].host");
                    self.report.fault(&ingress.key, field, reason::INVALID_HOST, message, remedy);
                }
            }
        }
        if let Some(backend) = &ingress.spec.default_backend {
            self.default_backend(ingress, backend, &hosts);
        }
    }

    fn rule(&mut self, ingress: &Served<'_>, index: u32, rule: &IngressRule, host: &HostPattern) {
        self.builder.known_host(host);
        for (path_index, path) in (0..).zip(rule.http.iter().flat_map(|http| &http.paths)) {
            let origin = Origin { ingress: ingress.key.clone(), rule: Some(index), path: Some(path_index) };
            let field = format!("spec.rules[{index}].http.paths[{path_index}]");
            self.path(ingress, path, host, origin, &field);
        }
    }

    fn path(&mut self, ingress: &Served<'_>, path: &HTTPIngressPath, host: &HostPattern, origin: Origin, field: &str) {
        let expressions = match ingress.mode {
            ClassMode::Nginx if self.expression_hosts.contains(host) => Expressions::All,
            ClassMode::Nginx => Expressions::None,
            ClassMode::Spec => ingress.settings.expressions,
        };
        let matched = match path::read(path, expressions, self.compiled) {
            Ok(PathMatch::Regex(..)) if self.expressions == EXPRESSIONS_PER_INGRESS_MAX => {
                let message =
                    format!("More than {EXPRESSIONS_PER_INGRESS_MAX} path expressions; this one is not served.");
                let remedy = "Write one expression for several paths, or use more than one Ingress.";
                let field = format!("{field}.path");
                return self.report.fault(&ingress.key, field, reason::TOO_MANY_EXPRESSIONS, message, remedy);
            }
            Ok(matched) => {
                self.expressions += usize::from(matches!(matched, PathMatch::Regex(..)));
                matched
            }
            Err(refused) => {
                let field = format!("{field}.{}", refused.field);
                return self.report.fault(&ingress.key, field, refused.reason, refused.message, refused.remedy);
            }
        };
        self.check_groups(ingress, &matched, field);
        let target = self.target(ingress, &path.backend, &format!("{field}.backend"));
        let route = self.route(ingress, host.clone(), matched, origin, target);
        let shown = format!("{} of host {}", route.path, route.host);
        if let Err(conflict) = self.builder.rule(route) {
            let message = format!("{shown} is held by Ingress {}, so this path is not served.", conflict.held_by);
            let remedy =
                "Remove one of the two. The older Ingress holds a path; without a creation time, the first by name.";
            self.report.fault(&ingress.key, format!("{field}.path"), reason::PATH_CONFLICT, message, remedy);
        }
    }

    /// The default backend takes what no rule of the Ingress' hosts matches, and what no rule at all matches.
    fn default_backend(&mut self, ingress: &Served<'_>, backend: &IngressBackend, hosts: &[HostPattern]) {
        let field = "spec.defaultBackend";
        let target = self.target(ingress, backend, field);
        let origin = Origin { ingress: ingress.key.clone(), rule: None, path: None };
        let Ok(root) = PathMatch::prefix("/") else { return };
        let mut seen = HashSet::new();
        for host in hosts.iter().filter(|host| seen.insert(*host)) {
            let route = self.route(ingress, host.clone(), root.clone(), origin.clone(), target.clone());
            if self.builder.host_default(route) {
                self.defaults.insert(host.clone(), ingress.key.clone());
            } else if let Some(holder) = self.defaults.get(host) {
                let message =
                    format!("{holder} holds the default backend of host {host}, so this one is not used there.");
                self.report.fault(&ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            }
        }
        let route = self.route(ingress, HostPattern::Any, root, origin, target);
        if let Err(conflict) = self.builder.global_default(route) {
            let holder = &conflict.held_by.ingress;
            if hosts.is_empty() {
                let message = format!("{holder} holds the default backend of everything, so this one is not used.");
                self.report.fault(&ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            } else {
                let message =
                    format!("{holder} holds the default backend of all other hosts; this one serves its hosts.");
                self.report.note(&ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            }
        }
    }

    fn route(&self, ingress: &Served<'_>, host: HostPattern, path: PathMatch, origin: Origin, target: Target) -> Route {
        let settings = &ingress.settings;
        let certified = self.certified.may_cover(&host);
        let target = match client_auth::closed(ingress, &host, self.client_auth) {
            Some(why) => Target::Unavailable(why),
            None => target,
        };
        Route {
            filters: if certified { &settings.filters } else { &settings.filters_uncertified }.clone(),
            upstream: settings.upstream.clone(),
            upstream_in_clear: settings.upstream_in_clear.clone(),
            policy: settings.policy.clone(),
            ..plain_route(host, path, origin, target)
        }
    }

    fn target(&mut self, ingress: &Served<'_>, backend: &IngressBackend, field: &str) -> Target {
        let target = self.services.target(&ingress.key, backend, field, self.report);
        match &ingress.settings.closed {
            Some(why) => Target::Unavailable(why.clone()),
            None => target,
        }
    }

    fn check_groups(&mut self, ingress: &Served<'_>, path: &PathMatch, field: &str) {
        let (Some(rewrite), PathMatch::Regex(expression)) = (ingress.settings.rewrite(), path) else { return };
        let (groups, text) = (expression.groups(), expression.text());
        if rewrite.group_max() > groups {
            let message = format!(
                "rewrite-target names group ${}, and path \"{text}\" has {groups}; the missing one is empty.",
                rewrite.group_max()
            );
            let remedy = "Add the group to the path, as in /cart(/|$)(.*).";
            self.report.fault(&ingress.key, format!("{field}.path"), reason::REWRITE_GROUP_MISSING, message, remedy);
        }
    }
}

const DEFAULT_REMEDY: &str =
    "Keep one default backend. The older Ingress holds it; without a creation time, the first by name.";

/// Which hosts may have a certificate: `ssl-redirect` does nothing for the others.
struct Certified {
    exact: HashSet<Arc<str>>,
    wildcard: HashSet<Arc<str>>,
    /// Parents of exact names.
    parents: HashSet<Arc<str>>,
}

impl Certified {
    fn of(certificates: &CertificateTable) -> Self {
        let mut certified = Self { exact: HashSet::new(), wildcard: HashSet::new(), parents: HashSet::new() };
        for (pattern, _) in certificates.entries() {
            match pattern {
                HostPattern::Exact(name) => {
                    certified.parents.extend(host::parent(&name).map(Into::into));
                    certified.exact.insert(name);
                }
                HostPattern::Wildcard(suffix) => drop(certified.wildcard.insert(suffix)),
                HostPattern::Any => {}
            }
        }
        certified
    }

    /// Whether a certificate is found for some host that the pattern covers.
    fn may_cover(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => {
                self.exact.contains(name) || host::parent(name).is_some_and(|p| self.wildcard.contains(p))
            }
            HostPattern::Wildcard(suffix) => self.wildcard.contains(suffix) || self.parents.contains(suffix),
            HostPattern::Any => !self.exact.is_empty() || !self.wildcard.is_empty(),
        }
    }
}
