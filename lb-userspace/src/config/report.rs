//! What is written into the API of a cluster, as settings.
//!
//! Goes in: what [`crate::cli`] read. Comes out: a [`Report`].

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What is written into the API of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Addresses and names for the status of our Ingresses.
    pub addresses: Vec<String>,
    /// Else the Service whose addresses they have.
    pub publish_service: Option<NamespacedName>,
    /// Else the addresses of the nodes that run a ready agent, as `agents` lists them.
    pub nodes: bool,
    /// The Service whose endpoints are the agents.
    pub agents: Option<NamespacedName>,
    /// The last agent that leaves does not take the statuses back.
    pub keep_on_shutdown: bool,
    /// Problems are told by Events.
    pub events: bool,
    /// Name of our Pod.
    pub pod: Option<String>,
    /// Namespace of our Pod, where the Lease is; `None`: the one of the client.
    pub namespace: Option<String>,
    /// Name of the Lease.
    pub lease: String,
    /// Writes of statuses and Events in a second, in the long run.
    pub writes_per_s: u32,
    /// Writes at once.
    pub writes_burst: u32,
}

impl Report {
    /// Whether statuses are written at all.
    #[must_use]
    pub fn has_status(&self) -> bool {
        !self.addresses.is_empty() || self.publish_service.is_some() || self.nodes
    }
}

impl Default for Report {
    /// 20 a second, as kube-controller-manager has: a new address is in 10,000 statuses after 8 minutes, and 10,000 Events
    /// are kept from expiring with 3.3 of them. For the API it is little: a write takes some 5 ms of one of the 200 places
    /// for writes (`--max-mutating-requests-inflight`), so this is a tenth of one place.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            publish_service: None,
            nodes: false,
            agents: None,
            keep_on_shutdown: false,
            events: true,
            pod: None,
            namespace: None,
            lease: "sluice-leader".to_owned(),
            writes_per_s: 20,
            writes_burst: 50,
        }
    }
}

/// An object of a known kind: NAMESPACE/NAME.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct NamespacedName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME".to_owned()),
        }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
