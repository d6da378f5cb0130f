//! WebSockets on streams of HTTP/2 (RFC 8441).

use super::*;

/// An extended CONNECT (RFC 8441).
fn websocket(path: &str) -> Request<()> {
    let mut request =
        Request::builder().method("CONNECT").uri(format!("http://a.b{path}")).body(()).expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().expect("a value"));
    request.headers_mut().insert("sec-websocket-protocol", "chat".parse().expect("a value"));
    request
}

/// A client whose server has said that it takes extended CONNECT.
async fn connect_extended(address: SocketAddr) -> SendRequest<Bytes> {
    let send = connect(address).await;
    eventually_async(|| send.is_extended_connect_protocol_enabled()).await;
    send
}

/// The proof of a key (RFC 6455 section 4.2.2).
fn accept(key: &str) -> String {
    use base64::Engine;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

#[test]
fn a_websocket_on_a_stream_is_an_upgrade_to_the_endpoint() {
    let backend = Backend::raw(|stream, _| {
        let mut stream = std::io::BufReader::new(stream);
        let head = crate::rig::read_head(&mut stream).expect("a head");
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert_eq!(crate::rig::field(&head, "upgrade"), Some("websocket"));
        let accept = accept(crate::rig::field(&head, "sec-websocket-key").expect("a key"));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst"
        );
        stream.get_mut().write_all(answer.as_bytes()).expect("sent");
        let mut echoed = [0; 4];
        while std::io::Read::read_exact(&mut stream, &mut echoed).is_ok() {
            stream.get_mut().write_all(&echoed).expect("sent");
        }
    });
    let rig = Rig::start(&[backend.address]);
    run(async {
        let (response, mut up) =
            connect_extended(rig.http).await.send_request(websocket("/chat"), false).expect("sent");
        let (head, mut down) = response.await.expect("an answer").into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["sec-websocket-protocol"], "chat");
        for gone in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!head.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(down.data().await.expect("bytes").expect("data"), "first");
        for message in ["ping", "pong"] {
            up.send_data(Bytes::from(message), false).expect("sent");
            assert_eq!(down.data().await.expect("bytes").expect("data"), message);
        }
        up.send_data(Bytes::new(), true).expect("sent");
        assert!(collect(&mut down).await.expect("an end").0.is_empty());
    });
    assert_eq!(rig.counters.tunnels.get(), 1);
}

#[test]
fn a_websocket_that_is_not_agreed_to_is_no_success() {
    let check = |rig: Rig, want: u16| {
        run(async {
            let (response, _up) = connect_extended(rig.http).await.send_request(websocket("/"), false).expect("sent");
            assert_eq!(response.await.expect("an answer").status().as_u16(), want);
        });
    };
    check(Rig::start(&[Backend::echo().address]), 502);
    let refuses = Backend::http(|_| b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    check(Rig::start(&[refuses.address]), 403);
    let unproven = Backend::http(|_| {
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_vec()
    });
    check(Rig::start(&[unproven.address]), 502);
    check(H2Backend::echo().rig(), 501);
}
