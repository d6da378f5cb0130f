//! Streams of one HTTP/2 connection that name another host than TLS was set up for (RFC 9110 section 15.5.20).

use crate::rig::{Backend, PATIENCE, Rig};
use crate::tls::config;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn connect(to: SocketAddr, name: &str) -> SendRequest<Bytes> {
    let mut config = ClientConfig::clone(&config(rustls::ALL_VERSIONS));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let tcp = TcpStream::connect(to).await.expect("connected");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake");
    let (_, session): (_, &ClientConnection) = tls.get_ref();
    assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()), "it is offered first");
    let (send, connection) = h2::client::handshake(tls).await.expect("a connection");
    tokio::spawn(async move {
        // How it ended, the requests say.
        let _ = connection.await;
    });
    send.ready().await.expect("ready")
}

async fn ask(send: &mut SendRequest<Bytes>, authority: &str) -> u16 {
    let request = Request::get(format!("https://{authority}/")).body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("sent");
    response.await.expect("a response").status().as_u16()
}

#[test]
fn they_are_421_and_the_others_go_on() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let work = async {
        let mut send = connect(rig.https, "a.test").await;
        for (authority, want) in [
            ("a.test", 200),
            ("b.test", 421),
            ("A.Test:8443", 200),
            ("a.test.b.test", 421),
            ("127.0.0.1", 421),
            ("a.test.", 200),
        ] {
            assert_eq!(ask(&mut send, authority).await, want, "{authority}");
        }
        // A client without a server name cannot know better.
        let mut send = connect(rig.https, "127.0.0.1").await;
        for authority in ["127.0.0.1", "a.test", "b.test"] {
            assert_eq!(ask(&mut send, authority).await, 200, "{authority}");
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") });
    assert_eq!(backend.seen().len(), 6);
}
