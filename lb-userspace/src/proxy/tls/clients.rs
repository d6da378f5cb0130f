//! Mutual TLS: for each thing that hosts ask of clients, a configuration and a judge of certificates, made once.
//!
//! Goes in: [`ClientAuth`]. Comes out: [`Asking`]. In the handshake every certificate is taken whose key the client holds;
//! what it is worth is judged afterwards ([`Asking::judge`]). So a client that is refused reads why in HTTP, and a
//! certificate is judged again when a session is resumed: it may have expired.

use lb_core::Snapshot;
use lb_core::model::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How handshakes of hosts are made that ask this of their clients.
#[derive(Debug)]
pub struct Asking {
    /// What is asked.
    pub auth: Arc<ClientAuth>,
    /// The configuration, and who judges; `None` when no authority can be used, and then no certificate is valid.
    ready: Option<(Arc<ServerConfig>, Arc<dyn ClientCertVerifier>)>,
}

/// What was made, by what is asked.
#[derive(Debug, Default)]
pub struct Cache {
    made: HashMap<Arc<ClientAuth>, Arc<Asking>>,
    /// Version of the Snapshot whose entries alone are in it.
    pruned: u64,
}

impl Cache {
    /// What was made before, or is now. It outlives Snapshots that ask the same, and so do sessions.
    pub fn get(
        &mut self,
        auth: &Arc<ClientAuth>,
        snapshot: &Snapshot,
        make: impl FnOnce(&Arc<ClientAuth>) -> Asking,
    ) -> Arc<Asking> {
        if let Some(made) = self.made.get(auth) {
            return made.clone();
        }
        if self.pruned != snapshot.version {
            self.pruned = snapshot.version;
            let asked: HashSet<_> = snapshot.client_auth.values().collect();
            self.made.retain(|auth, _| asked.contains(auth));
        }
        let made = Arc::new(make(auth));
        self.made.insert(auth.clone(), made.clone());
        made
    }
}

impl Asking {
    /// Makes the configuration with `config`, which takes the verifier.
    pub fn new(
        auth: &Arc<ClientAuth>,
        provider: &Arc<CryptoProvider>,
        config: impl FnOnce(Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, rustls::Error>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(auth.authorities.certificates.iter().map(|der| der.as_slice().into()));
        let judge = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let ready = judge.map_err(|error| error.to_string()).and_then(|judge| {
            let config = config(Arc::new(AnyHeld(judge.clone()))).map_err(|error| error.to_string())?;
            Ok((Arc::new(config), judge))
        });
        if let Err(error) = &ready {
            let source = &auth.authorities.source;
            tracing::warn!(%source, %error, "its authorities cannot be used: no client certificate is valid");
        }
        Self { auth: auth.clone(), ready: ready.ok() }
    }

    /// The configuration; `None` when clients need not be asked, because nothing they show would be valid.
    pub fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.ready.as_ref().map(|(config, _)| config)
    }

    /// Whether a chain, leaf first, comes from an authority that is believed, and is for clients and for now.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), String> {
        let Some((_, judge)) = &self.ready else { return Err("no authority can be used".to_owned()) };
        let (leaf, rest) = chain.split_first().ok_or("the chain is empty")?;
        judge.verify_client_cert(leaf, rest, now).map(drop).map_err(|error| error.to_string())
    }
}

/// Takes every certificate whose key the client holds.
#[derive(Debug)]
struct AnyHeld(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyHeld {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
