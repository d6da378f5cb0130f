//! Request heads. Where a head ends does not depend on how it arrives; what is accepted is one request for the next reader
//! too: the same method, target, host and length, and no byte that could end a line.

use lb_userspace::proxy::fuzz::{self, Body};

/// Fields that a head may have (`config::Limits::head_fields_max`).
const FIELDS_MAX: usize = 100;

/// The target.
pub fn run(data: &[u8]) {
    let end = fuzz::head_end(data, usize::MAX);
    for piece in [1, 2, 3, 7] {
        assert_eq!(fuzz::head_end(data, piece), end, "in pieces of {piece}");
    }
    let Ok(Some(end)) = end else { return };
    let Some(request) = fuzz::request(&data[..end]) else { return };
    let once = &request.forwarded;
    assert_eq!(fuzz::head_end(once, usize::MAX), Ok(Some(once.len())), "{once:?}");
    check_by_httparse(once, &request);
    // What we add may be too much for the limits that the client's head has kept to.
    if once.iter().filter(|byte| **byte == b'\n').count() > FIELDS_MAX {
        return;
    }
    // HTTP/1.0 may come without a host; what is sent on is HTTP/1.1, with an empty one.
    let again = fuzz::request(once).expect("what is sent on is accepted");
    assert_eq!(
        (&again.method, &again.target, &again.authority, again.body),
        (&request.method, &request.target, &request.authority, request.body)
    );
}

fn check_by_httparse(head: &[u8], request: &fuzz::Request) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut fields);
    let used = parsed.parse(head).expect("well formed");
    assert_eq!(used, httparse::Status::Complete(head.len()));
    assert_eq!((parsed.method, parsed.path, parsed.version), (Some(&*request.method), Some(&*request.target), Some(1)));
    let values = |name: &str| -> Vec<&[u8]> {
        parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    assert_eq!(values("host"), [request.authority.as_bytes()]);
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match request.body {
        Body::None => assert!(lengths.is_empty() && codings.is_empty()),
        Body::Sized(size) => assert!(lengths == [size.to_string().as_bytes()] && codings.is_empty()),
        Body::Chunked => assert!(lengths.is_empty() && codings == [&b"chunked"[..]]),
        Body::UntilClose => panic!("a request ends with its connection"),
    }
    for name in ["te", "keep-alive", "proxy-connection", "trailer", "expect", "proxy"] {
        assert!(values(name).is_empty(), "{name} passed");
    }
}
