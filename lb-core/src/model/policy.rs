//! What a route asks for beyond matching: limits in time and size. Each has a default that is finite.

use serde::Serialize;

/// Limits of one route. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Until the TCP (and TLS) connection to the endpoint stands; then 504.
    pub connect_ms_max: u32,
    /// Between two reads from the endpoint; 504 before the response head, a cut connection after it.
    pub read_idle_ms_max: u32,
    /// Between two writes to the endpoint.
    pub send_idle_ms_max: u32,
}

impl Default for Policy {
    /// The defaults of ingress-nginx: 5 s, 60 s, 60 s.
    fn default() -> Self {
        Self { connect_ms_max: 5_000, read_idle_ms_max: 60_000, send_idle_ms_max: 60_000 }
    }
}
