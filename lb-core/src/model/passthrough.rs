//! TLS passthrough: server names whose connections go to a service as they are, still encrypted.
//!
//! Goes in: hosts whose owner asked for it. Comes out: the route of a server name. Does not read ClientHellos.

use super::host::{self, HostPattern};
use super::route::RouteId;
use std::collections::HashMap;
use std::sync::Arc;

/// Server names that are passed through: exact before wildcard.
#[derive(Debug, Clone, Default)]
pub struct Passthrough {
    exact: HashMap<Arc<str>, RouteId>,
    wildcard: HashMap<Arc<str>, RouteId>,
}

impl Passthrough {
    /// Binds a host. The first one given for a host stays: the caller goes from oldest to newest. Answers whether the
    /// host leads to this route now.
    pub fn insert(&mut self, pattern: &HostPattern, route: RouteId) -> bool {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            HostPattern::Any => return false,
        };
        *map.entry(name.clone()).or_insert(route) == route
    }

    /// The route of a server name in normal form (see [`host::normalize`]).
    #[must_use]
    pub fn find(&self, server_name: &str) -> Option<RouteId> {
        self.exact.get(server_name).or_else(|| self.wildcard.get(host::parent(server_name)?)).copied()
    }

    /// Whether nothing is passed through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_come_before_wildcards_of_one_label() {
        let mut table = Passthrough::default();
        assert!(table.is_empty());
        for (host, route) in [("*.a.test", 1), ("b.a.test", 2)] {
            assert!(table.insert(&HostPattern::parse(host).expect("a host"), RouteId(route)), "{host}");
        }
        let taken = HostPattern::parse("b.a.test").expect("a host");
        assert!(!table.insert(&taken, RouteId(3)) && !table.insert(&HostPattern::Any, RouteId(3)));
        let check = |name, want: Option<u32>| assert_eq!(table.find(name), want.map(RouteId), "{name}");
        check("b.a.test", Some(2));
        check("c.a.test", Some(1));
        check("d.c.a.test", None);
        check("a.test", None);
        check("", None);
        assert!(!table.is_empty());
    }
}
