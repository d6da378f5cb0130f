//! The HTTP server of administration. One thread, one runtime, two doors: a TCP address and a Unix socket.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process works |
//! | `/readyz` | 200 when a whole Snapshot serves, else 503 with the reason |
//! | `/metrics` | OpenMetrics |
//! | `/v1/{status,routes,backends,certs,listeners,problems,flows}` | JSON |
//! | `/v1/explain?url=…` | JSON: what would happen to that request |
//! | `/` | the dashboard |
//! | POST `/v1/flows/reset?{all,id=N,client=IP,backend=ADDR:PORT}` | on the Unix socket alone: JSON, how many were reset |

use super::answer::{text, typed};
use super::flows::Which;
use super::inspect::{Inspect, Readiness, SpliceStatus};
use super::{metrics, view};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_core::explain::{self, Question};
use serde::Serialize;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections served at once; each takes about 20 KB.
const CONNECTIONS_MAX: usize = 64;
/// A client must send its head within this time.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// Which door a request came through. Whoever may write to the Unix socket may change things; on TCP nobody asks who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Tcp,
    Unix,
}

const DASHBOARD: &str = include_str!("dashboard.html");

/// Administration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The TCP address cannot be bound.
    #[error("cannot serve administration on {address}: {source}. Choose another address with --admin")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error("cannot make the control socket {path}: {source}. Choose another directory with --run-dir")]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime cannot be made.
    #[error("cannot start the administration thread: {0}")]
    Thread(std::io::Error),
}

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct Server {
    /// The TCP address that it really got.
    pub address: SocketAddr,
}

impl Server {
    /// Binds both doors, then serves on a thread of its own.
    ///
    /// # Errors
    /// [`AdminError`] when a door cannot be bound.
    pub fn start(address: SocketAddr, socket: &Path, inspect: Arc<dyn Inspect>) -> Result<Self, AdminError> {
        let tcp = std::net::TcpListener::bind(address).map_err(|source| AdminError::Address { address, source })?;
        let unix = bind_socket(socket).map_err(|source| AdminError::Socket { path: socket.to_owned(), source })?;
        tcp.set_nonblocking(true).and_then(|()| unix.set_nonblocking(true)).map_err(AdminError::Thread)?;
        let bound = tcp.local_addr().map_err(AdminError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serve(tcp, unix, inspect)))
            .map_err(AdminError::Thread)?;
        Ok(Self { address: bound })
    }
}

/// A socket file that was left behind is replaced: the lock of the run directory says that nobody serves it.
fn bind_socket(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    // Whatever the umask says: who connects may end connections.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

async fn serve(tcp: std::net::TcpListener, unix: std::os::unix::net::UnixListener, inspect: Arc<dyn Inspect>) {
    let (tcp, unix) = match (TcpListener::from_std(tcp), UnixListener::from_std(unix)) {
        (Ok(tcp), Ok(unix)) => (tcp, unix),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "administration cannot be served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let inspect = inspect.clone();
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => spawn(stream, Door::Tcp, inspect, place),
                Err(error) => pause(&error).await,
            },
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => spawn(stream, Door::Unix, inspect, place),
                Err(error) => pause(&error).await,
            },
        }
    }
}

/// Out of file descriptors, most likely: trying again at once would only burn a core.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "administration cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn spawn<S>(stream: S, door: Door, inspect: Arc<dyn Inspect>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        connection(stream, door, inspect).await;
        drop(place);
    });
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door, inspect: Arc<dyn Inspect>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let inspect = inspect.clone();
        async move { Ok::<_, Infallible>(answer(&request, door, &inspect)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an administration connection ended early");
    }
}

fn answer<B>(request: &Request<B>, door: Door, inspect: &Arc<dyn Inspect>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/v1/flows/reset" {
        return reset(request, door, inspect);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "administration is read-only: use GET\n");
    }
    let published = inspect.published();
    match request.uri().path() {
        "/" => typed("text/html; charset=utf-8", DASHBOARD),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match inspect.readiness() {
            Readiness::Ready => text(StatusCode::OK, "ready\n"),
            Readiness::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting: no whole Snapshot serves yet\n"),
            Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining: SIGTERM came\n"),
        },
        "/metrics" => typed(metrics::CONTENT_TYPE, metrics::render(inspect)),
        "/v1/status" => json(&inspect.status()),
        "/v1/routes" => json(&view::routes(&published.snapshot)),
        "/v1/backends" => json(&view::backends(&published)),
        "/v1/certs" => json(&view::certificates(&published.snapshot)),
        "/v1/listeners" => json(&inspect.listeners()),
        "/v1/problems" => json(&*inspect.problems()),
        "/v1/flows" => {
            let SpliceStatus { active, reason, .. } = inspect.status().splicing;
            json(&serde_json::json!({ "active": active, "reason": reason, "flows": inspect.flows() }))
        }
        "/v1/explain" => match request.uri().query().and_then(explained) {
            Some((client, url)) => match parse_url(&url) {
                Some(question) => json(&explain::explain(&published.snapshot, Question { client, ..question })),
                None => text(StatusCode::BAD_REQUEST, "url must be http://host[:port]/path or https://…\n"),
            },
            None => text(StatusCode::BAD_REQUEST, "the query must be [client=ADDRESS&]url=…, with % escapes\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "no such page; see docs/operate.md\n"),
    }
}

/// Ends connections that the kernel carries.
fn reset<B>(request: &Request<B>, door: Door, inspect: &Arc<dyn Inspect>) -> Response<Full<Bytes>> {
    if door != Door::Unix {
        return text(StatusCode::FORBIDDEN, "only the control socket takes this: use sluice flows reset\n");
    }
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "this changes something: use POST\n");
    }
    let Some(which) = request.uri().query().and_then(unescape).and_then(|query| Which::parse(&query)) else {
        return text(StatusCode::BAD_REQUEST, "the query must be all, id=N, client=IP or backend=ADDR:PORT\n");
    };
    match inspect.reset_flows(&which) {
        Some(count) => json(&serde_json::json!({ "reset": count })),
        None => {
            let reason = inspect.status().splicing.reason;
            text(StatusCode::CONFLICT, &format!("the kernel carries no connections ({reason})\n"))
        }
    }
}

