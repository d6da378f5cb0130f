//! Answers that are no tunnel: other statuses, and a 101 that agrees to something else.

use super::{ACCEPT, WEBSOCKET};
use crate::rig::{Backend, Rig, ok};

/// Sends an upgrade that the endpoint answers with `answer`, then another request on the connection.
fn declined(ask: &str, answer: &str, want: u16) {
    let first = answer.to_owned();
    let backend =
        Backend::http(move |seen| if seen.path() == "/t" { first.clone().into_bytes() } else { ok(b"second") });
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(format!("{ask}GET /second HTTP/1.1\r\nHost: a.test\r\nX-Real-IP: 6.6.6.6\r\n\r\n").as_bytes());
    assert_eq!(client.response().status, want, "{answer}");
    assert_eq!(rig.counters.tunnels.get(), 0, "{answer}");
    let second = client.response();
    assert_eq!(second.text(), "second", "{answer}");
    let seen = backend.seen();
    assert_eq!(seen.len(), 2, "{answer}");
    // It went through everything that a request goes through, on another connection.
    assert_eq!(seen[1].field("x-real-ip"), Some("127.0.0.1"), "{answer}");
    assert_eq!(backend.connections(), 2, "{answer}");
}

#[test]
fn any_other_status_is_an_ordinary_response_and_no_tunnel() {
    // "WebSocket smuggling": the version is refused, and what follows are requests to be routed.
    let bad_version = WEBSOCKET.replace("Version: 13", "Version: 777");
    let refused = "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Content-Length: 0\r\n\r\n";
    declined(&bad_version, refused, 426);
    for status in [200, 204, 304, 400, 403, 404, 500, 503] {
        let length = if status == 204 || status == 304 { "" } else { "Content-Length: 0\r\n" };
        declined(WEBSOCKET, &format!("HTTP/1.1 {status} Declined\r\nUpgrade: websocket\r\n{length}\r\n"), status);
    }
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::http(|_| interim.as_bytes().to_vec());
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(WEBSOCKET.as_bytes());
    assert_eq!((client.response().status, client.response().status), (103, 403));
}

#[test]
fn a_101_that_agrees_to_something_else_is_502() {
    let head = |version: &str, lines: &str| format!("{version} 101 Switching Protocols\r\n{lines}\r\n\r\n");
    let agreed = "Connection: Upgrade\r\nUpgrade: websocket";
    for answer in [
        head("HTTP/1.1", "X-Nothing: here"),
        head("HTTP/1.1", agreed),
        head("HTTP/1.1", &format!("{agreed}\r\nSec-WebSocket-Accept: c29tZWJvZHkgZWxzZSdzIGtleQ=")),
        head("HTTP/1.1", &format!("{agreed}\r\n{ACCEPT}\r\n{ACCEPT}")),
        head("HTTP/1.1", &format!("Upgrade: websocket\r\n{ACCEPT}")),
        head("HTTP/1.1", &format!("Connection: upgrade\r\n{ACCEPT}")),
        head("HTTP/1.1", &format!("Connection: upgrade\r\nUpgrade: h2c\r\n{ACCEPT}")),
        head("HTTP/1.1", &format!("{agreed}\r\nUpgrade: tcp\r\n{ACCEPT}")),
        head("HTTP/1.0", &format!("{agreed}\r\n{ACCEPT}")),
    ] {
        declined(WEBSOCKET, &answer, 502);
    }
    // Nobody asked.
    let plain = "GET /t HTTP/1.1\r\nHost: a.test\r\n\r\n";
    declined_without_upgrade(plain, &head("HTTP/1.1", &format!("{agreed}\r\n{ACCEPT}")));
    let keyless = "GET /t HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    declined_without_upgrade(keyless, &head("HTTP/1.1", &format!("{agreed}\r\n{ACCEPT}")));
}

fn declined_without_upgrade(ask: &str, answer: &str) {
    let bytes = answer.as_bytes().to_vec();
    let backend = Backend::http(move |_| bytes.clone());
    let rig = Rig::start(&[backend.address]);
    assert_eq!(rig.ask(ask.as_bytes()).status, 502, "{answer}");
    assert_eq!(rig.counters.tunnels.get(), 0);
}
