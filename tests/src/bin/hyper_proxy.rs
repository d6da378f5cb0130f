//! `sluice-hyper-proxy`: the least reverse proxy that hyper makes, so that the bench can say what hyper costs.
//!
//! ```text
//! sluice-hyper-proxy HTTP HTTPS BACKEND CERTIFICATE KEY
//! ```
//!
//! Goes in: two addresses to listen on, the address of the only backend, a certificate and its key as PEM files. HTTP/1.1
//! on the first address; on the second HTTP/2 or HTTP/1.1 as the client chooses. One thread, hyper's server connections,
//! and hyper-util's pool of kept connections to the backend. Does not do: routes, limits, logs, forwarded fields or
//! anything else that Sluice does for a request; what it costs is hyper's and the kernel's. No part of Sluice uses it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Connections that wait to be accepted, as for the other contenders.
const BACKLOG: u32 = 4096;

/// Kept connections to the backend, as for the other contenders.
const IDLE_MAX: usize = 256;

type Body = BoxBody<Bytes, hyper::Error>;

/// Who answers: the pool and the address of the backend.
#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Incoming>,
    authority: Authority,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [http, https, backend, certificate, key] = words.as_slice() else {
        bail!("usage: sluice-hyper-proxy HTTP HTTPS BACKEND CERTIFICATE KEY")
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls(certificate, key)?));
    let upstream = upstream(backend)?;
    let (http, https) = (http.parse().context("HTTP")?, https.parse().context("HTTPS")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (plain, tls) = (listen(http)?, listen(https)?);
        tokio::try_join!(serve_plain(plain, &upstream), serve_tls(tls, &acceptor, &upstream))?;
        Ok(())
    })
}

fn tls(certificate: &str, key: &str) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn upstream(backend: &str) -> Result<Upstream> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_MAX)
        .pool_idle_timeout(Duration::from_secs(300))
        .pool_timer(TokioTimer::new())
        .build(connector);
    Ok(Upstream { client, authority: backend.parse().context("BACKEND")? })
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn serve_plain(listener: TcpListener, upstream: &Upstream) -> Result<()> {
    loop {
        let stream = accept(&listener).await?;
        let upstream = upstream.clone();
        // What a client does to its own connection concerns nobody else.
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&upstream, request));
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
    }
}

async fn serve_tls(listener: TcpListener, acceptor: &TlsAcceptor, upstream: &Upstream) -> Result<()> {
    loop {
        let stream = accept(&listener).await?;
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(|request| answer(&upstream, request));
            if h2 {
                let service = service_fn(move |request| answer_owned(upstream.clone(), request));
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
            } else {
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
            }
            anyhow::Ok(())
        });
    }
}

/// Streams of HTTP/2 outlive the future of their connection's service.
async fn answer_owned(upstream: Upstream, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    answer(&upstream, request).await
}

async fn answer(upstream: &Upstream, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let Some(request) = rewrite(&upstream.authority, request) else { return Ok(empty(StatusCode::BAD_REQUEST)) };
    match upstream.client.request(request).await {
        Ok(mut response) => {
            response.headers_mut().remove(CONNECTION);
            Ok(response.map(BodyExt::boxed))
        }
        Err(_) => Ok(empty(StatusCode::BAD_GATEWAY)),
    }
}

/// The request for the backend: HTTP/1.1, its host as the client named it.
fn rewrite(backend: &Authority, mut request: Request<Incoming>) -> Option<Request<Incoming>> {
    if let Some(host) = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok()) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(backend.clone());
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().remove(CONNECTION);
    Some(request)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}
