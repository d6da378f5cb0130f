//! Headers of the PROXY protocol. A whole header is whole at its size and not before, whatever follows it; what is no header
//! becomes none by more bytes.

use lb_userspace::proxy::fuzz;

/// The target.
pub fn run(data: &[u8]) {
    let mut before = Ok(None);
    for count in 0..=data.len() {
        let now = fuzz::proxy_protocol(&data[..count]);
        match before {
            Ok(None) => {}
            Err(_) => assert_eq!(now, before, "malformed at {} bytes, and not at {count}", count - 1),
            Ok(Some((bytes, _))) => assert_eq!(now, before, "whole at {bytes} bytes, and another at {count}"),
        }
        if let (Ok(None), Ok(Some((bytes, _)))) = (before, now) {
            assert_eq!(bytes, count, "a header was whole before its end");
        }
        before = now;
    }
}
