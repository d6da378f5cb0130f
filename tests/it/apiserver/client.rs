//! A client of the Kubernetes API that knows nothing but HTTP, so that it can ask for what no library would.
//!
//! Goes in: a server and a token. Comes out: status and JSON of each answer, or the events of a watch.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::http::response::Parts;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_tests::apiserver::ApiServer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client with a token. It has one connection, HTTP/2, and connects again when that is gone.
pub struct Client {
    runtime: Runtime,
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
    pub token: String,
    pub accept: &'static str,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(server: &ApiServer, token: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            address: server.address(),
            config: Arc::new(config),
            token: token.to_owned(),
            accept: "application/json",
            sender: None,
        }
    }

    pub fn admin(server: &ApiServer) -> Self {
        Self::new(server, server.admin_token())
    }

    /// GET; status and body.
    pub fn get(&mut self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "", "")
    }

    /// Any request; status and body.
    pub fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
        let (head, value) = self.try_ask(method, path, kind, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        (head.status.as_u16(), value)
    }

    /// Any request that may fail.
    pub fn try_ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Result<(Parts, Value), String> {
        let (head, incoming) = self.send(method, path, kind, body)?;
        let body = self.runtime.block_on(async { timeout(PATIENCE, incoming.collect()).await });
        let body = body.map_err(|_| "no end of the body")?.map_err(|error| error.to_string())?.to_bytes();
        let value =
            serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        Ok((head, value))
    }

    /// Begins a watch.
    pub fn watch(&mut self, path: &str) -> Watch<'_> {
        let (head, body) = self.send("GET", path, "", "").unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(head.status, 200, "{path}");
        Watch { client: self, body, rest: Vec::new() }
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Result<(Parts, Incoming), String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, self.accept)
            .header(CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.sender = Some(self.connect()?);
        }
        let sender = self.sender.as_mut().expect("it was set above");
        let response = self.runtime.block_on(async { timeout(PATIENCE, sender.send_request(request)).await });
        Ok(response.map_err(|_| "no answer")?.map_err(|error| error.to_string())?.into_parts())
    }

    fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let config = self.config.clone();
        self.runtime.block_on(async {
            let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
            let name = ServerName::from(self.address.ip());
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            let stream = TokioIo::new(stream.map_err(|error| error.to_string())?);
            let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok(sender)
        })
    }
}

/// A running watch.
pub struct Watch<'a> {
    client: &'a mut Client,
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch<'_> {
    /// The next event; nothing at a proper end, an error when it broke off or nothing came for so long.
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Value>, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).expect("a line is an event")));
            }
            let body = &mut self.body;
            let frame = self.client.runtime.block_on(async { timeout(patience, body.frame()).await });
            match frame.map_err(|_| "silence".to_owned())? {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|error| error.to_string())?;
                    self.rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
            }
        }
    }

    pub fn next(&mut self) -> Value {
        self.next_within(PATIENCE).expect("an event").expect("an event before the end")
    }

    /// The next event in short: `ADDED name`, with the resource version.
    pub fn short(&mut self) -> (String, u64) {
        let event = self.next();
        let metadata = &event["object"]["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let version = metadata["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0);
        (format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned(), version)
    }
}
