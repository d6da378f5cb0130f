//! WebSockets (RFC 6455), by `tungstenite` on both sides: the echo that backends have, and a client.
//!
//! Goes in: a request that asks for one, or an address. Comes out: the answer to it, or a connection. Every message of
//! text or bytes comes back as it went.

use crate::client;
use crate::netns::Namespace;
use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The version of RFC 6455.
const VERSION: &str = "13";

/// Whether a request asks for a WebSocket.
#[must_use]
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Agrees, and echoes from then on; another version than 13 is refused with 426, a request without key with 400.
pub fn accept<B>(request: &mut Request<B>) -> Response<Bytes> {
    let headers = request.headers();
    let mut response = Response::new(Bytes::new());
    let fields = [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static("websocket"))];
    response.headers_mut().extend(fields.map(|(name, value)| (Some(name), value)));
    if headers.get("sec-websocket-version").is_none_or(|version| version != VERSION) {
        response.headers_mut().insert("sec-websocket-version", HeaderValue::from_static(VERSION));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    }
    let accept = headers.get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    response.headers_mut().insert("sec-websocket-accept", accept);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        // It fails when the client went away before the answer.
        if let Ok(upgraded) = upgraded.await {
            echo(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await).await;
        }
    });
    response
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// A client's connection in the clear.
///
/// # Errors
/// When nobody listens, or the answer is not an agreement.
pub async fn plain(from: &Namespace, to: SocketAddr, url: &str) -> Result<WebSocketStream<TcpStream>> {
    Ok(client_async(url, dial(from, to)?).await?.0)
}

/// A client's connection through TLS, with the host of the URL as server name.
///
/// # Errors
/// As [`plain`], and when the handshake fails.
pub async fn tls(from: &Namespace, to: SocketAddr, url: &str) -> Result<WebSocketStream<TlsStream<TcpStream>>> {
    let host = url.parse::<hyper::Uri>()?.host().context("a URL with a host")?.to_owned();
    let connector = TlsConnector::from(Arc::new(client::config()?));
    let stream = connector.connect(ServerName::try_from(host)?, dial(from, to)?).await?;
    Ok(client_async(url, stream).await?.0)
}

/// Sends a message and reads the next one.
///
/// # Errors
/// What the connection says, also when it ends.
pub async fn ask<S>(socket: &mut WebSocketStream<S>, message: Message) -> Result<Message, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.send(message).await?;
    socket.next().await.unwrap_or(Err(Error::ConnectionClosed))
}

fn dial(from: &Namespace, to: SocketAddr) -> Result<TcpStream> {
    let stream = from.connect(to).with_context(|| format!("connect to {to} from {}", from.name()))?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}
