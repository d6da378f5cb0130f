//! TLS passthrough: who decides where TLS of a host ends, and what becomes of the others who name it.
//!
//! Goes in: the Ingresses that are ours, oldest first. Comes out: [`Holders`], and of them the [`PassthroughTable`]. The
//! oldest Ingress of a host decides, as a server name leads to one place. Plain HTTP on such a host is served by its
//! rules as on any other, as ingress-nginx does.

use super::super::reason;
use super::Served;
use super::report::Report;
use lb_core::model::{HostPattern, ObjectRef, PassthroughTable, PathMatch, RouteId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Why paths are closed whose owner wants TLS to pass through.
const CLOSED: &str = "TLS should pass through, and cannot";

/// Which Ingress decides for each host. Empty where none wants passthrough.
#[derive(Debug, Default)]
pub struct Holders<'a> {
    by_host: HashMap<HostPattern, Holder<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Holder<'a> {
    ingress: &'a Arc<ObjectRef>,
    /// TLS passes through.
    passes: bool,
}

impl<'a> Holders<'a> {
    /// Decides for every host that rules name, and tells whoever does not get what it wants.
    pub fn of(served: &[Served<'a>], report: &mut Report<'_>) -> Self {
        let mut holders = Self::default();
        if served.iter().all(|ingress| ingress.settings.passthrough.is_none()) {
            return holders;
        }
        for ingress in served {
            for (host, paths) in hosts(ingress) {
                let passes = wants(ingress) && host != HostPattern::Any && paths.iter().any(Place::is_root);
                holders.by_host.entry(host).or_insert(Holder { ingress: ingress.key, passes });
            }
        }
        for ingress in served {
            let certificates = certificates(ingress);
            for (host, paths) in &hosts(ingress) {
                let certificate = certificates.get(host);
                match (ingress.settings.passthrough, holders.passes(ingress, host)) {
                    (Some(_), true) => passes(ingress, host, paths, certificate, report),
                    (Some(key), false) if wants(ingress) => holders.refused(ingress, key, host, report),
                    (Some(_), false) => {}
                    (None, _) => holders.passed_by(ingress, host, certificate, report),
                }
            }
        }
        holders
    }

    /// Whether TLS of a host passes through to the backend of this Ingress.
    #[must_use]
    pub fn passes(&self, ingress: &Served<'_>, host: &HostPattern) -> bool {
        self.by_host.get(host).is_some_and(|holder| holder.passes && holder.ingress == ingress.key)
    }

    /// Why the paths of an Ingress on a host are closed; `None`, when it has what it wants.
    #[must_use]
    pub fn closed(&self, ingress: &Served<'_>, host: &HostPattern) -> Option<Arc<str>> {
        (wants(ingress) && !self.passes(ingress, host)).then(|| CLOSED.into())
    }

    /// The table, once routes are there: those that take TLS of their hosts.
    #[must_use]
    pub fn table(&self, passed: &[(HostPattern, RouteId)]) -> PassthroughTable {
        let mut table = PassthroughTable::default();
        for (host, route) in passed {
            table.insert(host, *route);
        }
        for (host, _) in self.by_host.iter().filter(|(_, holder)| !holder.passes) {
            table.except(host);
        }
        table
    }

    fn refused(&self, ingress: &Served<'_>, key: &str, host: &HostPattern, report: &mut Report<'_>) {
        let holder = self.by_host.get(host).filter(|holder| holder.ingress != ingress.key);
        let (reason, message, remedy) = match holder {
            _ if *host == HostPattern::Any => (
                reason::PASSTHROUGH_REFUSED,
                "TLS is passed through by server name, and a rule or default backend names no host".to_owned(),
                "Name the host in the rule, and leave out the default backend.",
            ),
            Some(holder) => (
                reason::PASSTHROUGH_CONFLICT,
                format!("Where TLS of host {host} ends is decided by {}", holder.ingress),
                "Keep one Ingress for the host. The oldest decides; without a creation time, the first by name.",
            ),
            None => (
                reason::PASSTHROUGH_REFUSED,
                format!("The host {host} has no path /, which names the backend that TLS passes through to"),
                "Add the path / to the rule.",
            ),
        };
        let message = format!("{message}; what the Ingress serves there answers 503.");
        report.fault(ingress.key, field(key), reason, message, remedy);
    }

    /// Paths of Ingresses that do not ask for passthrough are reached by plain HTTP alone.
    fn passed_by(
        &self,
        ingress: &Served<'_>,
        host: &HostPattern,
        certificate: Option<&usize>,
        report: &mut Report<'_>,
    ) {
        let Some(holder) = self.by_host.get(host).filter(|holder| holder.passes) else { return };
        let message = format!("TLS of host {host} passes through for {}", holder.ingress);
        if let Some(index) = certificate {
            let message =
                format!("{message}, so its clients see neither this certificate nor the paths of this Ingress.");
            let remedy = "Use another host, or let TLS end here in both Ingresses.";
            report.fault(ingress.key, format!("spec.tls[{index}]"), reason::PASSED_BY, message, remedy);
        } else {
            let message = format!("{message}, so the paths of this Ingress are reached by plain HTTP alone.");
            report.note(ingress.key, "spec.rules", reason::PASSED_BY, message, "Use another host for HTTPS.");
        }
    }
}

/// Whether a path is the one whose backend takes TLS: `/`, whatever its type, as in ingress-nginx.
#[must_use]
pub fn is_root(path: &PathMatch) -> bool {
    path.text() == "/"
}

/// Whether passthrough is asked for, and the Ingress is not closed for another reason.
fn wants(ingress: &Served<'_>) -> bool {
    ingress.settings.passthrough.is_some() && ingress.settings.closed.is_none()
}

/// A path of a rule.
#[derive(Debug)]
struct Place<'s> {
    rule: usize,
    path: usize,
    text: &'s str,
}

