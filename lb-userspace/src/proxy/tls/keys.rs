//! Keys by certificate, the certificate by server name, and the generated default one.
//!
//! Goes in: Snapshots, before they are published. Comes out: for each handshake, the certificate of its server name in the
//! Snapshot that serves then, so that a certificate is swapped by publishing. Established connections go on.

use super::TlsError;
use crate::publish::Publisher;
use arc_swap::ArcSwap;
use lb_core::Snapshot;
use lb_core::model::certificate::PrivateKey;
use lb_core::model::{Certificate, CertificateTable, host};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The name in the default certificate; `.invalid` can never be a host (RFC 2606).
const DEFAULT_NAME: &str = "sluice.invalid";

/// Keys that are ready to sign, by certificate.
#[derive(Debug)]
pub struct Keys {
    default: Arc<CertifiedKey>,
    default_fingerprint: String,
    ready: ArcSwap<Ready>,
}

/// Keys of the Snapshot that comes, and of the one that serves until then.
#[derive(Debug, Default)]
struct Ready {
    next: Arc<ByFingerprint>,
    serving: Arc<ByFingerprint>,
    /// What `next` was made of.
    table: Arc<CertificateTable>,
}

type ByFingerprint = HashMap<String, (Arc<Certificate>, Arc<CertifiedKey>)>;

impl Keys {
    /// Generates the default certificate.
    ///
    /// # Errors
    /// [`TlsError`], when the cryptographic library cannot do that.
    pub fn new() -> Result<Arc<Self>, TlsError> {
        let made = rcgen::generate_simple_self_signed([DEFAULT_NAME.to_owned()])?;
        let leaf = made.cert.der().clone();
        let fingerprint = sha256(&leaf);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let default = CertifiedKey::new(vec![leaf], aws_lc_rs::sign::any_supported_type(&key)?);
        Ok(Arc::new(Self { default: Arc::new(default), default_fingerprint: fingerprint, ready: ArcSwap::default() }))
    }

    /// Makes the keys of a Snapshot ready. Call it before the Snapshot is published, from the thread that publishes.
    pub fn prepare(&self, snapshot: &Snapshot) {
        let ready = self.ready.load_full();
        let (serving, table) = (ready.next.clone(), snapshot.certificates.clone());
        // Most changes concern no certificate.
        if Arc::ptr_eq(&ready.table, &table) {
            return self.ready.store(Arc::new(Ready { next: serving.clone(), serving, table }));
        }
        let mut next = ByFingerprint::default();
        for (_, certificate) in snapshot.certificates.entries() {
            if next.contains_key(&certificate.fingerprint) {
                continue;
            }
            let held = serving.get(&certificate.fingerprint).filter(|(held, _)| held == certificate);
            let key = match held {
                Some((_, key)) => Ok(key.clone()),
                None => certified(certificate).map(Arc::new),
            };
            match key {
                Ok(key) => drop(next.insert(certificate.fingerprint.clone(), (certificate.clone(), key))),
                Err(error) => {
                    let source = &certificate.source;
                    tracing::warn!(%source, %error, "the key cannot sign; its names get the default certificate");
                }
            }
        }
        self.ready.store(Arc::new(Ready { next: Arc::new(next), serving, table }));
    }

    /// SHA-256 of the default certificate, hexadecimal.
    #[must_use]
    pub fn default_fingerprint(&self) -> String {
        self.default_fingerprint.clone()
    }

    fn get(&self, certificate: &Certificate) -> Option<Arc<CertifiedKey>> {
        let ready = self.ready.load();
        let found = ready.next.get(&certificate.fingerprint).or_else(|| ready.serving.get(&certificate.fingerprint));
        found.map(|(_, key)| key.clone())
    }
}

/// Finds the certificate of a server name.
#[derive(Debug)]
pub struct BySnapshot {
    publisher: Arc<Publisher>,
    keys: Arc<Keys>,
}

impl BySnapshot {
    /// In what serves, with the keys that were prepared for it.
    pub fn new(publisher: Arc<Publisher>, keys: Arc<Keys>) -> Self {
        Self { publisher, keys }
    }
}

impl ResolvesServerCert for BySnapshot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let published = self.publisher.current();
        let certificate =
            hello.server_name().and_then(|name| published.snapshot.certificates.find(&host::normalize(name)));
        Some(certificate.and_then(|c| self.keys.get(c)).unwrap_or_else(|| self.keys.default.clone()))
    }
}

fn certified(certificate: &Certificate) -> Result<CertifiedKey, rustls::Error> {
    let key = private_key(certificate);
    Ok(CertifiedKey::new(certificate_chain(certificate), aws_lc_rs::sign::any_supported_type(&key)?))
}

/// The chain of a certificate, as rustls wants it.
pub fn certificate_chain(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
    certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

/// The private key of a certificate, as rustls wants it.
pub fn private_key(certificate: &Certificate) -> PrivateKeyDer<'static> {
    match &certificate.key {
        PrivateKey::Pkcs8(der) => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.clone())),
        PrivateKey::Pkcs1(der) => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der.clone())),
        PrivateKey::Sec1(der) => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der.clone())),
    }
}

/// SHA-256 in hexadecimal, from the cipher suite that every TLS 1.3 library must have (RFC 8446 section 9.1).
fn sha256(bytes: &[u8]) -> String {
    let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        return String::new();
    };
    suite.common.hash_provider.hash(bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
