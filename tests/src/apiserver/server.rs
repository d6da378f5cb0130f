//! A listener: TLS, and HTTP/1.1 or HTTP/2 as the client chose by ALPN; or HTTP/1.1 in the clear for the test's own tools.
//!
//! Goes in: a bound socket. Comes out: answered requests, until the server is stopped. While it is "away" the port is
//! closed and every connection is dropped; the port in the clear stays. Does not do: answering (`answer`).

use super::answer::answer;
use super::shared::Shared;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// Between two tries to get the port back.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// Serves on the calling thread until `stopped` resolves. Without TLS everyone is the administrator.
///
/// # Errors
/// When the runtime cannot be made.
pub(super) fn serve(
    listener: std::net::TcpListener,
    config: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        match config {
            Some(config) => drop(tokio::spawn(accept(listener, address, TlsAcceptor::from(config), shared))),
            None => drop(tokio::spawn(accept_plain(listener, shared))),
        }
        // Resolves with an error when the sender is dropped, which means the same.
        let _ = stopped.await;
        Ok(())
    })
}

async fn accept(mut listener: TcpListener, address: SocketAddr, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut away = shared.faults.away();
    loop {
        if *away.borrow_and_update() {
            drop(listener);
            shared.faults.is_closed(true);
            // The sender is in `shared`, which this task holds.
            let _ = away.wait_for(|is_away| !is_away).await;
            listener = bind(address).await;
            shared.faults.is_closed(false);
        }
        tokio::select! {
            _ = away.changed() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (acceptor, shared, away) = (acceptor.clone(), shared.clone(), shared.faults.away());
                    tokio::spawn(async move {
                        // An error means that the peer went away, which tests do on purpose.
                        let _ = connection(stream, acceptor, shared, away).await;
                    });
                }
                Err(error) => {
                    eprintln!("API server: accept: {error}");
                    tokio::time::sleep(REBIND_PAUSE).await;
                }
            },
        }
    }
}

async fn accept_plain(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // Without this an answer waits for the acknowledgement of its head. A failure costs time only.
                    let _ = stream.set_nodelay(true);
                    let service = service_fn(move |request| answer(shared.clone(), request, true));
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Err(error) => {
                eprintln!("API server: accept: {error}");
                tokio::time::sleep(REBIND_PAUSE).await;
            }
        }
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                eprintln!("API server: cannot get {address} back yet: {error}");
                tokio::time::sleep(REBIND_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    mut away: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let service = service_fn(move |request| answer(shared.clone(), request, false));
    let served = async {
        if is_http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).serve_connection(stream, service).await
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).serve_connection(stream, service).await
        }
    };
    tokio::select! {
        served = served => Ok(served?),
        _ = away.wait_for(|is_away| *is_away) => Ok(()),
    }
}
