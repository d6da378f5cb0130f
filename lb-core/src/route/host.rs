//! The hosts of a table, each with its routes: exact before wildcard before every host, two hash look-ups at most.
//!
//! Goes in: hosts, each whole. Comes out: the one that answers for a name. A copy costs some hundred counters, whatever the
//! number of hosts, and shares everything with the original until one of the two changes: then the parts that a changed host
//! lies in are copied. So one host among ten thousand is replaced in microseconds, and the others are not touched.

use super::path::PathIndex;
use crate::model::host::{self, HostPattern};
use crate::model::{Route, RouteId};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Hosts that are copied together: with ten thousand, 157 parts of 64 make a copy and a change cheap alike.
const PART: usize = 64;

/// Parts of an index of names, a power of two; ten thousand names make 39 each.
const SHARDS: usize = 256;

/// A host with all its routes. Immutable.
#[derive(Debug)]
pub struct Host {
    /// Its names.
    pub pattern: HostPattern,
    /// Its routes, in the order in which they were added.
    pub routes: Box<[Route]>,
    /// Places in `routes`.
    pub paths: PathIndex,
    /// What takes paths that no rule has.
    pub default: Option<u32>,
}

/// Hosts by place and by name.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    parts: Vec<Arc<[Option<Arc<Host>>]>>,
    exact: Names,
    wildcard: Names,
    any: Option<u32>,
    /// Places that are not taken, below the end.
    free: Vec<u32>,
    end: u32,
    routes: usize,
}

impl Hosts {
    /// The most specific host that covers a name in normal form, with its place.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(u32, &Host)> {
        let wildcard = || host::parent(name).filter(|_| !self.wildcard.is_empty()).and_then(|s| self.wildcard.get(s));
        let place = self.exact.get(name).or_else(wildcard).or(self.any)?;
        Some((place, self.at(place)?))
    }

    /// The host at a place.
    #[must_use]
    pub fn at(&self, place: u32) -> Option<&Host> {
        let (part, within) = split(place);
        self.parts.get(part)?.get(within)?.as_deref()
    }

    /// All hosts with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Host)> {
        let all = self.parts.iter().flat_map(|part| part.iter());
        (0..).zip(all).filter_map(|(place, host)| Some((place, host.as_deref()?)))
    }

    /// All routes of all hosts.
    pub fn routes(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        self.iter().flat_map(|(host, found)| {
            (0..).zip(&found.routes).map(move |(route, found)| (RouteId { host, route }, found))
        })
    }

    /// How many hosts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.end as usize - self.free.len()
    }

    /// How many routes all hosts have together.
    #[must_use]
    pub fn routes_len(&self) -> usize {
        self.routes
    }

    /// Puts a host in, in place of the one with this pattern, and answers its place.
    pub fn put(&mut self, host: Host) -> u32 {
        let known = self.place(&host.pattern);
        let place = known.or_else(|| self.free.pop()).unwrap_or(self.end);
        if known.is_none() {
            match &host.pattern {
                HostPattern::Exact(name) => self.exact.insert(name, place),
                HostPattern::Wildcard(suffix) => self.wildcard.insert(suffix, place),
                HostPattern::Any => self.any = Some(place),
            }
        }
        self.routes += host.routes.len();
        let (part, within) = split(place);
        if place == self.end {
            self.end += 1;
        }
        if part == self.parts.len() {
            self.parts.push((0..PART).map(|_| None).collect());
        }
        self.replace(part, within, Some(Arc::new(host)));
        place
    }

    /// Takes the host with this pattern out, if there is one.
    pub fn remove(&mut self, pattern: &HostPattern) {
        let place = match pattern {
            HostPattern::Exact(name) => self.exact.remove(name),
            HostPattern::Wildcard(suffix) => self.wildcard.remove(suffix),
            HostPattern::Any => self.any.take(),
        };
        let Some(place) = place else { return };
        let (part, within) = split(place);
        self.replace(part, within, None);
        self.free.push(place);
    }

    fn place(&self, pattern: &HostPattern) -> Option<u32> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix),
            HostPattern::Any => self.any,
        }
    }

    fn replace(&mut self, part: usize, within: usize, host: Option<Arc<Host>>) {
        let slot = &mut Arc::make_mut(&mut self.parts[part])[within];
        self.routes -= slot.as_ref().map_or(0, |old| old.routes.len());
        *slot = host;
    }
}

