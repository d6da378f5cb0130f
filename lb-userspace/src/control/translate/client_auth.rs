//! Client certificates: what Ingresses ask becomes what their hosts ask. The oldest Ingress decides for a host.
//!
//! Goes in: the Ingresses that are ours, oldest first. Comes out: the [`ClientAuthTable`]. A younger Ingress that asks
//! for something else is not served on that host, as it would stand open to clients that its owner does not trust.

use super::super::reason;
use super::Served;
use super::report::{self, Report};
use lb_core::model::{ClientAuthTable, HostPattern};
use std::sync::Arc;

const FIELD: &str = "metadata.annotations[nginx.ingress.kubernetes.io/auth-tls-secret]";

/// Why a path is closed that wants a certificate which its host does not ask for.
const CLOSED: &str = "its host does not ask for the client certificate that auth-tls-secret wants";

/// Binds the requirements of all Ingresses, oldest first, to their hosts.
pub fn bind(served: &[Served<'_>], report: &mut Report<'_>) -> ClientAuthTable {
    let mut table = ClientAuthTable::default();
    for ingress in served {
        let Some(auth) = &ingress.settings.client_auth else { continue };
        let hosts = ingress.spec.rules.iter().flatten().map(|rule| rule.host.as_deref().unwrap_or_default());
        let mut hosts: Vec<HostPattern> = hosts.filter_map(|host| HostPattern::parse(host).ok()).collect();
        hosts.extend(ingress.spec.default_backend.as_ref().map(|_| HostPattern::Any));
        hosts.sort_unstable();
        hosts.dedup();
        for host in &hosts {
            table.insert(host, auth);
            let (message, remedy) = match table.get(host) {
                Some(held) if held.is_at_least(auth) => continue,
                Some(held) => (
                    format!(
                        "Host {host} asks for other client certificates ({}, from {}), and this Ingress wants {auth}",
                        if held.required { "required" } else { "optional" },
                        report::shown(&held.authorities.source, ingress.key)
                    ),
                    "Ask for the same in every Ingress of a host. The older Ingress decides.",
                ),
                None => (
                    "Client certificates are asked for by host, and no host is named".to_owned(),
                    "Name the hosts in the rules; a default backend serves those of its own Ingress.",
                ),
            };
            let message = format!("{message}; what it serves there answers 503, rather than stand open.");
            report.fault(ingress.key, FIELD, reason::CLIENT_AUTH_CONFLICT, message, remedy);
        }
    }
    table
}

/// Why the paths of an Ingress on a host are closed; `None`, when the host asks for what the Ingress wants.
pub fn closed(ingress: &Served<'_>, host: &HostPattern, table: &ClientAuthTable) -> Option<Arc<str>> {
    let wanted = ingress.settings.client_auth.as_ref()?;
    let met = table.get(host).is_some_and(|held| held.is_at_least(wanted));
    (!met).then(|| CLOSED.into())
}
