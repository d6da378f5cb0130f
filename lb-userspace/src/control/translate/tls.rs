//! TLS: Secrets become certificates, bound to server names.
//!
//! Goes in: `spec.tls` of the Ingresses that are ours. Comes out: the [`CertificateTable`]. Whatever is wrong with a
//! Secret, its hosts are served, with the default certificate. A certificate that lacks a host's name is used all the
//! same: its owner named it for that host, and a proxy in front may well accept it.

use super::super::reason;
use super::super::store::Store;
use super::Served;
use super::report::{self, Report};
use aws_lc_rs::digest;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{IngressSpec, IngressTLS};
use lb_core::model::certificate::PrivateKey;
use lb_core::model::{Authorities, Certificate, CertificateTable, HostPattern, Kind, ObjectRef, host};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Largest `tls.crt` and `tls.key` that are read, bytes. A chain of four certificates with a hundred names has 20 KB, and every
/// client that connects is sent it; rustls takes no more than 64 KB of it in a handshake.
pub const CERTIFICATE_BYTES_MAX: usize = 128 * 1024;

/// Largest `ca.crt` that is read, bytes: what a Secret may have in all. The authorities that browsers trust have 230 KB.
pub const AUTHORITIES_BYTES_MAX: usize = 1024 * 1024;

/// Most names of a certificate. Public authorities write 100 to 250.
pub const NAMES_MAX: usize = 1_000;

/// Names up to which they are compared one by one.
const FEW_NAMES: usize = 8;

/// What a Secret holds, apart from the question of the time.
pub type Parsed = Result<Arc<Certificate>, InvalidSecret>;

