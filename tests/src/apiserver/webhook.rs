//! One call of a webhook: a POST over TLS.
//!
//! Goes in: an address, a server name, the authority and a review. Comes out: the answered review, or why not, in words.
//! Does not do: timeouts (the caller's), HTTP/2, keeping connections.

use base64::Engine;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a webhook is and what it is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// `ADDRESS:PORT`.
    pub address: String,
    /// The name in its certificate.
    pub host: String,
    /// Begins with a slash, or is empty.
    pub path: String,
    /// `caBundle`: PEM, in base64.
    pub authority: String,
}

impl Target {
    /// From `https://HOST[:PORT]/PATH`.
    ///
    /// # Errors
    /// In words, when it is no such URL.
    pub fn from_url(url: &str, authority: String) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").ok_or_else(|| format!("{url} is not https"))?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_with_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if is_with_port { place.to_owned() } else { format!("{place}:443") };
        Ok(Self { address, host, path: format!("/{path}"), authority })
    }
}

/// Posts a review.
///
/// # Errors
/// In words, as a webhook's caller is told.
pub async fn post(target: &Target, review: &Value) -> Result<Value, String> {
    let why = |error: &dyn std::fmt::Display| format!("Post \"https://{}{}\": {error}", target.host, target.path);
    let stream = TcpStream::connect(&target.address).await.map_err(|e| why(&e))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|e| why(&e))?;
    let connector = TlsConnector::from(Arc::new(config(&target.authority)?));
    let stream = connector.connect(name, stream).await.map_err(|e| why(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| why(&e))?;
    let connection = tokio::spawn(connection);
    let path = if target.path.is_empty() { "/" } else { &target.path };
    let request = Request::post(path)
        .header(HOST, &target.host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|e| why(&e))?;
    let response = sender.send_request(request).await.map_err(|e| why(&e))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| why(&e))?.to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(why(&format!("the server answered {status}")));
    }
    serde_json::from_slice(&body).map_err(|e| why(&e))
}

fn config(authority: &str) -> Result<ClientConfig, String> {
    let pem = base64::engine::general_purpose::STANDARD.decode(authority).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
