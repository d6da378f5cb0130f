//! The echo backend: HTTP/1.1 servers that answer every request with what they saw of it.
//!
//! Goes in: addresses, each with the identity it answers as. Comes out: an [`Echo`] in JSON for each request, except
//! for these paths: `/status/503`, `/delay/100` (milliseconds, then the echo), `/bytes/1000000`, `/slow-body` (ten
//! chunks, 100 ms apart), `/close` (the echo with `Connection: close`). A request for a WebSocket gets one that echoes. One
//! thread carries all addresses.

use crate::echo::{Echo, Identity, fnv1a};
use crate::netns::Namespace;
use crate::websocket;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Interval, interval};

/// Largest answer of `/bytes/N`: it is made in memory.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Chunks of `/slow-body`, their size in bytes and the time between two of them.
const SLOW_CHUNKS: u32 = 10;
const SLOW_CHUNK: &[u8] = &[b'.'; 1000];
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// Echo servers inside a namespace, stopped when dropped.
#[derive(Debug)]
pub struct Backends {
    requests: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backends {
    /// Starts a server on each address in the namespace. They answer when this returns.
    #[must_use]
    pub fn start(namespace: &Namespace, servers: Vec<(SocketAddr, Identity)>) -> Self {
        let bind = |(address, identity): (SocketAddr, Identity)| {
            let socket = TcpListener::bind(address)
                .unwrap_or_else(|error| panic!("the echo backend cannot bind {address}: {error}"));
            (socket, identity)
        };
        let listeners: Vec<_> = namespace.run(|| servers.into_iter().map(bind).collect());
        let requests = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let counter = requests.clone();
        let thread = std::thread::spawn(move || {
            serve(listeners, &counter, stopped).expect("the echo backend has what it needs to run");
        });
        Self { requests, stop: Some(stop), thread: Some(thread) }
    }

    /// Requests answered so far, all addresses together.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the thread of the echo backends panicked");
        }
    }
}

/// Serves on the calling thread until `stopped` resolves. Counts requests as they arrive.
///
/// # Errors
/// When the runtime or a listener cannot be set up.
pub fn serve(
    listeners: Vec<(TcpListener, Identity)>,
    requests: &Arc<AtomicU64>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (listener, identity) in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(accept(listener, Arc::new(identity), requests.clone()));
        }
        // Resolves with an error when the sender is dropped, which means the same.
        let _ = stopped.await;
        Ok(())
    })
}

async fn accept(listener: tokio::net::TcpListener, identity: Arc<Identity>, requests: Arc<AtomicU64>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("echo backend: accept: {error}");
                tokio::time::sleep(SLOW_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("echo backend: TCP_NODELAY: {error}");
        }
        let (identity, requests) = (identity.clone(), requests.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                requests.fetch_add(1, Ordering::SeqCst);
                answer(request, &identity)
            });
            // An error means that the peer went away, which tests do on purpose.
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn answer(mut request: Request<Incoming>, identity: &Identity) -> Result<Response<Content>, Infallible> {
    if websocket::is_asked(request.headers()) {
        return Ok(websocket::accept(&mut request).map(|body| Content::Whole(Full::new(body))));
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(plain(StatusCode::BAD_REQUEST, Bytes::from_static(b"the request body broke off\n")));
    };
    let path = head.uri.path().to_owned();
    let (verb, number) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match (verb, number.parse::<u64>().ok()) {
        ("status", Some(code)) => {
            let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
            return Ok(plain(code.unwrap_or(StatusCode::BAD_REQUEST), Bytes::from_static(b"as asked\n")));
        }
        ("bytes", Some(count)) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(BYTES_MAX);
            return Ok(plain(StatusCode::OK, pattern(count).into()));
        }
        ("slow-body", None) => {
            let content = Content::Slow { left: SLOW_CHUNKS, pause: interval(SLOW_PAUSE) };
            return Ok(response(StatusCode::OK, "text/plain", content));
        }
        ("delay", Some(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        _ => {}
    }
    let echo = serde_json::to_vec(&echo(&head, &body, identity)).expect("strings and maps of strings serialize");
    let mut response = response(StatusCode::OK, "application/json", Content::Whole(Full::new(echo.into())));
    if verb == "close" {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The body of `/bytes/N`: every offset has a byte that tells a shifted copy from a true one.
#[must_use]
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| b"0123456789abcdefghijklmnopqrstuvwxyz\n"[i % 37]).collect()
}

fn echo(head: &hyper::http::request::Parts, body: &[u8], identity: &Identity) -> Echo {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let host = head.headers.get(HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Echo {
        path: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        host: host.unwrap_or_default(),
        method: head.method.to_string(),
        proto: format!("{:?}", head.version),
        headers,
        identity: identity.clone(),
        tls: None,
        body_bytes: body.len(),
        body_fnv1a: fnv1a(body),
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Content> {
    response(status, "text/plain", Content::Whole(Full::new(body)))
}

fn response(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("sluice-echo"));
    response
}

/// The body of an answer.
enum Content {
    /// Known whole, so it goes with a Content-Length.
    Whole(Full<Bytes>),
    /// Chunked, with a pause before each chunk.
    Slow { left: u32, pause: Interval },
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(context),
            Self::Slow { left: 0, .. } => Poll::Ready(None),
            Self::Slow { left, pause } => pause.poll_tick(context).map(|_| {
                *left -= 1;
                Some(Ok(Frame::data(Bytes::from_static(SLOW_CHUNK))))
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Slow { .. } => SizeHint::default(),
        }
    }
}