/// Splits an absolute URL into what routing looks at. The fragment is dropped, an empty path becomes `/`.
#[must_use]
pub fn parse_url(url: &str) -> Option<Question<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return None;
    }
    let target = if target.is_empty() { "/" } else { target };
    target.starts_with('/').then_some(Question { secure, authority, target, client: None })
}

/// The query of an explanation: the client, if it is named, and then the URL, which is all the rest.
fn explained(query: &str) -> Option<(Option<IpAddr>, String)> {
    let (client, rest) = match query.strip_prefix("client=") {
        Some(named) => named.split_once('&').and_then(|(client, rest)| Some((Some(client.parse().ok()?), rest)))?,
        None => (None, query),
    };
    Some((client, unescape(rest.strip_prefix("url=")?)?))
}

fn unescape(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|d| !d.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => typed("application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot be shown as JSON: {error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::Fake;
    use http_body_util::BodyExt;

    #[test]
    fn urls() {
        let check = |url: &str, want: Option<(bool, &str, &str)>| {
            let got = parse_url(url).map(|q| (q.secure, q.authority, q.target));
            assert_eq!(got, want, "{url}");
        };
        check("http://a.b:80/c?d#e", Some((false, "a.b:80", "/c?d")));
        check("https://a", Some((true, "a", "/")));
        check("ftp://a/", None);
        check("http://u@a/", None);
        check("http://a?x", None);
        check("/path", None);
    }

    #[test]
    fn queries() {
        let check = |query: &str, want: Option<(Option<[u8; 4]>, &str)>| {
            let want = want.map(|(client, url)| (client.map(IpAddr::from), url.to_owned()));
            assert_eq!(explained(query), want, "{query}");
        };
        check("url=http%3A%2F%2Fa%2Fb", Some((None, "http://a/b")));
        check("client=192.0.2.1&url=http://a/?b&c", Some((Some([192, 0, 2, 1]), "http://a/?b&c")));
        check("client=nobody&url=http://a/", None);
        check("client=192.0.2.1", None);
        check("url=%", None);
        check("url=%+1", None);
        check("url=%ff", None);
        check("other=1", None);
    }

    /// Status and body of an answer.
    fn asked(fake: Fake, door: Door, method: Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(()).expect("a request");
        let inspect: Arc<dyn Inspect> = Arc::new(fake);
        let response = answer(&request, door, &inspect);
        let status = response.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let body = runtime.block_on(response.into_body().collect()).expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn only_the_unix_socket_ends_connections() {
        let check = |door, method, query: &str, want: u16, part: &str| {
            let (status, body) = asked(Fake::default(), door, method, &format!("/v1/flows/reset{query}"));
            assert!(status == want && body.contains(part), "{query} {door:?}: {status} {body}");
        };
        check(Door::Unix, Method::POST, "?all", 200, "{\"reset\":1}");
        check(Door::Unix, Method::POST, "?id=7", 200, "{\"reset\":1}");
        check(Door::Unix, Method::POST, "?client=2001%3Adb8%3A%3A1", 200, "{\"reset\":0}");
        check(Door::Unix, Method::POST, "?everything", 400, "all, id=N");
        check(Door::Unix, Method::POST, "", 400, "all, id=N");
        check(Door::Unix, Method::GET, "?all", 405, "POST");
        check(Door::Tcp, Method::POST, "?all", 403, "control socket");
        let nothing = Fake { carries: false, ..Fake::default() };
        let (status, body) = asked(nothing, Door::Unix, Method::POST, "/v1/flows/reset?all");
        assert!(status == 409 && body.contains("for a test"), "{status} {body}");
    }

    #[test]
    fn flows_are_shown_at_both_doors() {
        for door in [Door::Unix, Door::Tcp] {
            let (status, body) = asked(Fake::default(), door, Method::GET, "/v1/flows");
            let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(
                (status, &value["active"], &value["flows"][0]["backend"]),
                (200, &true.into(), &"10.0.0.2:8080".into())
            );
            assert_eq!(value["flows"][0]["bytes_down"], 2_000);
            let (status, _) = asked(Fake::default(), door, Method::POST, "/v1/flows");
            assert_eq!(status, 405);
        }
        let (_, body) = asked(Fake { carries: false, ..Fake::default() }, Door::Tcp, Method::GET, "/v1/flows");
        assert_eq!(body, "{\"active\":false,\"flows\":[],\"reason\":\"for a test\"}");
    }
}
