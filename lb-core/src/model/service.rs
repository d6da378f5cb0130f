//! Services and the endpoints that can take a request now.

use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Index of a service in its Snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ServiceId(pub u32);

/// What names a service port across Snapshots: state of balancing is carried over by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ServiceKey {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub name: Arc<str>,
    /// Port as the rule names it: a number or a name.
    pub port: Arc<str>,
}

impl fmt::Display for ServiceKey {
    /// `shop/cart:8055`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A service port with the endpoints that new requests may go to.
///
/// Translation has already chosen by readiness, topology and draining: every endpoint listed here is eligible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name.
    pub key: ServiceKey,
    /// Where new requests go, in order of address. Empty: the answer is 503.
    pub endpoints: Vec<Endpoint>,
    /// Why `endpoints` is empty or not all of them, in words for people; empty where there is nothing to say.
    pub note: String,
}

/// One address that serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// `targetRef` name, for people and logs.
    pub pod: Option<Arc<str>>,
    /// Node it runs on.
    pub node: Option<Arc<str>>,
    /// Zone it runs in.
    pub zone: Option<Arc<str>>,
    /// It is terminating and serves only because no ready endpoint is left.
    pub terminating: bool,
}
