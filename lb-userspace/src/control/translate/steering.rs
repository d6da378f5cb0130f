//! Steering of whole connections: owners who asked for it and cannot have it are told why.
//!
//! Goes in: the routing table, whose classes look at all Ingresses of a host. Comes out: Problems.

use super::super::reason;
use super::report::Report;
use lb_core::class::Reason;
use lb_core::model::ServiceId;
use lb_core::model::route::Target;
use lb_core::route::RouteTable;
use std::collections::HashSet;

const FIELD: &str = "metadata.annotations[sluice.dev/steering]";

/// Services that owners who asked for it lead to.
#[must_use]
pub fn services(routes: &RouteTable) -> HashSet<ServiceId> {
    let asked = routes.iter().map(|(_, route)| route).filter(|route| route.steering.connection);
    asked.filter_map(|route| if let Target::Service(id) = route.target { Some(id) } else { None }).collect()
}

/// Tells each owner once for each host.
pub fn report(routes: &RouteTable, report: &mut Report<'_>) {
    let asked = || routes.iter().map(|(_, route)| route).filter(|route| route.steering.connection);
    let granted: HashSet<_> = asked().filter(|r| r.class.is_spliced()).map(|r| &r.origin.ingress).collect();
    let mut told = HashSet::new();
    for route in asked().filter(|route| !route.class.is_spliced()) {
        let (ingress, host, why) = (&route.origin.ingress, &route.host, route.class.reason);
        if !told.insert((ingress, host)) {
            continue;
        }
        let message = format!("Requests for host {host} are routed one by one, because {why}.");
        // What other hosts leave over is not what the owner of a host thinks of first.
        if why == Reason::DefaultOfOthers && granted.contains(ingress) {
            report.note(ingress, FIELD, reason::STEERING_REFUSED, message, remedy(why));
        } else {
            report.fault(ingress, FIELD, reason::STEERING_REFUSED, message, remedy(why));
        }
    }
}

fn remedy(why: Reason) -> &'static str {
    match why {
        Reason::SeveralBackends => "Lead every path of the host to one service, in all Ingresses that name the host.",
        Reason::DefaultOfOthers => "Name the hosts in rules; the default backend of everything cannot have it.",
        Reason::PathsUncovered => "Add the path / of type Prefix, if the service may take every path of the host.",
        Reason::PerRequestFilter => {
            "Do without rewriting and redirects on this host; where it has a certificate, ssl-redirect: \"false\" \
             serves plain HTTP."
        }
        Reason::BodyLimit => "Write proxy-body-size: \"0\", or leave it out, in all Ingresses that name the host.",
        Reason::BalancedByRequest => "Balance by the address of the client, or in turns.",
        Reason::GuardedElsewhere => {
            "Let the same clients in on every route to the service: the same source range, and no client certificates."
        }
        Reason::OthersNotOptedIn => "Write the annotation on every Ingress that names the host.",
        Reason::EndpointTls | Reason::EndpointHttp2 => "Let the endpoints speak HTTP/1.1 in the clear.",
        _ => "Remove the annotation.",
    }
}
