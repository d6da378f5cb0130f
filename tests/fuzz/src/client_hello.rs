//! ClientHellos. A whole message is whole at its size and not before, whatever follows it; what is none becomes none by more
//! bytes; and where the library that ends TLS reads the same bytes, it reads the same server name.

use lb_core::model::host;
use lb_userspace::proxy::fuzz;

/// Longest input whose every beginning is read, bytes: the work is quadratic.
const BEGINNINGS_BYTES_MAX: usize = 1_024;

/// The target.
pub fn run(data: &[u8]) {
    let whole = fuzz::client_hello(data);
    let mut before = Ok(None);
    for count in 0..=data.len().min(BEGINNINGS_BYTES_MAX) {
        let now = fuzz::client_hello(&data[..count]);
        match &before {
            Ok(None) => {}
            Err(_) => assert_eq!(now, before, "malformed at {} bytes, and not at {count}", count - 1),
            Ok(Some((bytes, _))) => assert_eq!(now, before, "whole at {bytes} bytes, and another at {count}"),
        }
        if let (Ok(None), Ok(Some((bytes, _)))) = (&before, &now) {
            assert_eq!(*bytes, count, "a message was whole before its end");
        }
        before = now;
    }
    if let Ok(Some((bytes, name))) = whole
        && let Some(Some(accepted)) = fuzz::accepted_name(&data[..bytes])
    {
        // rustls takes fewer names for such: none that is an address, and no label that begins with a hyphen.
        assert_eq!(name.as_deref().map(host::normalize), Some(host::normalize(&accepted)));
    }
}
