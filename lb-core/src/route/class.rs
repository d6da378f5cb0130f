//! The classes of all routes of a table, once it is whole: what one owner allows, another may forbid.
//!
//! Goes in: the routes, each with its host, and services that are closed to some. Comes out: the classes, in the routes.
//! A later request of a connection that is not looked at may name any path of its host, so a host is judged as one; and
//! it may name any host, so the routes to its service are compared, too.

use super::Draft;
use crate::class::{self, Classified, Facts};
use crate::filter::Filter;
use crate::filter::source_range::SourceRange;
use crate::model::route::Target;
use crate::model::upstream::Protocol;
use crate::model::{Balance, HashKey, PathMatch, Route, RouteId, ServiceId};
use std::collections::{HashMap, HashSet};

/// Decides the classes of hosts. `default` is the default backend of everything, if one of them has it.
pub(super) fn decide(hosts: &mut [Draft], default: Option<RouteId>, several_hosts: bool, closed: &HashSet<ServiceId>) {
    let guarded = guarded(hosts, closed);
    for (place, host) in (0..).zip(hosts) {
        let default = default.filter(|id| id.host == place).map(|id| id.route);
        let (of_host, refusals) = judge(host, default, &guarded);
        for (id, route) in (0..).zip(&mut host.routes) {
            let mut facts = of_host;
            facts.opted_in = route.steering.connection;
            facts.others_opted_in = refusals == 0;
            facts.default_of_others = default == Some(id) && several_hosts;
            route.class = class::classify(facts);
            route.upgrade = upgrade(route);
        }
    }
}

fn upgrade(route: &Route) -> Classified {
    let mut facts = Facts::default();
    endpoints(&mut facts, route);
    class::classify_upgrade(facts)
}

/// What holds for a host, and how many of its routes are of owners who did not opt in.
fn judge(host: &Draft, default: Option<u32>, guarded: &HashSet<ServiceId>) -> (Facts, usize) {
    let several = host.routes.iter().any(|route| host.routes.first().is_some_and(|first| first.target != route.target));
    let backends = if several { 2 } else { 1 };
    let mut facts = Facts { backends, uncovered: host.default.is_none(), ..Facts::default() };
    let mut refusals = 0;
    for (id, route) in (0..).zip(&host.routes) {
        if is_whole(&route.path) || default == Some(id) {
            facts.uncovered = false;
        }
        facts.filtered |= route.filters.iter().any(Filter::needs_each_request);
        facts.client_certificates |= route.steering.client_certificates;
        facts.body_limit |= route.steering.body_limit;
        facts.balanced_by_request |= is_balanced_by_request(&route.policy.balance);
        facts.guarded_elsewhere |= matches!(&route.target, Target::Service(id) if guarded.contains(id));
        endpoints(&mut facts, route);
        refusals += usize::from(!route.steering.connection);
    }
    (facts, refusals)
}

/// Services that are not reached by the same clients through all routes, as far as owners ask for steering to them.
fn guarded(hosts: &[Draft], closed: &HashSet<ServiceId>) -> HashSet<ServiceId> {
    let routes = || hosts.iter().flat_map(|host| &host.routes);
    let mut guarded = HashSet::new();
    let asked = routes().filter(|route| route.steering.connection);
    let steered: HashSet<ServiceId> =
        asked.filter_map(|route| if let Target::Service(id) = route.target { Some(id) } else { None }).collect();
    // Most tables have no owner who asks.
    if steered.is_empty() {
        return guarded;
    }
    guarded.extend(closed.intersection(&steered));
    let mut ranges: HashMap<ServiceId, Option<&SourceRange>> = HashMap::new();
    for route in routes() {
        let Target::Service(id) = route.target else { continue };
        if !steered.contains(&id) {
            continue;
        }
        let range =
            route.filters.iter().find_map(|f| if let Filter::SourceRange(range) = f { Some(range) } else { None });
        if *ranges.entry(id).or_insert(range) != range || route.steering.client_certificates {
            guarded.insert(id);
        }
    }
    guarded
}

fn endpoints(facts: &mut Facts, route: &Route) {
    let upstream = route.upstream_for(false);
    facts.endpoint_tls |= upstream.tls.is_some();
    facts.endpoint_http2 |= upstream.protocol == Protocol::Http2;
}

/// Whether a path takes every request.
fn is_whole(path: &PathMatch) -> bool {
    !matches!(path, PathMatch::Exact(_)) && path.text() == "/"
}

fn is_balanced_by_request(balance: &Balance) -> bool {
    matches!(balance, Balance::Hash(HashKey::Target | HashKey::Header(_) | HashKey::Cookie(_)))
}

#[cfg(test)]
mod tests;
