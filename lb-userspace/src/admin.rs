//! Administration: health, metrics and inspection over HTTP, on a TCP address and on a Unix socket. Read-only.
//!
//! Goes in: an [`Inspect`] (declared here, implemented in `app`). Comes out: answers. It never changes anything, and
//! it runs on a thread of its own, so that a slow reader of metrics cannot slow a request.

pub mod client;
pub mod inspect;
pub mod metrics;
pub mod server;
pub mod view;

pub use inspect::{Inspect, ListenerView, Readiness, Status, SteeringStatus};
pub use server::{AdminError, Server};
