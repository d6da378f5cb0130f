//! What a route asks for beyond matching: limits in time and size, balancing, retries. Each has a default that is finite.

use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Limits and manners of one route. Times are milliseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Policy {
    /// Until the TCP (and TLS) connection to the endpoint stands; then the next endpoint, and at last 504.
    pub connect_ms_max: u32,
    /// Between two reads from the endpoint; 504 before the response head, a cut connection after it.
    pub read_idle_ms_max: u32,
    /// Between two writes to the endpoint.
    pub send_idle_ms_max: u32,
    /// From the head of the request to the end of the response. Upgraded connections are bounded by idle times alone.
    pub total_ms_max: u32,
    /// Request body; more is answered 413. `None`: unlimited.
    pub body_bytes_max: Option<u64>,
    /// Which endpoint takes the next request.
    pub balance: Balance,
    /// What is tried again.
    pub retry: Retry,
}

/// Which endpoint takes the next request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one of two chosen at random that has fewer requests in work.
    LeastRequests,
    /// The one of two chosen at random with the lower product of latency (moving average that peaks count in at once)
    /// and requests in work.
    PeakEwma,
    /// Always the same one for the same key, as long as it is there.
    Hash(HashKey),
}

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashKey {
    /// Address of the client.
    Client,
    /// Path and query as the client sent them.
    Target,
    /// Host.
    Host,
    /// Value of a header field; the name is in lower case.
    Header(Arc<str>),
    /// Value of a cookie.
    Cookie(Arc<str>),
}

/// What is tried again, at another endpoint. A refused connection, and one that ends before any byte of the request
/// was taken, always are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Retry {
    /// Endpoints that are tried for one request; 1 tries none again.
    pub tries_max: u8,
    /// Also when the endpoint ends the connection after it has taken the request, before it answers, if the method
    /// is idempotent (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// As before, whatever the method.
    pub non_idempotent: bool,
}

impl Default for Policy {
    /// The defaults of ingress-nginx: 5 s, 60 s, 60 s, 1 MiB; an hour in all.
    fn default() -> Self {
        Self {
            connect_ms_max: 5_000,
            read_idle_ms_max: 60_000,
            send_idle_ms_max: 60_000,
            total_ms_max: 3_600_000,
            body_bytes_max: Some(1024 * 1024),
            balance: Balance::default(),
            retry: Retry::default(),
        }
    }
}

impl Default for Retry {
    /// As ingress-nginx (`error timeout`): three endpoints, and what one may have acted on if that does no harm. Without it a pod
    /// that ends with a request in its hands fails that request.
    fn default() -> Self {
        Self { tries_max: 3, idempotent: true, non_idempotent: false }
    }
}

impl fmt::Display for Balance {
    /// `round-robin`, or `hash of cookie session`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::LeastRequests => f.write_str("least-requests"),
            Self::PeakEwma => f.write_str("ewma"),
            Self::Hash(key) => write!(f, "hash of {key}"),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Target => f.write_str("target"),
            Self::Host => f.write_str("host"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}
