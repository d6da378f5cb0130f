//! The routing table: indexed by host, then by path. The cost of a look-up does not grow with the number of routes.
//!
//! Goes in: routes, oldest owner first, through [`Builder`]. Comes out: for a host and a path, one [`Match`]. A table shares
//! with the one before it all hosts that did not change.
//! Does not look at methods or headers, and does not fall from one host's paths to another's: a host that is
//! listed answers for all its paths, as in ingress-nginx.

mod class;
pub mod host;
pub mod path;
pub mod table;

use crate::class::Reason;
use crate::model::route::Target;
use crate::model::{HostPattern, Origin, PathMatch, Route, RouteId, ServiceId, Steering};
use foldhash::fast::RandomState;
use host::{Host, Hosts};
use path::Inserted;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What a look-up found.
#[derive(Debug, Clone, Copy)]
pub enum Match<'a> {
    /// A rule of the host covers the path.
    Rule(RouteId, &'a Route),
    /// No rule does, and a default backend takes the request.
    Default(RouteId, &'a Route),
    /// The host is listed, none of its paths matches, and there is no default backend: 404.
    NoPath(&'a HostPattern),
    /// The host is not listed, and there is no default backend: 404.
    NoHost,
}

impl<'a> Match<'a> {
    /// The route, when there is one.
    #[must_use]
    pub fn route(&self) -> Option<&'a Route> {
        match self {
            Self::Rule(_, route) | Self::Default(_, route) => Some(route),
            Self::NoPath(_) | Self::NoHost => None,
        }
    }
}

/// All routes with their indexes. Immutable; a copy shares all hosts.
#[derive(Clone, Default)]
pub struct RouteTable {
    hosts: Hosts,
    default: Option<RouteId>,
}

impl RouteTable {
    /// Finds the route of a request.
    ///
    /// `host` is in the form of [`crate::model::host::normalize`], `path` in that of [`path::normalize`].
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Match<'_> {
        let entry = self.hosts.find(host);
        if let Some((place, found)) = entry
            && let Some(route) = found.paths.find(path, |id| &found.routes[id as usize].path)
        {
            return Match::Rule(RouteId { host: place, route }, &found.routes[route as usize]);
        }
        let own = entry.and_then(|(host, found)| Some(RouteId { host, route: found.default? }));
        let default = own.or(self.default).and_then(|id| Some((id, self.get(id)?)));
        match (default, entry) {
            (Some((id, route)), _) => Match::Default(id, route),
            (None, Some((_, host))) => Match::NoPath(&host.pattern),
            (None, None) => Match::NoHost,
        }
    }

    /// A route by its id. `None` only for an id of another table.
    #[must_use]
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.hosts.at(id.host)?.routes.get(id.route as usize)
    }

    /// All routes, host by host; those of a host in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        self.hosts.routes()
    }

    /// How many routes there are, default backends included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.routes_len()
    }

    /// Whether there is no route at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|(_, host)| host).collect();
        f.debug_struct("RouteTable").field("hosts", &hosts).field("default", &self.default).finish()
    }
}

/// Makes a [`RouteTable`]. Add routes of older objects first: on a conflict the first one stays.
#[derive(Debug, Default)]
pub struct Builder {
    /// In the order in which they were first named.
    hosts: Vec<Draft>,
    /// Places in `hosts`.
    index: HashMap<HostPattern, u32, RandomState>,
    default: Option<RouteId>,
    /// Services that some route leads to in vain.
    closed: HashSet<ServiceId>,
}

/// A host in the making.
#[derive(Debug)]
struct Draft {
    pattern: HostPattern,
    routes: Vec<Route>,
    paths: path::Draft,
    default: Option<u32>,
}

/// The same host and path are served already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who holds them.
    pub held_by: Origin,
}

impl Builder {
    /// Adds the route of a rule. Answers its id in the table that [`Self::build`] makes.
    ///
    /// # Errors
    /// [`Conflict`], and the route is not added, when its host, path type and path are held already.
    pub fn rule(&mut self, route: Route) -> Result<RouteId, Conflict> {
        let place = self.place(&route.host);
        let host = &mut self.hosts[place as usize];
        let id = RouteId { host: place, route: host.next() };
        match host.paths.insert(&route.path, id.route) {
            Inserted::New => {
                host.push(route);
                Ok(id)
            }
            Inserted::Held(held) => Err(self.conflict(RouteId { host: place, route: held })),
        }
    }

    /// Makes a host known although it has no path: it answers 404, or with its default.
    pub fn known_host(&mut self, pattern: &HostPattern) {
        self.place(pattern);
    }

