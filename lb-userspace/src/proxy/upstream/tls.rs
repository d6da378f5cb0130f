//! TLS to endpoints: one way of it for each set of demands, made once and kept while a route has them.
//!
//! Goes in: [`UpstreamTls`] of a route. Comes out: a [`Way`], with sessions that are resumed. Does not connect.

use lb_core::model::{Authorities, UpstreamTls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::proxy::tls::{certificate_chain, private_key};

/// A way of speaking TLS.
#[derive(Debug)]
pub struct Way {
    /// Its number, from 1.
    pub id: u32,
    /// For HTTP/1.1 and for HTTP/2; they differ in what is offered by ALPN.
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Way {
    /// What to begin a handshake with.
    pub fn config(&self, http2: bool) -> Arc<ClientConfig> {
        if http2 { self.http2.clone() } else { self.http1.clone() }
    }
}

/// The ways of one worker.
#[derive(Debug, Default)]
pub struct Ways {
    last_id: Cell<u32>,
    /// By the address of the demands, which are held so that it stays theirs.
    by_address: RefCell<HashMap<usize, Demanded>>,
}

type Demanded = (Arc<UpstreamTls>, Rc<Way>);

impl Ways {
    /// The way for these demands.
    ///
    /// # Errors
    /// When certificates or keys cannot be used.
    pub fn get(&self, tls: &Arc<UpstreamTls>) -> io::Result<Rc<Way>> {
        let address = Arc::as_ptr(tls) as usize;
        if let Some((_, way)) = self.by_address.borrow().get(&address) {
            return Ok(way.clone());
        }
        let mut by_address = self.by_address.borrow_mut();
        let same = by_address.values().find(|(held, _)| held == tls).map(|(_, way)| way.clone());
        let way = match same {
            Some(way) => way,
            None => {
                self.last_id.set(self.last_id.get() + 1);
                Rc::new(make(tls, self.last_id.get()).map_err(io::Error::other)?)
            }
        };
        by_address.insert(address, (tls.clone(), way.clone()));
        Ok(way)
    }

    /// Lets go of demands that no route has any more.
    pub fn sweep(&self) {
        self.by_address.borrow_mut().retain(|_, (tls, _)| Arc::strong_count(tls) > 1);
    }
}

/// The name to ask for and to verify: the one that is configured, or that of the request; an address where none is wanted.
///
/// # Errors
/// When it is no name that TLS could carry.
pub fn server_name(tls: &UpstreamTls, host: &str, endpoint: IpAddr) -> io::Result<ServerName<'static>> {
    if !wants_name(tls) {
        return Ok(ServerName::IpAddress(endpoint.into()));
    }
    let name = tls.name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|error| io::Error::other(format!("{name:?}: {error}")))
}

/// Whether the name of the request is part of what is asked for.
pub fn follows_host(tls: &UpstreamTls) -> bool {
    wants_name(tls) && tls.name.is_none()
}

fn wants_name(tls: &UpstreamTls) -> bool {
    tls.send_name || tls.authorities.is_some()
}

fn make(tls: &UpstreamTls, id: u32) -> Result<Way, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &tls.authorities {
        Some(authorities) => verifier(authorities, &provider)?,
        None => Arc::new(Anyone(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.certificate {
        Some(ours) => builder.with_client_auth_cert(certificate_chain(ours), private_key(ours))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = tls.send_name;
    let with = |alpn: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    };
    Ok(Way { id, http1: with(b"http/1.1"), http2: with(b"h2") })
}

fn verifier(
    authorities: &Authorities,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for der in &authorities.certificates {
        roots.add(CertificateDer::from(der.clone()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Takes any certificate, as ingress-nginx does unless `proxy-ssl-verify` is on: what goes to the endpoint is encrypted, and
/// who it is, the cluster's network must know. The handshake itself is verified.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
