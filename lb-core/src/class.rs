//! The class of a connection: who carries it, and the reason. A better class changes speed, never bytes.
//!
//! Goes in: facts about a host and its routes. Comes out: a [`Classified`] that the request path follows and that
//! `sluice routes` and `sluice explain` show. Does not know whether the kernel can: that is the hand-off's to find.
//!
//! A connection that the kernel carries is routed once, by its first request. What needs every request therefore speaks
//! against it; what depends on the client's address, the same for all requests of a connection, does not.

use serde::Serialize;
use std::fmt;

/// Who carries the packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "&'static str")]
pub enum Class {
    /// Userspace sees every request.
    PerRequest,
    /// Userspace sees the first bytes, and the kernel carries all that follows.
    Spliced,
}

/// Why a connection has its class and not another one. The obstacles stand in the order in which they are told: first
/// what lies in the shape of a host, then what its owner can take away, then what a word of the owner would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub enum Reason {
    /// The agent decrypts, so every byte passes through it.
    TlsTerminatedHere,
    /// Paths of the host lead to different services, so each request must be looked at.
    SeveralBackends,
    /// It takes what other hosts have no path for, and their other requests go elsewhere.
    DefaultOfOthers,
    /// Some paths of the host lead nowhere, and must not reach its service.
    PathsUncovered,
    /// Each request may need another answer: a filter changes or answers requests.
    PerRequestFilter,
    /// Fields about client certificates are ours to write, in each request.
    ClientCertificates,
    /// TLS to endpoints is made here.
    EndpointTls,
    /// Endpoints speak HTTP/2, and clients in the clear HTTP/1.1.
    EndpointHttp2,
    /// A limit on bodies that the owner wrote holds for each request.
    BodyLimit,
    /// Each request may be for another endpoint.
    BalancedByRequest,
    /// The service is also reached through a route that keeps some clients out, which a later request could pass by.
    GuardedElsewhere,
    /// Nobody allowed that later requests of a connection skip routing.
    NotOptedIn,
    /// The owner did, and the owner of another path of the host did not.
    OthersNotOptedIn,
    /// The owner allowed it, and nothing speaks against it.
    OptedIn,
    /// TLS goes to the backend as it is.
    Passthrough,
    /// The protocol was switched: there are no more requests.
    Upgrade,
}

/// A class with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Classified {
    /// The class.
    pub class: Class,
    /// The reason.
    pub reason: Reason,
}

/// What classification looks at. All of it holds for a host as a whole but `tls` and
/// `default_of_others`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The connection came through TLS that ends here.
    pub tls: bool,
    /// How many services the paths of the host lead to.
    pub backends: usize,
    /// The route is the default backend of everything, and other hosts have rules.
    pub default_of_others: bool,
    /// Some path leads nowhere, or to the default backend of everything.
    pub uncovered: bool,
    /// A filter changes or answers requests, or routes keep out different clients.
    pub filtered: bool,
    /// The host may ask for client certificates.
    pub client_certificates: bool,
    /// TLS is spoken to endpoints.
    pub endpoint_tls: bool,
    /// HTTP/2 is spoken to endpoints.
    pub endpoint_http2: bool,
    /// A limit on bodies was written by an owner; that of the agent is not meant.
    pub body_limit: bool,
    /// Something of each request chooses its endpoint.
    pub balanced_by_request: bool,
    /// Another route to the service keeps out clients that this one lets in.
    pub guarded_elsewhere: bool,
    /// The owner of the route allowed that later requests of a connection skip routing.
    pub opted_in: bool,
    /// So did the owners of all other paths of the host.
    pub others_opted_in: bool,
}

/// Decides who carries the connections that bring requests of a route: the first obstacle, or the reason that there is
/// none.
#[must_use]
pub fn classify(facts: Facts) -> Classified {
    let obstacles = [
        (facts.tls, Reason::TlsTerminatedHere),
        (facts.backends > 1, Reason::SeveralBackends),
        (facts.default_of_others, Reason::DefaultOfOthers),
        (facts.uncovered, Reason::PathsUncovered),
        (facts.filtered, Reason::PerRequestFilter),
        (facts.client_certificates, Reason::ClientCertificates),
        (facts.endpoint_tls, Reason::EndpointTls),
        (facts.endpoint_http2, Reason::EndpointHttp2),
        (facts.body_limit, Reason::BodyLimit),
        (facts.balanced_by_request, Reason::BalancedByRequest),
        (facts.guarded_elsewhere, Reason::GuardedElsewhere),
        (!facts.opted_in, Reason::NotOptedIn),
        (!facts.others_opted_in, Reason::OthersNotOptedIn),
    ];
    first(&obstacles).unwrap_or(Reason::OptedIn).into()
}

