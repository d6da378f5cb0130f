//! What the echo backends answer: the request as they saw it, and who they are.
//!
//! The fields are those of the echo server of the Kubernetes Ingress conformance suite, with the body's length and
//! digest added. Both ends use these types: the backend writes them, tests read them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who an echo backend is, as it was told at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Namespace of its Service.
    pub namespace: String,
    /// Ingress that leads to it, when it was told.
    pub ingress: String,
    /// Service it belongs to.
    pub service: String,
    /// Name of its pod.
    pub pod: String,
}

/// A request as a backend saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Path and query.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// Method.
    pub method: String,
    /// `HTTP/1.1`.
    pub proto: String,
    /// Header fields, names in lower case, values in their order.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The backend.
    #[serde(flatten)]
    pub identity: Identity,
    /// What is known of TLS between the load balancer and the backend; always null, as these backends speak plain HTTP.
    pub tls: Option<serde_json::Value>,
    /// Length of the request body, bytes.
    pub body_bytes: usize,
    /// FNV-1a of the request body, 64 bits, hexadecimal.
    pub body_fnv1a: String,
}

impl Echo {
    /// The only value of a header field; `None` when there is none, or more than one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.headers.get(name)?.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// FNV-1a of 64 bits: enough to notice a damaged body, and short.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_published_one() {
        // Test vectors of draft-eastlake-fnv, section 5.
        assert_eq!(fnv1a(b""), "cbf29ce484222325");
        assert_eq!(fnv1a(b"foobar"), "85944171f73967e8");
    }
}
