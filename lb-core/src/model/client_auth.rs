//! Mutual TLS: which hosts ask clients for a certificate, and whom they believe.

use super::host::{self, HostPattern};
use super::upstream::Authorities;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What a host asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ClientAuth {
    /// Whom it believes.
    pub authorities: Arc<Authorities>,
    /// Whether a client without a certificate is answered 400, rather than served.
    pub required: bool,
}

/// What hosts ask of their clients: exact before wildcard; those that are not listed ask nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientAuthTable {
    exact: HashMap<Arc<str>, Arc<ClientAuth>>,
    wildcard: HashMap<Arc<str>, Arc<ClientAuth>>,
}

impl ClientAuthTable {
    /// Binds a host. The first one given for a host stays: the caller goes from oldest to newest. Answers whether the
    /// host has this requirement now.
    pub fn insert(&mut self, pattern: &HostPattern, auth: &Arc<ClientAuth>) -> bool {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            HostPattern::Any => return false,
        };
        *map.entry(name.clone()).or_insert_with(|| auth.clone()) == *auth
    }

    /// What this very pattern asks.
    #[must_use]
    pub fn get(&self, pattern: &HostPattern) -> Option<&Arc<ClientAuth>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix),
            HostPattern::Any => None,
        }
    }

    /// What a host in normal form (see [`host::normalize`]) asks.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<ClientAuth>> {
        self.exact.get(name).or_else(|| self.wildcard.get(host::parent(name)?))
    }

    /// Whether some host that requests of a pattern's rules may name asks anything. A host that is listed itself has rules
    /// of its own.
    #[must_use]
    pub fn may_ask(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.find(name).is_some(),
            HostPattern::Wildcard(_) | HostPattern::Any => self.get(pattern).is_some(),
        }
    }

    /// Whether no host asks anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// Everything that hosts ask, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<ClientAuth>> {
        self.exact.values().chain(self.wildcard.values())
    }
}

impl ClientAuth {
    /// Whether a client that meets this requirement meets `other` too.
    #[must_use]
    pub fn is_at_least(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.required >= other.required
    }
}

impl fmt::Display for ClientAuth {
    /// `required, from Secret shop/ca`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, from {}", if self.required { "required" } else { "optional" }, self.authorities.source)
    }
}