fn split(place: u32) -> (usize, usize) {
    (place as usize / PART, place as usize % PART)
}

/// Places by name.
#[derive(Debug, Clone, Default)]
struct Names {
    /// Empty, or [`SHARDS`] of them.
    shards: Vec<Arc<HashMap<Arc<str>, u32, RandomState>>>,
    /// The seed is random, so that nobody chooses names that meet in one bucket.
    hasher: RandomState,
    len: usize,
}

impl Names {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.shards.get(self.shard(name))?.get(name).copied()
    }

    fn insert(&mut self, name: &Arc<str>, place: u32) {
        if self.shards.is_empty() {
            let empty = Arc::new(HashMap::with_hasher(self.hasher.clone()));
            self.shards = vec![empty; SHARDS];
        }
        let shard = self.shard(name);
        let new = Arc::make_mut(&mut self.shards[shard]).insert(name.clone(), place).is_none();
        self.len += usize::from(new);
    }

    fn remove(&mut self, name: &str) -> Option<u32> {
        let shard = self.shard(name);
        // A shard is copied only when there is something to remove.
        self.shards.get(shard)?.get(name)?;
        self.len -= 1;
        Arc::make_mut(&mut self.shards[shard]).remove(name)
    }

    /// By bits that the tables of the shards, which use the same hash, do not look at.
    #[allow(clippy::cast_possible_truncation, reason = "some bits are meant")]
    fn shard(&self, name: &str) -> usize {
        (self.hasher.hash_one(name) >> 32) as usize % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::path;

    fn host(text: &str) -> Host {
        let pattern = HostPattern::parse(text).expect("a host");
        Host { pattern, routes: Box::default(), paths: path::Draft::default().seal(|_| ""), default: None }
    }

    fn found(hosts: &Hosts, name: &str) -> Option<String> {
        hosts.find(name).map(|(_, host)| host.pattern.to_string())
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut hosts = Hosts::default();
        for number in 0..3 * PART {
            hosts.put(host(&format!("h{number}.test")));
        }
        hosts.put(host("*.test"));
        hosts.put(host(""));
        let before = hosts.clone();
        for number in 0..PART {
            hosts.remove(&HostPattern::Exact(format!("h{number}.test").into()));
            hosts.remove(&HostPattern::Exact("unknown.test".into()));
        }
        hosts.remove(&HostPattern::Any);
        assert_eq!((before.count(), hosts.count()), (3 * PART + 2, 2 * PART + 1));
        assert_eq!(before.iter().count(), before.count());
        assert_eq!(hosts.iter().count(), hosts.count());
        for (name, then, now) in [
            ("h1.test", Some("h1.test"), Some("*.test")),
            ("h100.test", Some("h100.test"), Some("h100.test")),
            ("x.y.test", Some("*"), None),
        ] {
            assert_eq!(found(&before, name).as_deref(), then);
            assert_eq!(found(&hosts, name).as_deref(), now);
        }
    }

    #[test]
    fn places_are_kept_and_taken_again() {
        let mut hosts = Hosts::default();
        assert_eq!([hosts.put(host("a.test")), hosts.put(host("b.test")), hosts.put(host("a.test"))], [0, 1, 0]);
        hosts.remove(&HostPattern::Exact("a.test".into()));
        assert_eq!([hosts.put(host("c.test")), hosts.put(host("d.test"))], [0, 2]);
        assert_eq!(hosts.at(2).map(|host| host.pattern.to_string()).as_deref(), Some("d.test"));
        assert!(hosts.at(3).is_none() && hosts.at(1_000).is_none());
    }
}
