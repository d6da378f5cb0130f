//! Rules: hosts and paths of Ingresses become routes. The oldest Ingress comes first and holds what it names.

use super::super::reason;
use super::annotations::Expressions;
use super::backend::Services;
use super::expression::Compiled;
use super::passthrough::{self, Holders};
use super::report::Report;
use super::{Served, client_auth, external, path};
use crate::config::ClassMode;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressRule};
use lb_core::model::route::Target;
use lb_core::model::{
    CertificateTable, ClientAuthTable, Expression, HostPattern, ObjectRef, Origin, PathMatch, Route, RouteId,
    ServiceId, Steering, host,
};
use lb_core::route::{Builder, plain_route};
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
    /// Where TLS of hosts ends.
    pub holders: &'a Holders<'a>,
}

/// What Ingresses make of their rules.
#[derive(Debug)]
pub struct Made {
    /// Their routes.
    pub builder: Builder,
    /// Which of the routes take TLS of their hosts as it is.
    pub passed: Vec<(HostPattern, RouteId)>,
    /// The services that each Ingress names.
    pub services: Vec<Box<[ServiceId]>>,
}

/// Makes the routes of Ingresses, oldest first.
pub fn routes<'s>(
    served: &[Served<'s>],
    tables: Tables<'_>,
    compiled: &mut Compiled,
    services: &mut Services<'s>,
    report: &mut Report<'_>,
) -> Made {
    let mut routes = Routes {
        builder: Builder::default(),
        defaults: HashMap::new(),
        expressions: 0,
        expression_hosts: path::expression_hosts(served),
        parents: None,
        tables,
        passed: Vec::new(),
        compiled,
        services,
        report,
    };
    let mut named = Vec::with_capacity(served.len());
    for ingress in served {
        routes.ingress(ingress);
        named.push(routes.services.take_named());
    }
    Made { builder: routes.builder, passed: routes.passed, services: named }
}

struct Routes<'a, 's, 'r> {
    builder: Builder,
    /// Who holds the default backend of a host.
    defaults: HashMap<HostPattern, Arc<ObjectRef>>,
    /// Path expressions of the Ingress at hand.
    expressions: usize,
    /// Where all paths of Ingresses in class mode `nginx` are expressions.
    expression_hosts: HashSet<HostPattern>,
    /// Parents of the names that have a certificate; made when a wildcard host first asks.
    parents: Option<HashSet<Arc<str>>>,
    tables: Tables<'a>,
    /// Routes that take TLS of their hosts as it is.
    passed: Vec<(HostPattern, RouteId)>,
    compiled: &'a mut Compiled,
    services: &'a mut Services<'s>,
    report: &'a mut Report<'r>,
}

