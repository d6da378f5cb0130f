//! Connections by who carries them and why, and hand-offs that came to nothing: numbers of one worker.
//!
//! Goes in: a decision about a connection. Comes out: counters by class and reason. A connection is counted when its class
//! is decided: at its first request that goes to a service, at its ClientHello where that passes through, and when the
//! kernel takes it over after earlier requests, which were counted before.

use super::counters::Counter;
use lb_core::class::{Class, Reason};
use lb_core::handoff::Apart;

/// What of a request speaks against handing over its connection, though its route would allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The client does not speak HTTP/1.1: there is no next request on the connection, or several at once.
    Version,
    /// The endpoint is not spoken to in plain HTTP/1.1.
    Endpoint,
    /// The client waits for `100 Continue`, which is ours to say.
    Expect,
    /// The client wants no further request on the connection.
    Close,
    /// The body is chunked, or not all of it has arrived with the head.
    Body,
    /// Something follows the request already.
    Pipelined,
    /// Upgraded connections are not to be handed over (a setting).
    Upgrade,
}

/// Why a connection has its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By its route.
    Class(Reason),
    /// By its request.
    Unfit(Unfit),
    /// The two connections are not to be joined.
    Apart(Apart),
}

/// Connections by class and reason.
#[derive(Debug, Default)]
pub struct Connections {
    by_class: [Counter; Reason::ALL.len()],
    unfit: [Counter; Unfit::ALL.len()],
    apart: [Counter; Apart::ALL.len()],
    refused: [Counter; Apart::ALL.len()],
}

impl Unfit {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Version, Self::Endpoint, Self::Expect, Self::Close, Self::Body, Self::Pipelined, Self::Upgrade];

    /// The name in metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "request-version",
            Self::Endpoint => "request-endpoint",
            Self::Expect => "request-expect",
            Self::Close => "request-close",
            Self::Body => "request-body",
            Self::Pipelined => "request-pipelined",
            Self::Upgrade => "upgrades-off",
        }
    }
}

impl Connections {
    /// Counts a connection. Only the thread that owns the counters may, as everywhere here.
    pub fn count(&self, why: Why) {
        let counter = match why {
            Why::Class(reason) => self.by_class.get(reason.index()),
            Why::Unfit(unfit) => self.unfit.get(unfit as usize),
            Why::Apart(apart) => self.apart.get(apart.index()),
        };
        if let Some(counter) = counter {
            counter.add(1);
        }
    }

    /// Counts a hand-off that was tried and came to nothing.
    pub fn refuse(&self, apart: Apart) {
        if let Some(counter) = self.refused.get(apart.index()) {
            counter.add(1);
        }
    }

    /// The number of each class and reason: only those of routes may be reasons of a spliced connection.
    pub fn by_reason(&self) -> impl Iterator<Item = (Class, &'static str, u64)> {
        let by_class = Reason::ALL.iter().zip(&self.by_class).map(|(r, n)| (r.class(), r.name(), n.get()));
        let unfit = Unfit::ALL.iter().zip(&self.unfit).map(|(u, n)| (Class::PerRequest, u.name(), n.get()));
        let apart = Apart::ALL.iter().zip(&self.apart).map(|(a, n)| (Class::PerRequest, a.name(), n.get()));
        by_class.chain(unfit).chain(apart)
    }

    /// Hand-offs that came to nothing, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Apart::ALL.iter().zip(&self.refused).map(|(apart, n)| (apart.name(), n.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_a_name_and_a_number_of_its_own() {
        let connections = Connections::default();
        let all = Reason::ALL.map(Why::Class).into_iter();
        let all = all.chain(Unfit::ALL.map(Why::Unfit)).chain(Apart::ALL.map(Why::Apart));
        all.for_each(|why| connections.count(why));
        let names: HashSet<_> = connections.by_reason().map(|(class, name, _)| (class, name)).collect();
        assert_eq!(names.len(), Reason::ALL.len() + Unfit::ALL.len() + Apart::ALL.len());
        assert!(connections.by_reason().all(|(.., n)| n == 1), "{connections:?}");
        Apart::ALL.iter().for_each(|apart| connections.refuse(*apart));
        assert!(connections.refused().all(|(_, n)| n == 1), "{connections:?}");
        assert!(connections.by_reason().all(|(.., n)| n == 1), "refusals are not connections");
    }
}
