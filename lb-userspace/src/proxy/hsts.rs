//! `Strict-Transport-Security` (RFC 6797): clients that saw it come by HTTPS alone.
//!
//! Goes in: settings. Comes out: a field. Does not decide where it is sent: over TLS, to hosts with a certificate of
//! their own, and not where the backend says it itself.

use crate::config::Hsts;
use std::io::Write as _;

/// Name of the field.
pub const NAME: &str = "Strict-Transport-Security";

/// Value of the field.
pub fn value(hsts: Hsts) -> Vec<u8> {
    let mut value = Vec::with_capacity(64);
    // Writing to a Vec cannot fail.
    let _ = write!(value, "max-age={}", hsts.max_age_s);
    if hsts.subdomains {
        value.extend_from_slice(b"; includeSubDomains");
    }
    if hsts.preload {
        value.extend_from_slice(b"; preload");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;

    #[test]
    fn directives_are_those_of_the_settings() {
        let check = |hsts, want: &str| assert_eq!(String::from_utf8_lossy(&value(hsts)), want);
        check(Tls::default().hsts.expect("on"), "max-age=31536000; includeSubDomains");
        check(Hsts { max_age_s: 0, subdomains: false, preload: false }, "max-age=0");
        check(Hsts { max_age_s: 9, subdomains: true, preload: true }, "max-age=9; includeSubDomains; preload");
    }
}
