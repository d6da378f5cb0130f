//! gRPC through the agent, with `tonic` as the client: unary and streamed calls, trailers, status, deadlines.
//!
//! The server is made of the crate `h2`: a message comes back as it went, and the status is in the trailers.

use bytes::{Buf, BufMut, Bytes};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, Uri};
use lb_tests::agent::Setup;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{ingress, service};
use lb_tests::scratch::Scratch;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Messages as they are: gRPC does not ask for protobuf.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// Serves on a socket of the pods until the process ends.
fn serve(lab: &Lab, address: SocketAddr) {
    let listener = lab.pods.run(|| TcpListener::bind(address).expect("bound"));
    listener.set_nonblocking(true).expect("it can be");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.ok()?;
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(call(request, respond));
                    }
                    Some(())
                });
            }
        });
    });
}

async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<()> {
    let path = request.uri().path().to_owned();
    if path == "/echo.Echo/Silent" {
        return std::future::pending().await;
    }
    let mut body = request.into_body();
    let head = Response::builder().header("content-type", "application/grpc").body(()).ok()?;
    let mut send = respond.send_response(head, false).ok()?;
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        push(&mut send, piece).await?;
    }
    let mut trailers = HeaderMap::new();
    let (status, message) = if path == "/echo.Echo/Fail" { ("9", "as asked") } else { ("0", "") };
    trailers.insert("grpc-status", status.parse().ok()?);
    trailers.insert("grpc-message", message.parse().ok()?);
    trailers.insert("x-sum", "17".parse().ok()?);
    send.send_trailers(trailers).ok()
}

async fn push(send: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        send.send_data(data.split_to(room.min(data.len())), false).ok()?;
    }
    Some(())
}

/// Runs a client in its namespace, through an agent whose Ingress says GRPC.
fn in_lab<F: Future<Output = ()>>(client: impl FnOnce() -> F + Send) {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let address = pod(10, 8080);
    let annotation = "metadata: {annotations: {nginx.ingress.kubernetes.io/backend-protocol: GRPC}, ";
    let annotated = ingress("calls", "", &[("Prefix", "/", "calls", 80)]).replace("metadata: {", annotation);
    manifests.write("calls.yaml", annotated);
    manifests.write("service.yaml", service("calls", 80, &[address]));
    serve(&lab, address);
    let agent = Setup::default().start(&lab, manifests.path());
    lab.client.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), client()).await.expect("in time");
        });
    });
    agent.stop();
}

/// As [`in_lab`], with a channel of tonic.
fn with_agent<F: Future<Output = ()>>(client: impl FnOnce(Grpc<Channel>) -> F + Send) {
    in_lab(|| async {
        let uri = format!("http://{HTTP}").parse::<Uri>().expect("a URI");
        let channel = Endpoint::from(uri).connect().await.expect("connected");
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.expect("ready");
        client(grpc).await;
    });
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/echo.Echo/{method}").parse().expect("a path")
}

#[test]
fn a_call_and_its_status() {
    with_agent(|mut grpc| async move {
        let message = vec![7; 100_000];
        let answer = grpc.unary(tonic::Request::new(message.clone()), path("Same"), Raw).await.expect("a reply");
        assert_eq!(answer.metadata().get("x-sum").map(|v| v.as_bytes()), Some(b"17".as_slice()));
        assert_eq!(answer.into_inner(), message);
        grpc.ready().await.expect("ready");
        let failed = grpc.unary(tonic::Request::new(vec![1]), path("Fail"), Raw).await.expect_err("a failure");
        assert_eq!((failed.code(), failed.message()), (Code::FailedPrecondition, "as asked"));
    });
}

#[test]
fn both_directions_of_a_streamed_call_flow_at_once() {
    with_agent(|mut grpc| async move {
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let messages = tokio_stream::wrappers::ReceiverStream::new(receive);
        send.send(vec![0]).await.expect("sent");
        let answer = grpc.streaming(tonic::Request::new(messages), path("Chat"), Raw).await.expect("a stream");
        let mut replies = answer.into_inner();
        for i in 1..50_u8 {
            assert_eq!(replies.next().await.expect("one").expect("a message"), vec![i - 1]);
            send.send(vec![i]).await.expect("sent");
        }
        drop(send);
        assert_eq!(replies.next().await.expect("the last").expect("a message"), vec![49]);
        assert!(replies.next().await.is_none());
    });
}

#[test]
fn a_deadline_is_kept_by_the_agent() {
    // tonic would end the call itself; this client only states the deadline.
    in_lab(|| async {
        let tcp = tokio::net::TcpStream::connect(HTTP).await.expect("connected");
        let (mut send, connection) = h2::client::handshake(tcp).await.expect("a handshake");
        tokio::spawn(async move { drop(connection.await) });
        let call = Request::post(format!("http://site.test{}", path("Silent")))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "300m");
        let (answer, _) = send.send_request(call.body(()).expect("a call"), true).expect("sent");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
    });
}