    /// Adds the default backend of one host; the first one stays, and the answer says whether this is it.
    pub fn host_default(&mut self, route: Route) -> bool {
        let place = self.place(&route.host);
        let host = &mut self.hosts[place as usize];
        if host.default.is_some() {
            return false;
        }
        host.default = Some(host.next());
        host.push(route);
        true
    }

    /// Adds the default backend of everything. The first one stays.
    ///
    /// # Errors
    /// [`Conflict`], and the route is not added, when there is one already.
    pub fn global_default(&mut self, route: Route) -> Result<(), Conflict> {
        if let Some(held) = self.default {
            return Err(self.conflict(held));
        }
        let place = self.place(&route.host);
        let host = &mut self.hosts[place as usize];
        self.default = Some(RouteId { host: place, route: host.next() });
        host.push(route);
        Ok(())
    }

    /// A route that answers by itself would lead to this service, were it not for what its owner wants of clients. No
    /// other route may let later requests of a connection reach it unseen.
    pub fn closed(&mut self, service: ServiceId) {
        self.closed.insert(service);
    }

    /// Finishes: computes classes and orders expressions.
    #[must_use]
    pub fn build(mut self) -> RouteTable {
        let several_hosts = self.hosts.len() > 1;
        class::decide(&mut self.hosts, self.default, several_hosts, &self.closed);
        let mut hosts = Hosts::default();
        for draft in self.hosts {
            hosts.put(draft.finish());
        }
        RouteTable { hosts, default: self.default }
    }

    /// Finishes a table that differs from another in some hosts: all that `touched` names are as in this builder, or gone.
    /// The builder has no others. Of routes whose owners opted in to steering, none may be of these hosts or lead to a
    /// service that a route of these hosts leads to, before or now.
    ///
    /// `None`, when the classes of other hosts may be others, too: then all must be built anew.
    #[must_use]
    pub fn replace<'a>(
        mut self,
        before: &RouteTable,
        touched: impl IntoIterator<Item = &'a HostPattern>,
    ) -> Option<RouteTable> {
        let mut table = before.clone();
        for pattern in touched {
            if *pattern == HostPattern::Any {
                table.default = None;
            }
            if !self.index.contains_key(pattern) {
                table.hosts.remove(pattern);
            }
        }
        let several_hosts = before.hosts.count() > 1;
        class::decide(&mut self.hosts, self.default, several_hosts, &self.closed);
        for (place, draft) in (0..).zip(self.hosts) {
            let host = table.hosts.put(draft.finish());
            if let Some(id) = self.default.filter(|id| id.host == place) {
                table.default = Some(RouteId { host, ..id });
            }
        }
        (several_hosts == (table.hosts.count() > 1)).then_some(table)
    }

    fn conflict(&self, held: RouteId) -> Conflict {
        Conflict { held_by: self.hosts[held.host as usize].routes[held.route as usize].origin.clone() }
    }

    fn place(&mut self, pattern: &HostPattern) -> u32 {
        if let Some(place) = self.index.get(pattern) {
            return *place;
        }
        let place = u32::try_from(self.hosts.len()).expect("fewer than 2^32 hosts fit in memory");
        let paths = path::Draft::default();
        self.hosts.push(Draft { pattern: pattern.clone(), routes: Vec::new(), paths, default: None });
        self.index.insert(pattern.clone(), place);
        place
    }
}

impl Draft {
    /// The place that the next route will have.
    fn next(&self) -> u32 {
        u32::try_from(self.routes.len()).expect("fewer than 2^32 routes fit in memory")
    }

    fn push(&mut self, route: Route) {
        // Most hosts have one route, and a vector that grows has room for four.
        if self.routes.is_empty() {
            self.routes.reserve_exact(1);
        }
        self.routes.push(route);
    }

    fn finish(self) -> Host {
        let Self { pattern, routes, paths, default } = self;
        let paths = paths.seal(|id| routes[id as usize].path.text());
        Host { pattern, routes: routes.into(), paths, default }
    }
}

/// A route of a table that is being written by hand: for tests and examples.
#[must_use]
pub fn plain_route(host: HostPattern, path: PathMatch, origin: Origin, target: Target) -> Route {
    Route {
        host,
        path,
        origin,
        target,
        filters: Arc::default(),
        upstream: Arc::default(),
        upstream_in_clear: None,
        policy: Arc::default(),
        steering: Steering::default(),
        class: Reason::NotOptedIn.into(),
        upgrade: Reason::Upgrade.into(),
    }
}

#[cfg(test)]
mod tests;