/// A Secret without a certificate that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Of a type for something else.
    #[error("is of type {0}, not kubernetes.io/tls")]
    Type(String),
    /// An entry is absent or empty.
    #[error("has no {0}")]
    Absent(&'static str),
    /// An entry that is too large.
    #[error("has a {0} of {1} bytes, more than {2}")]
    Large(&'static str, usize, usize),
    /// A certificate with more than [`NAMES_MAX`] names.
    #[error("has a certificate of {0} names, more than {NAMES_MAX}")]
    Names(usize),
    /// `tls.crt` is not PEM with an X.509 certificate first.
    #[error("has a tls.crt that is no certificate in PEM: {0}")]
    Certificate(String),
    /// `tls.key` is not a private key that can be used.
    #[error("has a tls.key that is no private key in PEM that can be used: {0}")]
    Key(String),
    /// `ca.crt` is not PEM with X.509 certificates that can be believed.
    #[error("has a ca.crt that is no certificate in PEM: {0}")]
    Authority(String),
    /// They do not belong together.
    #[error("has a tls.key that does not belong to its tls.crt")]
    Mismatch,
}

/// Binds the certificates of all Ingresses, oldest first, to their server names.
pub fn bind(served: &[Served<'_>], store: &Store, now_s: i64, report: &mut Report<'_>) -> CertificateTable {
    let mut binder = Binder { store, now_s, table: CertificateTable::default(), names: HashMap::new(), report };
    for ingress in served {
        let mut whole = HashSet::new();
        for (index, tls) in ingress.spec.tls.iter().flatten().enumerate() {
            if is_repeated(tls, &mut whole) {
                continue;
            }
            binder.tls(ingress.key, tls, &format!("spec.tls[{index}]"));
        }
    }
    binder.table
}

/// The hosts that an Ingress asks a certificate for.
#[must_use]
pub fn hosts(key: &ObjectRef, spec: &IngressSpec, store: &Store) -> Vec<HostPattern> {
    let (mut hosts, mut whole) = (Vec::new(), HashSet::new());
    for tls in spec.tls.iter().flatten() {
        if is_repeated(tls, &mut whole) {
            continue;
        }
        let listed = tls.hosts.iter().flatten();
        hosts.extend(listed.filter_map(|host| HostPattern::parse(host).ok()));
        let Some(name) = tls.secret_name.as_deref().filter(|_| hosts_are_absent(tls)) else { continue };
        if let Some(Ok(certificate)) = store.certificate(&ObjectRef::new(Kind::Secret, key.namespace.clone(), name)) {
            hosts.extend(certificate.names.iter().filter_map(|name| HostPattern::parse(name).ok()));
        }
    }
    hosts
}

fn hosts_are_absent(tls: &IngressTLS) -> bool {
    tls.hosts.as_ref().is_none_or(Vec::is_empty)
}

/// Whether an entry asks for all names of a Secret, as another one did before: fifty thousand of them would take minutes.
fn is_repeated<'s>(tls: &'s IngressTLS, whole: &mut HashSet<&'s str>) -> bool {
    hosts_are_absent(tls) && !whole.insert(tls.secret_name.as_deref().unwrap_or_default())
}

/// Reads the certificate and the key of a Secret.
///
/// # Errors
/// [`InvalidSecret`], which says what is wrong with it.
pub fn parse(source: &ObjectRef, secret: &Secret) -> Parsed {
    if let Some(other) = secret.type_.as_deref().filter(|t| !matches!(*t, "" | "kubernetes.io/tls" | "Opaque")) {
        return Err(InvalidSecret::Type(other.to_owned()));
    }
    let invalid = |error: &dyn std::fmt::Display| InvalidSecret::Certificate(error.to_string());
    let crt = entry(secret, "tls.crt", CERTIFICATE_BYTES_MAX)?;
    let key = entry(secret, "tls.key", CERTIFICATE_BYTES_MAX)?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(crt).collect::<Result<_, _>>().map_err(|e| invalid(&e))?;
    let leaf = chain.first().ok_or_else(|| invalid(&"it holds none"))?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| invalid(&e))?;
    let names = dns_names(&parsed);
    if names.len() > NAMES_MAX {
        return Err(InvalidSecret::Names(names.len()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| InvalidSecret::Key(e.to_string()))?;
    let signing = sign::any_supported_type(&key).map_err(|e| InvalidSecret::Key(e.to_string()))?;
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(InvalidSecret::Mismatch),
        Err(error) => return Err(invalid(&error)),
    }
    Ok(Arc::new(Certificate {
        source: source.clone(),
        names,
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
        fingerprint: hexadecimal(digest::digest(&digest::SHA256, leaf).as_ref()),
        chain: chain.iter().map(|der| der.to_vec()).collect(),
        key: owned(&key),
    }))
}

/// Reads the certificate authorities of a Secret: `ca.crt`, every certificate of it.
///
/// # Errors
/// [`InvalidSecret`], which says what is wrong with it. One bad certificate spoils it all: its owner should know.
pub fn parse_authorities(source: &ObjectRef, secret: &Secret) -> Result<Arc<Authorities>, InvalidSecret> {
    let invalid = |error: &dyn std::fmt::Display| InvalidSecret::Authority(error.to_string());
    let pem = entry(secret, "ca.crt", AUTHORITIES_BYTES_MAX)?;
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| invalid(&e))?;
    let mut roots = RootCertStore::empty();
    for der in &found {
        roots.add(der.clone()).map_err(|e| invalid(&e))?;
    }
    if roots.is_empty() {
        return Err(invalid(&"it holds none"));
    }
    let certificates = found.iter().map(|der| der.to_vec()).collect();
    Ok(Arc::new(Authorities { source: source.clone(), certificates }))
}

fn entry<'s>(secret: &'s Secret, name: &'static str, bytes_max: usize) -> Result<&'s [u8], InvalidSecret> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| &bytes.0[..]);
    match bytes.filter(|bytes| !bytes.is_empty()) {
        None => Err(InvalidSecret::Absent(name)),
        Some(bytes) if bytes.len() > bytes_max => Err(InvalidSecret::Large(name, bytes.len(), bytes_max)),
        Some(bytes) => Ok(bytes),
    }
}

struct Binder<'a, 'r> {
    store: &'a Store,
    now_s: i64,
    table: CertificateTable,
    /// Names of certificates that have many, by Secret.
    names: HashMap<ObjectRef, HashSet<HostPattern>>,
    report: &'a mut Report<'r>,
}

