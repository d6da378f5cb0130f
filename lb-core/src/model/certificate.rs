//! Certificates and the table that finds one by server name.

use super::host::{self, HostPattern};
use super::origin::ObjectRef;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A certificate chain with its private key, checked to belong together before it came here.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Certificate {
    /// The Secret it was read from.
    pub source: ObjectRef,
    /// Chain, leaf first, each in DER.
    #[serde(skip)]
    pub chain: Vec<Vec<u8>>,
    /// Private key in PKCS#8, PKCS#1 or SEC1 DER. Never shown.
    #[serde(skip)]
    pub key: PrivateKey,
    /// Subject alternative names of the leaf that are DNS names.
    pub names: Vec<String>,
    /// Validity of the leaf, seconds since 1970.
    pub not_before_s: i64,
    /// End of validity of the leaf, seconds since 1970.
    pub not_after_s: i64,
    /// SHA-256 of the leaf, hexadecimal.
    pub fingerprint: String,
}

/// A private key in DER with its encoding. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PrivateKey {
    /// RFC 5958.
    Pkcs8(Vec<u8>),
    /// RFC 8017, RSA only.
    Pkcs1(Vec<u8>),
    /// RFC 5915, elliptic curves only.
    Sec1(Vec<u8>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("source", &self.source).field("names", &self.names).finish_non_exhaustive()
    }
}

/// Which certificate a server name gets: exact before wildcard, then the default.
#[derive(Debug, Clone, Default)]
pub struct CertificateTable {
    exact: HashMap<Arc<str>, Arc<Certificate>>,
    wildcard: HashMap<Arc<str>, Arc<Certificate>>,
}

impl CertificateTable {
    /// Binds a name to a certificate. The first one given for a name stays: the caller goes from oldest to newest.
    /// Answers the certificate that holds the name already, if one does and it is another.
    pub fn insert(&mut self, pattern: &HostPattern, certificate: Arc<Certificate>) -> Option<Arc<Certificate>> {
        let (map, name) = match pattern {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            HostPattern::Any => return None,
        };
        match map.get(name) {
            Some(held) if *held != certificate => Some(held.clone()),
            Some(_) => None,
            None => {
                map.insert(name.clone(), certificate);
                None
            }
        }
    }

    /// Takes the binding of this very pattern out, and answers it.
    pub fn remove(&mut self, pattern: &HostPattern) -> Option<Arc<Certificate>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.remove(name),
            HostPattern::Wildcard(suffix) => self.wildcard.remove(suffix),
            HostPattern::Any => None,
        }
    }

    /// The certificate of this very pattern.
    #[must_use]
    pub fn get(&self, pattern: &HostPattern) -> Option<&Arc<Certificate>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix),
            HostPattern::Any => None,
        }
    }

    /// Names that are bound, apart from wildcards; in no order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.exact.keys()
    }

    /// Whether nothing is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// The certificate for a server name in normal form (see [`host::normalize`]); `None` means the default one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.exact.get(name).or_else(|| self.wildcard.get(host::parent(name)?))
    }

    /// All bindings, sorted by name.
    #[must_use]
    pub fn entries(&self) -> Vec<(HostPattern, &Arc<Certificate>)> {
        let exact = self.exact.iter().map(|(name, c)| (HostPattern::Exact(name.clone()), c));
        let wildcard = self.wildcard.iter().map(|(name, c)| (HostPattern::Wildcard(name.clone()), c));
        let mut all: Vec<_> = exact.chain(wildcard).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