/// Decides who carries a connection whose protocol was switched. Whatever acts on requests has acted by then.
#[must_use]
pub fn classify_upgrade(facts: Facts) -> Classified {
    let obstacles = [
        (facts.tls, Reason::TlsTerminatedHere),
        (facts.endpoint_tls, Reason::EndpointTls),
        (facts.endpoint_http2, Reason::EndpointHttp2),
    ];
    first(&obstacles).unwrap_or(Reason::Upgrade).into()
}

fn first(obstacles: &[(bool, Reason)]) -> Option<Reason> {
    obstacles.iter().find(|(there, _)| *there).map(|(_, reason)| *reason)
}

impl Class {
    /// The name in metrics, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerRequest => "per-request",
            Self::Spliced => "spliced",
        }
    }
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 16] = [
        Self::TlsTerminatedHere,
        Self::SeveralBackends,
        Self::DefaultOfOthers,
        Self::PathsUncovered,
        Self::PerRequestFilter,
        Self::ClientCertificates,
        Self::EndpointTls,
        Self::EndpointHttp2,
        Self::BodyLimit,
        Self::BalancedByRequest,
        Self::GuardedElsewhere,
        Self::NotOptedIn,
        Self::OthersNotOptedIn,
        Self::OptedIn,
        Self::Passthrough,
        Self::Upgrade,
    ];

    /// Place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The class that it is a reason of.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::OptedIn | Self::Passthrough | Self::Upgrade => Class::Spliced,
            _ => Class::PerRequest,
        }
    }

    /// The name in metrics, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TlsTerminatedHere => "tls-terminated-here",
            Self::SeveralBackends => "several-backends",
            Self::DefaultOfOthers => "default-of-others",
            Self::PathsUncovered => "paths-uncovered",
            Self::PerRequestFilter => "per-request-filter",
            Self::ClientCertificates => "client-certificates",
            Self::EndpointTls => "endpoint-tls",
            Self::EndpointHttp2 => "endpoint-http2",
            Self::BodyLimit => "body-limit",
            Self::BalancedByRequest => "balanced-by-request",
            Self::GuardedElsewhere => "guarded-elsewhere",
            Self::NotOptedIn => "not-opted-in",
            Self::OthersNotOptedIn => "others-not-opted-in",
            Self::OptedIn => "opted-in",
            Self::Passthrough => "passthrough",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Classified {
    /// Whether the kernel may carry it.
    #[must_use]
    pub const fn is_spliced(self) -> bool {
        matches!(self.class, Class::Spliced)
    }
}

impl From<Reason> for Classified {
    fn from(reason: Reason) -> Self {
        Self { class: reason.class(), reason }
    }
}

impl From<Class> for &'static str {
    fn from(class: Class) -> Self {
        class.name()
    }
}