impl Binder<'_, '_> {
    fn tls(&mut self, owner: &ObjectRef, tls: &IngressTLS, field: &str) {
        let hosts = self.hosts(owner, tls, field);
        // Without a Secret the hosts use the default certificate, as the API describes it.
        let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { return };
        let secret = ObjectRef::new(Kind::Secret, owner.namespace.clone(), name);
        let Some(certificate) = self.certificate(owner, &secret, &format!("{field}.secretName")) else { return };
        let own = certificate.names.iter().filter_map(|name| HostPattern::parse(name).ok());
        let named = !hosts_are_absent(tls);
        let hosts: Vec<HostPattern> = if named { hosts } else { own.collect() };
        if hosts.is_empty() && !named {
            let message = format!("Neither hosts nor the certificate of {secret} name a host, so nobody sees it.");
            self.report.note(owner, field, reason::CERTIFICATE_NAME_MISMATCH, message, "List the hosts.");
        }
        for host in hosts {
            if !self.covers(&certificate, &host) {
                let message = format!("The certificate of {secret} does not name {host}; clients may refuse it.");
                let remedy = "Order a certificate that names the host.";
                self.report.note(owner, field, reason::CERTIFICATE_NAME_MISMATCH, message, remedy);
            }
            if let Some(held) = self.table.insert(&host, certificate.clone()) {
                let held = report::shown(&held.source, owner);
                let message = format!("Host {host} has the certificate of {held} already, which stays in use.");
                let remedy = "Name one Secret for each host. The older Ingress decides; without a creation time, the first by name.";
                self.report.fault(owner, field, reason::CERTIFICATE_CONFLICT, message, remedy);
            }
        }
    }

    /// Whether one of the certificate's names is the host, or a wildcard over it.
    fn covers(&mut self, certificate: &Certificate, host: &HostPattern) -> bool {
        let patterns = || certificate.names.iter().filter_map(|name| HostPattern::parse(name).ok());
        let over = match host {
            HostPattern::Exact(name) => host::parent(name).map(|suffix| HostPattern::Wildcard(suffix.into())),
            HostPattern::Wildcard(_) | HostPattern::Any => None,
        };
        if certificate.names.len() <= FEW_NAMES {
            return patterns().any(|name| name == *host || Some(&name) == over.as_ref());
        }
        if !self.names.contains_key(&certificate.source) {
            self.names.insert(certificate.source.clone(), patterns().collect());
        }
        let names = self.names.get(&certificate.source);
        names.is_some_and(|names| names.contains(host) || over.is_some_and(|over| names.contains(&over)))
    }

    fn hosts(&mut self, owner: &ObjectRef, tls: &IngressTLS, field: &str) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        for (index, text) in tls.hosts.iter().flatten().enumerate() {
            let (why, remedy) = match HostPattern::parse(text) {
                Ok(HostPattern::Any) => ("The host is empty".to_owned(), "Name the host, or list none."),
                Ok(host) => {
                    hosts.push(host);
                    continue;
                }
                Err(error) => (error.to_string(), "Write a DNS name, or *. and a DNS name."),
            };
            let message = format!("{why}. No certificate is bound to it.");
            self.report.fault(owner, format!("{field}.hosts[{index}]"), reason::INVALID_HOST, message, remedy);
        }
        hosts
    }

    /// The certificate of a Secret, when it can be used now; else says why not.
    fn certificate(&mut self, owner: &ObjectRef, secret: &ObjectRef, field: &str) -> Option<Arc<Certificate>> {
        let (reason, why, remedy) = match self.store.certificate(secret) {
            None => (reason::SECRET_MISSING, "does not exist".to_owned(), "Create it, or correct the name."),
            Some(Err(error)) => {
                let mismatch = *error == InvalidSecret::Mismatch;
                let reason = if mismatch { reason::KEY_MISMATCH } else { reason::INVALID_CERTIFICATE };
                (
                    reason,
                    error.to_string(),
                    "Put a certificate chain in PEM into tls.crt and its private key into tls.key.",
                )
            }
            Some(Ok(certificate)) if certificate.not_after_s < self.now_s => {
                (reason::CERTIFICATE_EXPIRED, "has a certificate that expired".to_owned(), "Renew the certificate.")
            }
            Some(Ok(certificate)) if certificate.not_before_s > self.now_s => {
                let why = "has a certificate that is not valid yet".to_owned();
                (reason::CERTIFICATE_NOT_YET_VALID, why, "Wait, or correct the clock.")
            }
            Some(Ok(certificate)) => return Some(certificate.clone()),
        };
        let message = format!("{secret} {why}, so the default certificate is used.");
        self.report.fault(owner, field, reason, message, remedy);
        None
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect()
}

fn owned(key: &PrivateKeyDer<'_>) -> PrivateKey {
    match key {
        PrivateKeyDer::Pkcs1(der) => PrivateKey::Pkcs1(der.secret_pkcs1_der().to_vec()),
        PrivateKeyDer::Sec1(der) => PrivateKey::Sec1(der.secret_sec1_der().to_vec()),
        other => PrivateKey::Pkcs8(other.secret_der().to_vec()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
