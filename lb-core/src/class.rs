//! The class of a connection: who carries it, and the reason. A better class changes speed, never bytes.
//!
//! Goes in: facts about a listener and a host. Comes out: a [`Classified`] that `sluice routes` and `sluice explain` show.

use serde::Serialize;
use std::fmt;

/// Who carries the packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Userspace sees every request.
    PerRequest,
}

/// Why a connection has its class and not a better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The agent decrypts, so every byte passes through it.
    TlsTerminatedHere,
    /// Each request may need another answer: a filter changes or answers requests.
    PerRequestFilter,
    /// Paths of the host lead to different services, so each request must be looked at.
    SeveralBackends,
    /// Nobody allowed that later requests of a connection skip routing.
    NotOptedIn,
}

/// A class with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Classified {
    /// The class.
    pub class: Class,
    /// The reason.
    pub reason: Reason,
}

/// What classification looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// The request came through TLS that ends here.
    pub tls: bool,
    /// The route has a filter that acts on requests.
    pub filtered: bool,
    /// How many services the paths of the host lead to.
    pub backends: usize,
}

/// Decides who carries the connections of a route.
///
/// Every answer is [`Class::PerRequest`] as long as the kernel cannot take connections over; the reason is
/// the first obstacle that would remain then, so that owners can clear it.
#[must_use]
pub fn classify(facts: Facts) -> Classified {
    let reason = if facts.tls {
        Reason::TlsTerminatedHere
    } else if facts.backends > 1 {
        Reason::SeveralBackends
    } else if facts.filtered {
        Reason::PerRequestFilter
    } else {
        Reason::NotOptedIn
    };
    Classified { class: Class::PerRequest, reason }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerRequest => "per-request",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsTerminatedHere => "TLS ends here, so userspace carries every byte",
            Self::PerRequestFilter => "a filter acts on each request",
            Self::SeveralBackends => "paths of this host lead to several services",
            Self::NotOptedIn => "plain HTTP whose owner did not allow steering whole connections",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_obstacle_is_named() {
        let check = |facts, reason| assert_eq!(classify(facts).reason, reason);
        check(Facts { tls: true, filtered: true, backends: 3 }, Reason::TlsTerminatedHere);
        check(Facts { tls: false, filtered: true, backends: 3 }, Reason::SeveralBackends);
        check(Facts { tls: false, filtered: true, backends: 1 }, Reason::PerRequestFilter);
        check(Facts { tls: false, filtered: false, backends: 1 }, Reason::NotOptedIn);
    }
}
