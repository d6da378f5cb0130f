//! TLS passthrough: which hosts end TLS themselves, so that the agent reads the server name and no more.

use super::host::{self, HostPattern};
use super::route::RouteId;
use std::collections::HashMap;
use std::sync::Arc;

/// Where connections for a server name go: exact before wildcard. TLS of names that are not found ends here.
#[derive(Debug, Clone, Default)]
pub struct PassthroughTable {
    /// `None`: TLS ends here, although a wildcard covers the name.
    exact: HashMap<Arc<str>, Option<RouteId>>,
    wildcard: HashMap<Arc<str>, RouteId>,
}

impl PassthroughTable {
    /// Binds a host to a route, whose target, filters on clients and balancing hold. The first one given for a host
    /// stays. [`HostPattern::Any`] is not taken: without a server name nothing says where a connection is to go.
    pub fn insert(&mut self, pattern: &HostPattern, route: RouteId) {
        match pattern {
            HostPattern::Exact(name) => drop(self.exact.entry(name.clone()).or_insert(Some(route))),
            HostPattern::Wildcard(suffix) => drop(self.wildcard.entry(suffix.clone()).or_insert(route)),
            HostPattern::Any => {}
        }
    }

    /// TLS of this host ends here. Has a meaning only for a name that a wildcard covers.
    pub fn except(&mut self, pattern: &HostPattern) {
        if let HostPattern::Exact(name) = pattern
            && host::parent(name).is_some_and(|suffix| self.wildcard.contains_key(suffix))
        {
            self.exact.entry(name.clone()).or_insert(None);
        }
    }

    /// The route of a server name in normal form (see [`host::normalize`]).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RouteId> {
        match self.exact.get(name) {
            Some(bound) => *bound,
            None => self.wildcard.get(host::parent(name)?).copied(),
        }
    }

    /// The route of this very pattern.
    #[must_use]
    pub fn get(&self, pattern: &HostPattern) -> Option<RouteId> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name).copied().flatten(),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix).copied(),
            HostPattern::Any => None,
        }
    }

    /// Whether TLS of every host ends here, so that nobody needs to look for a server name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// Hosts with their routes, by name.
    #[must_use]
    pub fn entries(&self) -> Vec<(HostPattern, RouteId)> {
        let exact = self.exact.iter().filter_map(|(name, route)| Some((HostPattern::Exact(name.clone()), (*route)?)));
        let wildcard = self.wildcard.iter().map(|(suffix, route)| (HostPattern::Wildcard(suffix.clone()), *route));
        let mut all: Vec<_> = exact.chain(wildcard).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_before_wildcard_of_one_label() {
        let pattern = |text: &str| HostPattern::parse(text).expect("a host");
        let id = |host| RouteId { host, route: 0 };
        let mut table = PassthroughTable::default();
        assert!(table.is_empty());
        table.insert(&pattern("a.test"), id(1));
        table.insert(&pattern("a.test"), id(2));
        table.insert(&pattern("*.test"), id(3));
        table.insert(&pattern(""), id(4));
        table.except(&pattern("here.test"));
        table.except(&pattern("a.test"));
        table.except(&pattern("elsewhere.example"));
        for (name, want) in [
            ("a.test", Some(1)),
            ("b.test", Some(3)),
            ("here.test", None),
            ("c.b.test", None),
            ("test", None),
            ("elsewhere.example", None),
            ("", None),
        ] {
            assert_eq!(table.find(name), want.map(id), "{name}");
        }
        assert_eq!(table.get(&pattern("*.test")), Some(id(3)));
        assert_eq!(table.get(&pattern("here.test")), None);
        assert!(!table.is_empty());
        let shown: Vec<String> = table.entries().iter().map(|(host, route)| format!("{host} {}", route.host)).collect();
        assert_eq!(shown, ["a.test 1", "*.test 3"]);
    }
}
