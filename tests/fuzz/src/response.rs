//! Response heads. What is accepted is one response for the next reader too, with the same status and a body whose end is
//! not in doubt.

use lb_userspace::proxy::fuzz::{self, Body};

/// Fields that a head may have (`proxy/head.rs`).
const FIELDS_MAX: usize = 128;

/// The target. The first byte says whether it answers HEAD.
pub fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let to_head = first & 1 != 0;
    let Ok(Some(end)) = fuzz::head_end(data, usize::MAX) else { return };
    let Some(response) = fuzz::response(&data[..end], to_head) else { return };
    if response.status < 200 {
        return;
    }
    let once = &response.forwarded;
    assert_eq!(fuzz::head_end(once, usize::MAX), Ok(Some(once.len())), "{once:?}");
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Response::new(&mut fields);
    assert_eq!(parsed.parse(once), Ok(httparse::Status::Complete(once.len())));
    assert_eq!(parsed.code, Some(response.status));
    // What we add may be too much for another of us, after as many fields as there may be.
    if once.iter().filter(|byte| **byte == b'\n').count() > FIELDS_MAX {
        return;
    }
    let again = fuzz::response(once, to_head).expect("what is sent on is accepted");
    let body = match response.body {
        // To a client of HTTP/1.1 such a body goes in chunks, so that its end can be told from a cut.
        Body::UntilClose => Body::Chunked,
        other => other,
    };
    assert_eq!((again.status, again.body), (response.status, body));
}
