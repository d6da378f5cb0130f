//! Administration: health, metrics and inspection over HTTP, on a TCP address and on a Unix socket. Read-only, but for
//! the end of connections that the kernel carries, which the Unix socket alone takes.
//!
//! Goes in: an [`Inspect`] (declared here, implemented in `app`). Comes out: answers. It runs on a thread of its own, so
//! that a slow reader of metrics cannot slow a request. So does the validating webhook, by HTTPS, where it is wanted.

mod answer;
pub mod client;
#[cfg(test)]
mod fake;
pub mod flows;
pub mod inspect;
pub mod metrics;
pub mod server;
pub mod view;
pub mod webhook;

pub use flows::{Flows, Spliced, Which};
pub use inspect::{Inspect, ListenerView, Readiness, SpliceStatus, Status, SteeringStatus};
pub use server::{AdminError, Server};
