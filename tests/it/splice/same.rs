//! Whoever carries a connection, both sides see the same bytes of the first request and its answer.

use super::{Stage, bound, connect, read_head};
use lb_tests::lab::HTTP;
use std::io::{Read, Write};

/// Requests, with the answer of the backend to each: what is special about it is in the path.
const CASES: [(&str, &str); 5] = [
    ("GET /plain?a=b HTTP/1.1\r\nHost: raw.test\r\nAccept: */*\r\nx-CASE: Kept\r\n\r\n", "Content-Length: 2\r\n\r\nok"),
    ("GET /empty HTTP/1.1\r\nHost: RAW.test:80\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", "Content-Length: 0\r\n\r\n"),
    (
        "POST /body HTTP/1.1\r\nHost: raw.test\r\nContent-Length: 5\r\n\r\nhello",
        "X-One: 1\r\nContent-Length: 3\r\n\r\nyes",
    ),
    ("GET /chunks HTTP/1.1\r\nHost: raw.test\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("HEAD /head HTTP/1.1\r\nHost: raw.test\r\n\r\n", "Content-Length: 100\r\n\r\n"),
];

/// What the backend and the client see. The one number that differs by itself is given by the client.
fn seen(stage: &Stage, request: &str, answer: &str) -> (String, String) {
    let mut client = connect(&stage.lab.client, HTTP);
    let request = request.replacen("\r\n", "\r\nX-Request-ID: 00112233445566778899aabbccddeeff\r\n", 1);
    client.write_all(request.as_bytes()).expect("sent");
    let (mut backend, _) = stage.raw.accept().expect("the agent dials");
    bound(&backend);
    let mut up = read_head(&mut backend);
    let body = request.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    up += &read(&mut backend, body);
    let answer = format!("HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: raw\r\n{answer}");
    backend.write_all(answer.as_bytes()).expect("sent");
    let mut down = read_head(&mut client);
    let body = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    down += &read(&mut client, body);
    (up, down)
}

fn read(stream: &mut impl Read, bytes: usize) -> String {
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).expect("bytes come");
    String::from_utf8(body).expect("bodies here are text")
}

#[test]
fn requests_and_answers_are_the_same_to_the_byte() {
    let (carried, ours) = (Stage::new(), Stage::with(&["--splice=off"]));
    for (request, answer) in CASES {
        assert_eq!(seen(&carried, request, answer), seen(&ours, request, answer), "{request}");
    }
    carried.expect_connections("spliced", "opted-in", CASES.len() as u64);
    ours.expect_connections("per-request", "unavailable", CASES.len() as u64);
    carried.end();
}
