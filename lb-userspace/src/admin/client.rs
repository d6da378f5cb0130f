//! The other end of the control socket: how the command line asks a running agent.

use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Largest answer that is read: 200,000 routes at about 600 bytes each.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// The agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens on the socket.
    #[error("no agent answers on {path}: {source}. Start one with `sluice run`, or name its directory with --run-dir")]
    NoAgent {
        /// Path of the socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the agent's answer broke off: {0}")]
    Broken(String),
    /// The agent refused.
    #[error("the agent answered {status}: {body}")]
    Refused {
        /// Status code.
        status: u16,
        /// Its words.
        body: String,
    },
}

/// Asks for a path and gives the body of the answer.
///
/// # Errors
/// [`AskError`].
pub fn ask(socket: &Path, path_and_query: &str) -> Result<String, AskError> {
    send(socket, Method::GET, path_and_query)
}

/// Has something done, and gives the body of the answer.
///
/// # Errors
/// [`AskError`].
pub fn tell(socket: &Path, path_and_query: &str) -> Result<String, AskError> {
    send(socket, Method::POST, path_and_query)
}

fn send(socket: &Path, method: Method, path_and_query: &str) -> Result<String, AskError> {
    let broken = |e: std::io::Error| AskError::Broken(e.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    runtime.block_on(async {
        tokio::time::timeout(ANSWER_TIME_MAX, exchange(socket, method, path_and_query))
            .await
            .unwrap_or_else(|_| Err(AskError::Broken(format!("nothing came for {ANSWER_TIME_MAX:?}"))))
    })
}

/// Escapes a value for a query (RFC 3986 section 2.3: all but unreserved characters).
#[must_use]
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() * 2);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

async fn exchange(socket: &Path, method: Method, path_and_query: &str) -> Result<String, AskError> {
    let broken = |e: hyper::Error| AskError::Broken(e.to_string());
    let stream =
        UnixStream::connect(socket).await.map_err(|source| AskError::NoAgent { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(header::HOST, "sluice")
        .body(Empty::<Bytes>::new())
        .map_err(|e| AskError::Broken(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    driver.abort();
    let body = body.map_err(|e| AskError::Broken(e.to_string()))?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(body) } else { Err(AskError::Refused { status: status.as_u16(), body }) }
}
