//! HTTP/2 from clients and to endpoints: heads, bodies, trailers, errors, ends of connections.
//!
//! The other side is the crate `h2` here; broken frames and other clients are tried in `tests/it`.

mod ends;
mod websocket;

use crate::rig::{Backend, PATIENCE, Rig, chunked, dial, eventually, noise, ok, routes, snapshot};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use lb_core::Snapshot;
use lb_core::model::Upstream;
use lb_core::model::upstream::Protocol;
use lb_userspace::config::Limits;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};

/// Runs a client; what takes too long fails.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") })
}

/// A client with prior knowledge.
async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(address).await.expect("connected");
    let (send, connection) = h2::client::handshake(tcp).await.expect("a handshake");
    tokio::spawn(async move {
        // How it ended, the requests say.
        let _ = connection.await;
    });
    send.ready().await.expect("ready")
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.b{path}")).body(()).expect("a request")
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.b{path}")).body(()).expect("a request")
}

async fn collect(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((all, body.trailers().await?))
}

async fn exchange(send: &mut SendRequest<Bytes>, request: Request<()>, body: Option<Vec<u8>>) -> Answer {
    let (response, mut up) = send.send_request(request, body.is_none()).expect("sent");
    if let Some(body) = body {
        tokio::spawn(async move { push(&mut up, &body, None).await });
    }
    let (head, mut receive) = response.await.expect("a response").into_parts();
    let (body, trailers) = collect(&mut receive).await.expect("a body");
    Answer { head, body, trailers }
}

struct Answer {
    head: http::response::Parts,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn push(stream: &mut SendStream<Bytes>, mut body: &[u8], trailers: Option<HeaderMap>) -> Option<()> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
        let (now, rest) = body.split_at(room.min(body.len()));
        stream.send_data(Bytes::copy_from_slice(now), false).ok()?;
        body = rest;
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers).ok(),
        None => stream.send_data(Bytes::new(), true).ok(),
    }
}

/// An endpoint that speaks HTTP/2 without TLS, on a thread of its own.
struct H2Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl H2Backend {
    /// Serves each stream with `serve`.
    fn new<F, S>(serve: F) -> Self
    where
        F: Fn(Request<RecvStream>, h2::server::SendResponse<Bytes>) -> S + Send + Sync + Clone + 'static,
        S: Future<Output = Option<()>> + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
                tell.send(listener.local_addr().expect("an address")).expect("told");
                while let Ok((tcp, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let serve = serve.clone();
                    tokio::spawn(async move {
                        let mut connection = h2::server::handshake(tcp).await.ok()?;
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(serve(request, respond));
                        }
                        Some(())
                    });
                }
            });
        });
        Self { address: told.recv().expect("it started"), connections }
    }

    /// Sends back what comes, piece by piece, and the request's trailers after it.
    fn echo() -> Self {
        Self::new(|request, mut respond| async move {
            let (head, mut body) = request.into_parts();
            let mut answer = Response::new(());
            answer.headers_mut().insert("x-authority", head.uri.authority()?.as_str().parse().ok()?);
            answer.headers_mut().insert("x-te", head.headers.get("te").map_or("none".parse().ok()?, Clone::clone));
            let mut send = respond.send_response(answer, false).ok()?;
            while let Some(piece) = body.data().await {
                let piece = piece.ok()?;
                body.flow_control().release_capacity(piece.len()).ok()?;
                let mut rest = piece;
                while !rest.is_empty() {
                    send.reserve_capacity(rest.len());
                    let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
                    send.send_data(rest.split_to(room.min(rest.len())), false).ok()?;
                }
            }
            let mut trailers = body.trailers().await.ok()?.unwrap_or_default();
            trailers.insert("grpc-status", "0".parse().ok()?);
            send.send_trailers(trailers).ok()
        })
    }

    fn rig(&self) -> Rig {
        let upstream = Arc::new(Upstream { protocol: Protocol::Http2, ..Upstream::default() });
        let routes = routes(|route| route.upstream = upstream);
        Rig::with(Limits::default(), Snapshot { routes, ..snapshot(&[self.address]) })
    }
}

#[test]
fn heads_become_those_of_http_1_1_and_back() {
    let backend = Backend::http(|seen| {
        let mut answer = b"HTTP/1.1 201 Made\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n".to_vec();
        answer.extend_from_slice(&ok(seen.path().as_bytes())[b"HTTP/1.1 200 OK\r\n".len()..]);
        answer
    });
    let rig = Rig::start(&[backend.address]);
    let answer = run(async {
        let mut request = get("/path?query");
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append("cookie", crumb.parse().expect("a value"));
        }
        request.headers_mut().insert("x-forwarded-for", "1.2.3.4".parse().expect("a value"));
        exchange(&mut connect(rig.http).await, request, None).await
    });
    assert_eq!((answer.head.status.as_u16(), answer.body.as_slice()), (201, b"/path?query".as_slice()));
    assert_eq!(answer.head.headers["x-kept"], "2");
    assert_eq!(answer.head.headers["content-length"], "11");
    assert!(!answer.head.headers.contains_key("x-hop") && !answer.head.headers.contains_key("connection"));
    let seen = &backend.seen()[0];
    assert_eq!(seen.field("host"), Some("a.b"));
    assert_eq!(seen.field("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-original-forwarded-for"), Some("1.2.3.4"));
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let backend = Backend::http(|seen| ok(&seen.body));
    let h2_backend = H2Backend::echo();
    for rig in [Rig::start(&[backend.address]), h2_backend.rig()] {
        for size in [1, 16_384, 65_536, 1_000_000] {
            let body = noise(size);
            let answer = run(async { exchange(&mut connect(rig.http).await, post("/"), Some(body.clone())).await });
            assert!(answer.body == body, "{size} bytes");
        }
    }
}