impl From<Reason> for &'static str {
    fn from(reason: Reason) -> Self {
        reason.name()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsTerminatedHere => "TLS ends here, so userspace carries every byte",
            Self::SeveralBackends => "paths of this host lead to several services",
            Self::DefaultOfOthers => {
                "it takes what other hosts have no path for, and their other requests go elsewhere"
            }
            Self::PathsUncovered => "some paths of this host lead nowhere, and must not reach its service",
            Self::PerRequestFilter => "a filter acts on each request of this host",
            Self::ClientCertificates => "fields about client certificates are written into each request of this host",
            Self::EndpointTls => "TLS to its endpoints is made here",
            Self::EndpointHttp2 => "its endpoints speak HTTP/2",
            Self::BodyLimit => "a limit on bodies was written for this host, and holds for each request",
            Self::BalancedByRequest => "something of each request chooses its endpoint",
            Self::GuardedElsewhere => "another route to its service keeps out clients that this one lets in",
            Self::NotOptedIn => "plain HTTP whose owner did not allow steering whole connections",
            Self::OthersNotOptedIn => "the owner of another path of this host did not allow steering whole connections",
            Self::OptedIn => "its owner allowed steering whole connections",
            Self::Passthrough => "TLS goes to the backend as it is, by server name",
            Self::Upgrade => "once the protocol is switched there are no more requests",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing speaks against it.
    const CLEAR: Facts = Facts {
        tls: false,
        backends: 1,
        default_of_others: false,
        uncovered: false,
        filtered: false,
        client_certificates: false,
        endpoint_tls: false,
        endpoint_http2: false,
        body_limit: false,
        balanced_by_request: false,
        guarded_elsewhere: false,
        opted_in: true,
        others_opted_in: true,
    };

    #[test]
    fn each_obstacle_alone() {
        let check = |facts: Facts, want: Reason, upgrade_want: Reason| {
            assert_eq!((classify(facts).reason, classify_upgrade(facts).reason), (want, upgrade_want), "{facts:?}");
        };
        let upgrade = Reason::Upgrade;
        check(CLEAR, Reason::OptedIn, upgrade);
        check(Facts { tls: true, ..CLEAR }, Reason::TlsTerminatedHere, Reason::TlsTerminatedHere);
        check(Facts { backends: 2, ..CLEAR }, Reason::SeveralBackends, upgrade);
        check(Facts { default_of_others: true, ..CLEAR }, Reason::DefaultOfOthers, upgrade);
        check(Facts { uncovered: true, ..CLEAR }, Reason::PathsUncovered, upgrade);
        check(Facts { filtered: true, ..CLEAR }, Reason::PerRequestFilter, upgrade);
        check(Facts { client_certificates: true, ..CLEAR }, Reason::ClientCertificates, upgrade);
        check(Facts { endpoint_tls: true, ..CLEAR }, Reason::EndpointTls, Reason::EndpointTls);
        check(Facts { endpoint_http2: true, ..CLEAR }, Reason::EndpointHttp2, Reason::EndpointHttp2);
        check(Facts { body_limit: true, ..CLEAR }, Reason::BodyLimit, upgrade);
        check(Facts { balanced_by_request: true, ..CLEAR }, Reason::BalancedByRequest, upgrade);
        check(Facts { guarded_elsewhere: true, ..CLEAR }, Reason::GuardedElsewhere, upgrade);
        check(Facts { opted_in: false, ..CLEAR }, Reason::NotOptedIn, upgrade);
        check(Facts { others_opted_in: false, ..CLEAR }, Reason::OthersNotOptedIn, upgrade);
    }

    #[test]
    fn the_first_obstacle_is_named() {
        type TakeAway = fn(&mut Facts);
        let mut facts = Facts {
            tls: true,
            backends: 3,
            default_of_others: true,
            uncovered: true,
            filtered: true,
            client_certificates: true,
            endpoint_tls: true,
            endpoint_http2: true,
            body_limit: true,
            balanced_by_request: true,
            guarded_elsewhere: true,
            opted_in: false,
            others_opted_in: false,
        };
        let clear: [(TakeAway, Reason); 13] = [
            (|f| f.tls = false, Reason::TlsTerminatedHere),
            (|f| f.backends = 1, Reason::SeveralBackends),
            (|f| f.default_of_others = false, Reason::DefaultOfOthers),
            (|f| f.uncovered = false, Reason::PathsUncovered),
            (|f| f.filtered = false, Reason::PerRequestFilter),
            (|f| f.client_certificates = false, Reason::ClientCertificates),
            (|f| f.endpoint_tls = false, Reason::EndpointTls),
            (|f| f.endpoint_http2 = false, Reason::EndpointHttp2),
            (|f| f.body_limit = false, Reason::BodyLimit),
            (|f| f.balanced_by_request = false, Reason::BalancedByRequest),
            (|f| f.guarded_elsewhere = false, Reason::GuardedElsewhere),
            (|f| f.opted_in = true, Reason::NotOptedIn),
            (|f| f.others_opted_in = true, Reason::OthersNotOptedIn),
        ];
        for (take_away, want) in clear {
            assert_eq!(classify(facts).reason, want);
            take_away(&mut facts);
        }
        assert_eq!(classify(facts), Reason::OptedIn.into());
    }

    #[test]
    fn places_are_those_of_all_and_the_better_class_comes_last() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason}");
            assert_eq!(Classified::from(reason).is_spliced(), place >= Reason::OptedIn.index(), "{reason}");
        }
    }
}
