//! The validating webhook, as settings.
//!
//! Goes in: what [`crate::cli`] read. Comes out: an [`Admission`].

use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Largest review that is read, bytes: an object and what it was before, of 1.5 MB each (etcd).
pub const REVIEW_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A validating webhook that an API server asks about Ingresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// Where it is served, by HTTPS.
    pub address: SocketAddr,
    /// Its certificate with those that signed it, PEM. Read again while it is served.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}
