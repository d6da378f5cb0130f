//! The HTTPS server of the webhook: one thread, one runtime, nothing of it on the request path.
//!
//! | path | answer |
//! |---|---|
//! | POST `/validate` | an AdmissionReview, answered; 400, 413 and 503 else, and the API server does what `failurePolicy` says |
//! | GET `/healthz` | 200 |
//!
//! Bounds: connections, reviews in work, bytes and time of each. Does not ask who is there: an API server shows no
//! certificate unless it was told to, and who asks learns only what an object of his own would come to.

mod certificate;

use super::answer::{text, typed};
use crate::config::{self, REVIEW_BYTES_MAX};
use certificate::{Files, Look};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
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

/// Answers reviews. Declared here, implemented in `app`.
pub trait Review: Send + Sync + 'static {
    /// The bytes of an AdmissionReview become those of its answer. Dropping the future takes the review back.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn review(&self, body: Bytes) -> impl Future<Output = Result<Bytes, Unanswered>> + Send;
}

/// A review that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// More wait than may: 429.
    #[error("too many reviews wait")]
    Busy,
    /// There is nothing yet to answer it by: 503.
    #[error("the cluster has not been read whole yet")]
    NotReady,
    /// It cannot be answered at all, and this is why: 400.
    #[error("{0}")]
    Invalid(String),
}

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
pub fn start(settings: &config::Admission, reviewer: impl Review) -> Result<SocketAddr, AdmissionError> {
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
            serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(Office::new(reviewer, REVIEW_TIME_MAX)))
                .await;
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

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, office: Arc<Office<impl Review>>) {
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

async fn connection(stream: TcpStream, tls: TlsAcceptor, office: Arc<Office<impl Review>>) {
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
struct Office<R> {
    reviewer: R,
    places: Semaphore,
    time_max: Duration,
}

impl<R: Review> Office<R> {
    fn new(reviewer: R, time_max: Duration) -> Self {
        Self { reviewer, places: Semaphore::new(REVIEWS_MAX), time_max }
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
        let too_large =
            || text(StatusCode::PAYLOAD_TOO_LARGE, &format!("a review has at most {REVIEW_BYTES_MAX} bytes\n"));
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
        match self.reviewer.review(body).await {
            Ok(answer) => typed("application/json", answer),
            Err(why @ Unanswered::Invalid(_)) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            Err(why @ Unanswered::Busy) => text(StatusCode::TOO_MANY_REQUESTS, &format!("{why}\n")),
            Err(why @ Unanswered::NotReady) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    }

    fn request(method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        Request::builder().method(method).uri(path).body(Full::new(body.into())).expect("a request")
    }

    /// Refuses what begins with a space, waits for ever where it is told to.
    struct Fake(Option<Unanswered>);

    impl Review for Fake {
        async fn review(&self, body: Bytes) -> Result<Bytes, Unanswered> {
            match &self.0 {
                Some(why) => Err(why.clone()),
                None if body.is_empty() => std::future::pending().await,
                None if body.starts_with(b" ") => Err(Unanswered::Invalid("blank".to_owned())),
                None => Ok(body),
            }
        }
    }

    #[test]
    fn what_is_refused() {
        let office = Office::new(Fake(None), Duration::from_secs(5));
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
            let status = run(office.answer(request(method, path, vec![b' '; bytes]))).status();
            assert_eq!(status.as_u16(), want, "{shown}");
        }
        let answer = run(office.answer(request(Method::POST, "/validate", b"{}".to_vec())));
        let (status, kind) = (answer.status(), answer.headers()[header::CONTENT_TYPE].clone());
        let body = run(answer.into_body().collect()).expect("a body").to_bytes();
        assert_eq!((status.as_u16(), kind.as_bytes(), &body[..]), (200, &b"application/json"[..], &b"{}"[..]));
    }

    #[test]
    fn nobody_waits_for_long() {
        let check = |why: Option<Unanswered>, want: u16| {
            let office = Office::new(Fake(why), Duration::from_millis(20));
            let answer = run(office.answer(request(Method::POST, "/validate", Vec::new())));
            assert_eq!(answer.status().as_u16(), want);
        };
        check(None, 503);
        check(Some(Unanswered::Busy), 429);
        check(Some(Unanswered::NotReady), 503);
        let office = Office::new(Fake(None), Duration::from_millis(20));
        let all = || request(Method::POST, "/validate", b"{}".to_vec());
        let places = office.places.try_acquire_many(u32::try_from(REVIEWS_MAX).expect("few")).expect("all are free");
        assert_eq!(run(office.answer(all())).status(), 503, "no place became free in time");
        drop(places);
        assert_eq!(run(office.answer(all())).status(), 200);
    }
}
