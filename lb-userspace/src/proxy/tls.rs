//! TLS that ends here: one configuration for all hosts that ask nothing of clients, and one for each thing that hosts
//! ask of clients (mutual TLS).
//!
//! Goes in: settings, and for each handshake the server name with what its host asks. Comes out: rustls configurations,
//! shared by all workers, so that a session which began on one is resumed on another. Certificates are looked up in the
//! Snapshot that serves ([`keys`]), so they are swapped by publishing.

mod clients;
pub mod hello;
pub mod keys;
mod suites;

pub use clients::Asking;
pub use keys::Keys;
pub(super) use keys::{certificate_chain, private_key};
pub use suites::{UnknownSuite, suite_names};

use crate::config;
use crate::publish::{Published, Publisher};
use keys::BySnapshot;
use lb_core::model::ClientAuth;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use std::sync::{Arc, Mutex, PoisonError};

/// Session tickets for each TLS 1.3 handshake: one is enough for one more connection.
const TICKETS: usize = 1;

/// What is spoken above TLS, in order of preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The default certificate could not be made.
    #[error("cannot generate the default certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The cryptographic library refuses something.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
    /// A cipher suite that is not known.
    #[error(transparent)]
    Suite(#[from] UnknownSuite),
}

/// Configurations of TLS, shared by all workers.
#[derive(Debug)]
pub struct Terminator {
    maker: Maker,
    /// Of hosts that ask nothing of clients.
    open: Arc<ServerConfig>,
    /// Of the others. The lock is taken by handshakes of such hosts alone.
    asking: Mutex<clients::Cache>,
}

/// What all configurations have in common.
#[derive(Debug)]
struct Maker {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    certificates: Arc<BySnapshot>,
    our_order: bool,
}

impl Terminator {
    /// Sets TLS up.
    ///
    /// # Errors
    /// [`TlsError`], when the settings and the cryptographic library have nothing in common.
    pub fn new(settings: &config::Tls, publisher: Arc<Publisher>, keys: Arc<Keys>) -> Result<Self, TlsError> {
        let maker = Maker {
            provider: Arc::new(suites::provider(&settings.ciphers)?),
            versions: match settings.version_min {
                config::TlsVersion::Tls12 => vec![&version::TLS13, &version::TLS12],
                config::TlsVersion::Tls13 => vec![&version::TLS13],
            },
            certificates: Arc::new(BySnapshot::new(publisher, keys)),
            our_order: !settings.ciphers.is_empty(),
        };
        let open = Arc::new(maker.make(WebPkiClientVerifier::no_client_auth())?);
        Ok(Self { maker, open, asking: Mutex::default() })
    }

    /// The configuration of a host that asks nothing of clients.
    pub fn open(&self) -> &Arc<ServerConfig> {
        &self.open
    }

    /// The configuration of a host that asks `auth` of clients.
    pub fn asking(&self, auth: &Arc<ClientAuth>, published: &Published) -> Arc<Asking> {
        // What a thread that panicked left is whole: an entry is there or it is not.
        let mut cache = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(auth, &published.snapshot, |auth| Asking::new(auth, &self.maker.provider, |v| self.maker.make(v)))
    }
}

impl Maker {
    /// Each configuration has ticket keys of its own: what a client showed under one is not taken under another. rustls
    /// makes new keys every 6 hours and takes tickets for 12 at most; no file holds them, so they end with the process.
    fn make(&self, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.certificates.clone());
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
        config.ignore_client_order = self.our_order;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    fn terminator(settings: &config::Tls) -> Result<Terminator, TlsError> {
        Terminator::new(settings, Arc::default(), Keys::new().expect("keys"))
    }

    #[test]
    fn tickets_live_twelve_hours_and_no_session_is_stored() {
        let terminator = terminator(&config::Tls::default()).expect("set up");
        let config = terminator.open();
        assert!(config.ticketer.enabled() && !config.session_storage.can_cache());
        assert_eq!(config.ticketer.lifetime(), 12 * 3_600);
    }

    #[test]
    fn the_hybrid_key_exchange_comes_first() {
        let groups = suites::provider(&[]).expect("known").kx_groups;
        assert_eq!(groups.first().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn suites_are_those_that_were_named() {
        let named = |names: &[&str], version_min| {
            let ciphers = names.iter().map(|name| (*name).to_owned()).collect();
            terminator(&config::Tls { version_min, ciphers, hsts: None })
        };
        let one = named(&["TLS_AES_128_GCM_SHA256"], config::TlsVersion::Tls13).expect("set up");
        assert_eq!(one.open().crypto_provider().cipher_suites.len(), 1);
        assert!(matches!(named(&["AES128-SHA"], config::TlsVersion::Tls12), Err(TlsError::Suite(_))));
    }
}