impl<'s> Routes<'_, 's, '_> {
    fn ingress(&mut self, ingress: &Served<'s>) {
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
                    self.report.fault(ingress.key, field, reason::INVALID_HOST, message, remedy);
                }
            }
        }
        if let Some(backend) = &ingress.spec.default_backend {
            self.default_backend(ingress, backend, &hosts);
        }
    }

    fn rule(&mut self, ingress: &Served<'s>, index: u32, rule: &'s IngressRule, host: &HostPattern) {
        let mut paths = (0..).zip(rule.http.iter().flat_map(|http| &http.paths)).peekable();
        if paths.peek().is_none() {
            self.builder.known_host(host);
        }
        for (path_index, path) in paths {
            let origin = Origin { ingress: ingress.key.clone(), rule: Some(index), path: Some(path_index) };
            self.path(ingress, path, host, origin);
        }
    }

    fn path(&mut self, ingress: &Served<'s>, path: &'s HTTPIngressPath, host: &HostPattern, origin: Origin) {
        let expressions = match ingress.mode {
            ClassMode::Nginx if self.expression_hosts.contains(host) => Expressions::All,
            ClassMode::Nginx => Expressions::None,
            ClassMode::Spec => ingress.settings.expressions,
        };
        let matched = match path::read(path, expressions, self.compiled) {
            Ok(matched) => matched,
            Err(refused) => {
                self.builder.known_host(host);
                let field = field(&origin, refused.field);
                return self.report.fault(ingress.key, field, refused.reason, refused.message, refused.remedy);
            }
        };
        if let PathMatch::Regex(expression) = &matched {
            if self.expressions == EXPRESSIONS_PER_INGRESS_MAX {
                let message =
                    format!("More than {EXPRESSIONS_PER_INGRESS_MAX} path expressions; this one is not served.");
                let remedy = "Write one expression for several paths, or use more than one Ingress.";
                let field = field(&origin, "path");
                return self.report.fault(ingress.key, field, reason::TOO_MANY_EXPRESSIONS, message, remedy);
            }
            self.expressions += 1;
            self.check_groups(ingress, expression, &origin);
        }
        let target = self.target(ingress, &path.backend, &origin);
        let passes = passthrough::is_root(&matched) && self.tables.holders.passes(ingress, host);
        let route = self.route(ingress, host.clone(), matched, origin.clone(), target);
        match self.builder.rule(route) {
            Ok(id) if passes => self.passed.push((host.clone(), id)),
            Ok(_) => {}
            Err(conflict) => self.conflict(ingress, path, host, &origin, &conflict.held_by),
        }
    }

    fn conflict(
        &mut self,
        ingress: &Served<'_>,
        path: &HTTPIngressPath,
        host: &HostPattern,
        origin: &Origin,
        holder: &Origin,
    ) {
        let (kind, text) = (&path.path_type, path.path.as_deref().unwrap_or("/"));
        let holder = match holder.ingress == *ingress.key {
            true => format!("Ingress {holder}"),
            false => holder.ingress.to_string(),
        };
        let message = format!("{kind} {text} of host {host} is held by {holder}, so this path is not served.");
        let remedy =
            "Remove one of the two. The older Ingress holds a path; without a creation time, the first by name.";
        self.report.fault(ingress.key, field(origin, "path"), reason::PATH_CONFLICT, message, remedy);
    }

    /// The default backend takes what no rule of the Ingress' hosts matches, and what no rule at all matches.
    fn default_backend(&mut self, ingress: &Served<'s>, backend: &'s IngressBackend, hosts: &[HostPattern]) {
        let field = "spec.defaultBackend";
        let origin = Origin { ingress: ingress.key.clone(), rule: None, path: None };
        let target = self.target(ingress, backend, &origin);
        let Ok(root) = PathMatch::prefix("/") else { return };
        let mut seen = HashSet::new();
        for host in hosts.iter().filter(|host| seen.insert(*host)) {
            let route = self.route(ingress, host.clone(), root.clone(), origin.clone(), target.clone());
            if self.builder.host_default(route) {
                self.defaults.insert(host.clone(), ingress.key.clone());
            } else if let Some(holder) = self.defaults.get(host) {
                let message =
                    format!("{holder} holds the default backend of host {host}, so this one is not used there.");
                self.report.fault(ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            }
        }
        let route = self.route(ingress, HostPattern::Any, root, origin, target);
        if let Err(conflict) = self.builder.global_default(route) {
            let holder = &conflict.held_by.ingress;
            if hosts.is_empty() {
                let message = format!("{holder} holds the default backend of everything, so this one is not used.");
                self.report.fault(ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            } else {
                let message =
                    format!("{holder} holds the default backend of all other hosts; this one serves its hosts.");
                self.report.note(ingress.key, field, reason::DEFAULT_BACKEND_CONFLICT, message, DEFAULT_REMEDY);
            }
        }
    }

    fn route(
        &mut self,
        ingress: &Served<'_>,
        host: HostPattern,
        path: PathMatch,
        origin: Origin,
        target: Target,
    ) -> Route {
        let settings = &ingress.settings;
        let certified = self.may_be_certified(&host);
        let Tables { client_auth, holders, .. } = self.tables;
        let closed = client_auth::closed(ingress, &host, client_auth).or_else(|| holders.closed(ingress, &host));
        let target = self.shut(target, closed.as_ref());
        let client_certificates = client_auth.may_ask(&host);
        let (mut upstream, mut in_clear) = (settings.upstream.clone(), settings.upstream_in_clear.clone());
        if let Some(name) = self.services.external(&target) {
            upstream = external::named(&upstream, &name);
            in_clear = in_clear.map(|upstream| external::named(&upstream, &name));
        }
        Route {
            filters: if certified { &settings.filters } else { &settings.filters_uncertified }.clone(),
            upstream,
            upstream_in_clear: in_clear,
            policy: settings.policy.clone(),
            steering: Steering { client_certificates, ..settings.steering },
            ..plain_route(host, path, origin, target)
        }
    }

    /// Whether a certificate is found for some host that the pattern covers: `ssl-redirect` does nothing for the others.
    fn may_be_certified(&mut self, pattern: &HostPattern) -> bool {
        let table = self.tables.certificates;
        match pattern {
            HostPattern::Exact(name) => table.find(name).is_some(),
            HostPattern::Wildcard(_) if table.get(pattern).is_some() => true,
            HostPattern::Wildcard(suffix) => {
                let parents = || table.names().filter_map(|name| host::parent(name)).map(Into::into).collect();
                self.parents.get_or_insert_with(parents).contains(suffix)
            }
            HostPattern::Any => !table.is_empty(),
        }
    }

    fn target(&mut self, ingress: &Served<'s>, backend: &'s IngressBackend, origin: &Origin) -> Target {
        let target = self.services.target(&ingress.key.namespace, backend, origin, self.report);
        self.shut(target, ingress.settings.closed.as_ref())
    }

    /// A target that is closed for a reason, or is not.
    fn shut(&mut self, target: Target, closed: Option<&Arc<str>>) -> Target {
        match (closed, &target) {
            (None, _) => target,
            (Some(why), Target::Service(service)) => {
                self.builder.closed(*service);
                Target::Unavailable(why.clone())
            }
            (Some(why), Target::Unavailable(_)) => Target::Unavailable(why.clone()),
        }
    }

    fn check_groups(&mut self, ingress: &Served<'_>, expression: &Expression, origin: &Origin) {
        let Some(rewrite) = ingress.settings.rewrite() else { return };
        let (groups, text) = (expression.groups(), expression.text());
        if rewrite.group_max() > groups {
            let message = format!(
                "rewrite-target names group ${}, and path \"{text}\" has {groups}; the missing one is empty.",
                rewrite.group_max()
            );
            let remedy = "Add the group to the path, as in /cart(/|$)(.*).";
            self.report.fault(ingress.key, field(origin, "path"), reason::REWRITE_GROUP_MISSING, message, remedy);
        }
    }
}

/// The place of a route in its Ingress, and a field there. Only Problems need it, so it is not made before.
pub fn field(origin: &Origin, name: &str) -> String {
    match (origin.rule, origin.path) {
        (Some(rule), Some(path)) => format!("spec.rules[{rule}].http.paths[{path}].{name}"),
        (Some(rule), None) => format!("spec.rules[{rule}].{name}"),
        (None, _) if name.starts_with("backend") => format!("spec.defaultBackend{}", &name["backend".len()..]),
        (None, _) => format!("spec.defaultBackend.{name}"),
    }
}

const DEFAULT_REMEDY: &str =
    "Keep one default backend. The older Ingress holds it; without a creation time, the first by name.";
