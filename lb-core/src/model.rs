//! The model: one immutable [`Snapshot`] of everything that a request or the kernel needs to know.
//!
//! Goes in: what `control::translate` understood of the configuration. Comes out: shared, read-only values.
//! Does not know Kubernetes types; objects appear only by name, as the [`Origin`] of a decision.

pub mod certificate;
pub mod client_auth;
pub mod host;
pub mod origin;
pub mod passthrough;
pub mod policy;
pub mod route;
pub mod service;
pub mod upstream;

pub use certificate::{Certificate, CertificateTable};
pub use client_auth::{ClientAuth, ClientAuthTable};
pub use host::{HostPattern, InvalidHost};
pub use origin::{Kind, ObjectRef, Origin};
pub use passthrough::PassthroughTable;
pub use policy::{Balance, HashKey, Policy, Retry};
pub use route::{Expression, InvalidPath, PathMatch, Route, RouteId, Steering};
pub use service::{Endpoint, Service, ServiceId, ServiceKey};
pub use upstream::{Authorities, ProxyProtocol, Upstream, UpstreamTls};

use crate::route::RouteTable;
use std::sync::Arc;

/// Everything that serves: routes, services, certificates. Immutable; replaced whole by one writer. A copy, and the Snapshot
/// that follows it, share what is equal.
///
/// Readers hold it for one request.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows by one with each Snapshot that is published; 0 is the empty one before the first.
    pub version: u64,
    /// Hosts and their routes, indexed.
    pub routes: RouteTable,
    /// Services by [`ServiceId`] (the index).
    pub services: Vec<Arc<Service>>,
    /// Certificates by server name.
    pub certificates: Arc<CertificateTable>,
    /// What hosts ask of their clients.
    pub client_auth: Arc<ClientAuthTable>,
    /// Hosts whose TLS goes to a backend as it is.
    pub passthrough: Arc<PassthroughTable>,
}

impl Snapshot {
    /// The service a route leads to. `None` only for an id of another Snapshot.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.0 as usize)
    }
}