#[test]
fn streams_of_a_connection_do_not_wait_for_one_another() {
    let backend = Backend::http(|seen| {
        if seen.path() == "/slow" {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        ok(seen.path().as_bytes())
    });
    let rig = Rig::start(&[backend.address]);
    run(async {
        let mut send = connect(rig.http).await;
        let (slow, _) = send.send_request(get("/slow"), true).expect("sent");
        for i in 0..50 {
            let path = format!("/{i}");
            assert_eq!(exchange(&mut send, get(&path), None).await.body, path.as_bytes());
        }
        let (_, mut body) = slow.await.expect("a response").into_parts();
        assert_eq!(collect(&mut body).await.expect("a body").0, b"/slow");
    });
    assert_eq!(rig.counters.connections_accepted.get(), 1);
    assert_eq!(rig.counters.requests.get(), 51);
}

#[test]
fn both_directions_of_a_stream_flow_at_once_and_trailers_pass_both_ways() {
    let backend = H2Backend::echo();
    let rig = backend.rig();
    run(async {
        let mut request = post("/chat");
        request.headers_mut().insert("te", "trailers".parse().expect("a value"));
        let (response, mut up) = connect(rig.http).await.send_request(request, false).expect("sent");
        let (head, mut down) = response.await.expect("a head before the body").into_parts();
        assert_eq!(head.headers["x-authority"], "a.b");
        assert_eq!(head.headers["x-te"], "trailers");
        for i in 0..20_u8 {
            up.send_data(Bytes::from(vec![i; 10]), false).expect("sent");
            assert_eq!(down.data().await.expect("more").expect("data"), vec![i; 10]);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().expect("a value"));
        trailers.insert("host", "evil".parse().expect("a value"));
        up.send_trailers(trailers).expect("sent");
        let (rest, trailers) = collect(&mut down).await.expect("an end");
        let trailers = trailers.expect("trailers");
        assert!(rest.is_empty());
        assert_eq!(
            (trailers["grpc-status"].as_bytes(), trailers["x-checksum"].as_bytes()),
            (b"0".as_slice(), b"7".as_slice())
        );
        assert!(!trailers.contains_key("host"));
    });
}

#[test]
fn trailers_of_chunked_bodies_pass() {
    let with_trailers = |body: &[u8]| {
        let mut bytes = chunked(body, 3);
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(b"X-Sum: 1\r\nContent-Length: 9\r\n\r\n");
        bytes
    };
    let backend = Backend::raw(move |stream, _| {
        let mut stream = std::io::BufReader::new(stream);
        while crate::rig::read_head(&mut stream).is_some() {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            answer.extend_from_slice(&with_trailers(b"abcdef"));
            stream.get_mut().write_all(&answer).expect("sent");
        }
    });
    let rig = Rig::start(&[backend.address]);
    let answer = run(async { exchange(&mut connect(rig.http).await, get("/"), None).await });
    assert_eq!(answer.body, b"abcdef");
    let trailers = answer.trailers.expect("trailers");
    assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, b"1".as_slice()));
    // HTTP/1.1 on both sides, read raw: the rig's client does not keep trailers.
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut all = String::new();
    std::io::Read::read_to_string(&mut client.stream, &mut all).expect("text");
    assert!(all.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{all:?}");
}

#[test]
fn clients_of_http_1_1_reach_endpoints_of_http_2() {
    let backend = H2Backend::echo();
    let rig = backend.rig();
    let mut client = rig.connect();
    for _ in 0..3 {
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, "abc"));
        assert_eq!(response.field("x-authority"), Some("a"));
    }
    assert_eq!(backend.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn many_requests_at_once_share_a_connection_to_the_endpoint() {
    let backend = H2Backend::echo();
    let rig = backend.rig();
    run(async {
        let mut send = connect(rig.http).await;
        let asked: Vec<_> = (0..90).map(|_| send.send_request(get("/"), true).expect("sent").0).collect();
        for response in asked {
            assert_eq!(response.await.expect("a response").status(), 200);
        }
    });
    assert_eq!(backend.connections.load(Ordering::Relaxed), 1);
    assert_eq!(rig.counters.upstream_connects.get(), 1);
}

#[test]
fn our_own_answers_have_the_form_that_the_client_understands() {
    let rig = Rig::start(&[]);
    run(async {
        let mut send = connect(rig.http).await;
        let answer = exchange(&mut send, get("/"), None).await;
        assert_eq!(answer.head.status, 503);
        assert!(String::from_utf8_lossy(&answer.body).contains("no endpoint"));
        let mut call = post("/a.B/C");
        call.headers_mut().insert("content-type", "application/grpc+proto".parse().expect("a value"));
        let answer = exchange(&mut send, call, Some(vec![0; 5])).await;
        assert_eq!((answer.head.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(answer.head.headers["grpc-status"], "14");
        assert!(answer.head.headers["grpc-message"].to_str().expect("text").contains("no endpoint"));
    });
}

/// Waits until something is true.
async fn eventually_async(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
