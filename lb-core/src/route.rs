//! The routing table: indexed by host, then by path. The cost of a look-up does not grow with the number of routes.
//!
//! Goes in: routes, oldest owner first, through [`Builder`]. Comes out: for a host and a path, one [`Match`].
//! Does not look at methods or headers, and does not fall from one host's paths to another's: a host that is
//! listed answers for all its paths, as in ingress-nginx.

mod class;
pub mod host;
pub mod path;
pub mod table;

use crate::class::Reason;
use crate::model::route::Target;
use crate::model::{HostPattern, Origin, PathMatch, Route, RouteId, ServiceId, Steering};
use host::HostIndex;
use path::{Inserted, PathIndex};
use std::collections::HashSet;
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

/// All routes with their indexes. Immutable.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    hosts: Vec<Host>,
    /// Places in `hosts`.
    index: HostIndex<u32>,
    default: Option<RouteId>,
}

#[derive(Debug)]
struct Host {
    pattern: HostPattern,
    paths: PathIndex,
    default: Option<RouteId>,
    /// The first of its routes, and whether another leads elsewhere.
    first: Option<RouteId>,
    several: bool,
}

impl RouteTable {
    /// Finds the route of a request.
    ///
    /// `host` is in the form of [`crate::model::host::normalize`], `path` in that of [`path::normalize`].
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Match<'_> {
        let entry = self.index.find(host).and_then(|place| self.hosts.get(*place as usize));
        if let Some(id) = entry.and_then(|h| h.paths.find(path, |id| &self.routes[id.0 as usize].path)) {
            return Match::Rule(id, &self.routes[id.0 as usize]);
        }
        match (entry.and_then(|h| h.default).or(self.default), entry) {
            (Some(id), _) => Match::Default(id, &self.routes[id.0 as usize]),
            (None, Some(h)) => Match::NoPath(&h.pattern),
            (None, None) => Match::NoHost,
        }
    }

    /// A route by its id. `None` only for an id of another table.
    #[must_use]
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0 as usize)
    }

    /// All routes, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        (0..).map(RouteId).zip(&self.routes)
    }

    /// How many routes there are, default backends included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// Makes a [`RouteTable`]. Add routes of older objects first: on a conflict the first one stays.
#[derive(Debug, Default)]
pub struct Builder {
    table: RouteTable,
    /// The host of each route: its place in `hosts`.
    places: Vec<u32>,
    /// Services that some route leads to in vain.
    closed: HashSet<ServiceId>,
}

/// The same host and path are served already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who holds them.
    pub held_by: Origin,
}

impl Builder {
    /// Adds the route of a rule.
    ///
    /// # Errors
    /// [`Conflict`], and the route is not added, when its host, path type and path are held already.
    pub fn rule(&mut self, route: Route) -> Result<RouteId, Conflict> {
        let (id, place) = (self.next_id(), self.place(&route.host));
        match self.table.hosts[place as usize].paths.insert(&route.path, id) {
            Inserted::New => {
                self.push(route, place);
                Ok(id)
            }
            Inserted::Held(held) => Err(self.conflict(held)),
        }
    }

    /// Makes a host known although it has no path: it answers 404, or with its default.
    pub fn known_host(&mut self, pattern: &HostPattern) {
        self.place(pattern);
    }

    /// Adds the default backend of one host; the first one stays, and the answer says whether this is it.
    pub fn host_default(&mut self, route: Route) -> bool {
        let (id, place) = (self.next_id(), self.place(&route.host));
        let host = &mut self.table.hosts[place as usize];
        if host.default.is_some() {
            return false;
        }
        host.default = Some(id);
        self.push(route, place);
        true
    }

    /// Adds the default backend of everything. The first one stays.
    ///
    /// # Errors
    /// [`Conflict`], and the route is not added, when there is one already.
    pub fn global_default(&mut self, route: Route) -> Result<(), Conflict> {
        if let Some(held) = self.table.default {
            return Err(self.conflict(held));
        }
        let place = self.place(&route.host);
        self.table.default = Some(self.next_id());
        self.push(route, place);
        Ok(())
    }

    /// A route that answers by itself would lead to this service, were it not for what its owner wants of clients. No
    /// other route may let later requests of a connection reach it unseen.
    pub fn closed(&mut self, service: ServiceId) {
        self.closed.insert(service);
    }

    /// Finishes: computes classes and orders expressions.
    #[must_use]
    pub fn build(self) -> RouteTable {
        let Self { mut table, places, closed } = self;
        class::decide(&mut table, &places, &closed);
        for host in &mut table.hosts {
            host.paths.seal(|id| table.routes[id.0 as usize].path.text());
        }
        table.routes.shrink_to_fit();
        table.hosts.shrink_to_fit();
        table.index.shrink();
        table
    }

    fn push(&mut self, route: Route, place: u32) {
        let id = self.next_id();
        let host = &mut self.table.hosts[place as usize];
        let first = *host.first.get_or_insert(id);
        host.several |= self.table.routes.get(first.0 as usize).is_some_and(|first| first.target != route.target);
        self.table.routes.push(route);
        self.places.push(place);
    }

    fn conflict(&self, held: RouteId) -> Conflict {
        Conflict { held_by: self.table.routes[held.0 as usize].origin.clone() }
    }

    fn place(&mut self, pattern: &HostPattern) -> u32 {
        let hosts = &mut self.table.hosts;
        *self.table.index.get_or_insert_with(pattern, || {
            let (pattern, paths) = (pattern.clone(), PathIndex::default());
            hosts.push(Host { pattern, paths, default: None, first: None, several: false });
            u32::try_from(hosts.len() - 1).expect("fewer than 2^32 hosts fit in memory")
        })
    }

    fn next_id(&self) -> RouteId {
        RouteId(u32::try_from(self.table.routes.len()).expect("fewer than 2^32 routes fit in memory"))
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