impl Place<'_> {
    fn is_root(&self) -> bool {
        matches!(self.text, "" | "/")
    }
}

/// The hosts of an Ingress with their paths; every host, where it has a default backend or a rule without a host.
fn hosts<'s>(ingress: &Served<'s>) -> BTreeMap<HostPattern, Vec<Place<'s>>> {
    let mut hosts: BTreeMap<HostPattern, Vec<Place<'s>>> = BTreeMap::new();
    for (rule, named) in ingress.spec.rules.iter().flatten().enumerate() {
        let Ok(host) = HostPattern::parse(named.host.as_deref().unwrap_or_default()) else { continue };
        let paths = named.http.iter().flat_map(|http| &http.paths).enumerate();
        let places = paths.map(|(path, named)| Place { rule, path, text: named.path.as_deref().unwrap_or("/") });
        hosts.entry(host).or_default().extend(places);
    }
    if ingress.spec.default_backend.is_some() {
        hosts.entry(HostPattern::Any).or_default();
    }
    hosts
}

/// Hosts that an Ingress names a certificate for, each with the first place in `spec.tls`.
fn certificates(ingress: &Served<'_>) -> HashMap<HostPattern, usize> {
    let mut certificates = HashMap::new();
    for (index, tls) in ingress.spec.tls.iter().flatten().enumerate() {
        if tls.secret_name.as_deref().is_none_or(str::is_empty) {
            continue;
        }
        for host in tls.hosts.iter().flatten().filter_map(|host| HostPattern::parse(host).ok()) {
            certificates.entry(host).or_insert(index);
        }
    }
    certificates
}

/// What an Ingress says of a host whose TLS passes through, and what TLS never meets.
fn passes(
    ingress: &Served<'_>,
    host: &HostPattern,
    paths: &[Place<'_>],
    certificate: Option<&usize>,
    report: &mut Report<'_>,
) {
    for Place { rule, path, text } in paths.iter().filter(|place| !place.is_root()) {
        let message =
            format!("TLS of host {host} passes through to the backend of /, so {text} concerns plain HTTP alone.");
        let field = format!("spec.rules[{rule}].http.paths[{path}].path");
        report.fault(ingress.key, field, reason::PASSED_BY, message, "Remove the path, or let TLS end here.");
    }
    if let Some(index) = certificate {
        let message = format!(
            "TLS of host {host} passes through, so this certificate is never shown; all it does is that ssl-redirect \
             sends plain HTTP to HTTPS."
        );
        let remedy = "Leave it, or write force-ssl-redirect and remove it.";
        report.note(ingress.key, format!("spec.tls[{index}]"), reason::PASSED_BY, message, remedy);
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}
