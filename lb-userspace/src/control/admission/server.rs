//! The HTTPS server of the webhook: one thread, one runtime, nothing of it on the request path.
//!
//! | path | answer |
//! |---|---|
//! | POST `/validate` | an AdmissionReview, answered; 400, 413 and 503 else, and the API server does what `failurePolicy` says |
//! | GET `/healthz` | 200 |
//!
//! Bounds: connections, reviews in work, bytes and time of each. Does not ask who is there: an API server shows no
//! certificate unless it was told to, and who asks learns only what an object of his own would come to.

use super::certificate::{Files, Look};
use super::queue::{Desk, Unanswered};
use super::{InvalidReview, REVIEW_BYTES_MAX};
use crate::config;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections at once. An API server keeps a few.
const CONNECTIONS_MAX: usize = 64;
/// Reviews that are read or answered at once, of 3 MB at most; others wait within their time.
const REVIEWS_MAX: usize = 8;
/// Time for a TLS handshake, and for the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Time for a review, from its head to its answer: less than the 5 seconds that the chart lets the API server wait.
const REVIEW_TIME_MAX: Duration = Duration::from_secs(4);
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The webhook cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The address cannot be bound.
    #[error("cannot serve admission on {address}: {source}. Choose another address with --admission")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the admission thread: {0}")]
    Thread(std::io::Error),
    /// The cryptographic library does not work.
    #[error("TLS of admission: {0}")]
    Tls(#[from] rustls::Error),
}

/// Binds, then serves on a thread of its own until the process ends. A certificate may come later.
///
/// # Errors
/// [`AdmissionError`].
pub fn start(settings: &config::Admission, desk: Desk) -> Result<SocketAddr, AdmissionError> {
    let address = settings.address;
    let listener =
        std::net::TcpListener::bind(address).map_err(|source| AdmissionError::Address { address, source })?;
    let bound = listener.local_addr().map_err(AdmissionError::Thread)?;
    listener.set_nonblocking(true).map_err(AdmissionError::Thread)?;
    let mut files = Files::new(settings);
    tell(&files.look());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(files.shown());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdmissionError::Thread)?;
    let work = move || {
        runtime.block_on(async {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    tell(&files.look());
                }
            });
            serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(Office::new(desk, REVIEW_TIME_MAX))).await;
        });
    };
    std::thread::Builder::new().name("admission".to_owned()).spawn(work).map_err(AdmissionError::Thread)?;
    Ok(bound)
}

fn tell(look: &Look) {
    match look {
        Look::Same => {}
        Look::New => tracing::info!("the certificate of admission was read"),
        Look::Broken(why) => {
            tracing::warn!(why, "no new certificate for admission: the last good one is shown, if any")
        }
    }
}

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, office: Arc<Office>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "admission cannot be served"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, office) = (tls.clone(), office.clone());
                tokio::spawn(async move {
                    connection(stream, tls, office).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn a core.
                tracing::warn!(%error, "admission cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, office: Arc<Office>) {
    let stream = match timeout(HEAD_TIME_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake with admission failed"),
        Err(_) => return,
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let office = office.clone();
        async move { Ok::<_, Infallible>(office.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection with admission ended early");
    }
}

/// What answers requests.
struct Office {
    desk: Desk,
    places: Semaphore,
    time_max: Duration,
}

impl Office {
    fn new(desk: Desk, time_max: Duration) -> Self {
        Self { desk, places: Semaphore::new(REVIEWS_MAX), time_max }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match (request.uri().path(), request.method()) {
            ("/validate", &Method::POST) => {}
            ("/validate", _) => return text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"),
            ("/healthz", &Method::GET) => return text(StatusCode::OK, "ok\n"),
            ("/healthz", _) => return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n"),
            _ => return text(StatusCode::NOT_FOUND, "there is /validate and /healthz\n"),
        }
        let reviewed = timeout(self.time_max, self.review(request.into_body())).await;
        reviewed.unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "the review took too long\n"))
    }

    async fn review<B>(&self, body: B) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let too_large = || text(StatusCode::PAYLOAD_TOO_LARGE, &format!("{}\n", InvalidReview::TooLarge));
        if body.size_hint().lower() > REVIEW_BYTES_MAX as u64 {
            return too_large();
        }
        let Ok(_place) = self.places.acquire().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "admission ends\n");
        };
        let body = match Limited::new(body, REVIEW_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return too_large(),
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("the body cannot be read: {error}\n")),
        };
        match self.desk.review(body).await {
            Ok(answer) => typed("application/json", answer),
            Err(Unanswered::Invalid(InvalidReview::TooLarge)) => too_large(),
            Err(why @ Unanswered::Invalid(_)) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            Err(why @ Unanswered::Busy) => text(StatusCode::TOO_MANY_REQUESTS, &format!("{why}\n")),
            Err(why @ Unanswered::NotReady) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        }
    }
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", body.to_owned());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::super::queue::queue;
    use super::*;
    use crate::config::Objects;
    use crate::control::store::Store;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    }

    fn request(method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        Request::builder().method(method).uri(path).body(Full::new(body.into())).expect("a request")
    }

    #[test]
    fn what_is_refused() {
        let (desk, mut reviews) = queue(&Objects::default());
        let office = Office::new(desk, Duration::from_secs(5));
        let work = async {
            let answers = async {
                while let Some(ask) = reviews.next().await {
                    reviews.answer(ask, &mut Store::default(), |_| true, 0);
                }
            };
            let asks = async {
                for (method, path, bytes, want) in [
                    (Method::GET, "/healthz", 0, 200),
                    (Method::POST, "/healthz", 0, 405),
                    (Method::GET, "/validate", 0, 405),
                    (Method::PUT, "/validate", 0, 405),
                    (Method::POST, "/", 0, 404),
                    (Method::POST, "/validate/x", 0, 404),
                    (Method::POST, "/validate", 10, 400),
                    (Method::POST, "/validate", REVIEW_BYTES_MAX, 400),
                    (Method::POST, "/validate", REVIEW_BYTES_MAX + 1, 413),
                ] {
                    let shown = format!("{method} {path} with {bytes} bytes");
                    let status = office.answer(request(method, path, vec![b' '; bytes])).await.status();
                    assert_eq!(status.as_u16(), want, "{shown}");
                }
                let body = br#"{"apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":"CREATE"}}"#;
                let answer = office.answer(request(Method::POST, "/validate", body.to_vec())).await;
                let status = answer.status();
                let body = answer.into_body().collect().await.expect("a body").to_bytes();
                let body = String::from_utf8_lossy(&body).into_owned();
                assert!(status == 200 && body.contains(r#""allowed":true"#), "{status} {body}");
            };
            tokio::select! {
                () = answers => panic!("the desk is open"),
                () = asks => {}
            }
        };
        run(work);
    }

    #[test]
    fn nobody_waits_for_long() {
        let (desk, reviews) = queue(&Objects::default());
        let office = Office::new(desk, Duration::from_millis(20));
        let ask =
            || async { office.answer(request(Method::POST, "/validate", b"{}".to_vec())).await.status().as_u16() };
        let (mut busy, mut late) = (0, 0);
        // Nobody takes them out, and those that gave up still fill the queue.
        for _ in 0..20 {
            match run(ask()) {
                429 => busy += 1,
                503 => late += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!((late, busy), (16, 4));
        drop(reviews);
        assert_eq!(run(ask()), 503);
    }
}
