//! Circuit limits: how much one endpoint and one service may have in work, so that a slow one cannot take the memory
//! and the connections of all others. Beyond them the answer is 503 at once.

use serde::Serialize;

/// Limits of requests in work and of requests that wait for a connection, counted over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Circuit {
    /// Requests in work on one endpoint.
    pub endpoint_requests_max: u32,
    /// Requests that wait for a connection to one endpoint.
    pub endpoint_pending_max: u32,
    /// Requests in work on one service.
    pub service_requests_max: u32,
    /// Requests that wait for a connection to any endpoint of one service.
    pub service_pending_max: u32,
}

impl Default for Circuit {
    /// An endpoint: a connection to it takes one of the 28,232 local ports that Linux gives by default
    /// (`ip_local_port_range`), and some of them wait in TIME-WAIT; and its accept queue holds 4,096 (`somaxconn`), so
    /// that more cannot be waiting with a chance.
    /// A service: a request in work holds up to 48 KB of buffers, 65,536 of them 3 GB; four endpoints' queues.
    fn default() -> Self {
        Self {
            endpoint_requests_max: 16_384,
            endpoint_pending_max: 4_096,
            service_requests_max: 65_536,
            service_pending_max: 16_384,
        }
    }
}
