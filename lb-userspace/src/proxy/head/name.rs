//! Field names that a proxy must know: those that frame a message, end at a hop, or are ours to state.
//!
//! Goes in: a field name. Comes out: a [`Name`]. A name with `_` where one of these has `-` is a [`Name::Lookalike`]:
//! many backends (CGI, WSGI) read both as the same, so it could be used to forge what we state.

/// What a field is to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the fields")]
pub enum Name {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Te,
    Date,
    Server,
    RequestId,
    ForwardedFor,
    ForwardedHost,
    Hsts,
    Upgrade,
    /// Ends at this hop, or is stated by us: never passed on.
    Dropped,
    /// One of the above or below, written with `_`.
    Lookalike,
    /// Everything else: passed on.
    Other,
}

/// Finds out what a field is.
pub fn classify(name: &str) -> Name {
    let known = match name.len() {
        2 => [("te", Name::Te)].as_slice(),
        4 => &[("host", Name::Host), ("date", Name::Date)],
        5 => &[("proxy", Name::Dropped)],
        6 => &[("expect", Name::Expect), ("server", Name::Server)],
        7 => &[("upgrade", Name::Upgrade), ("trailer", Name::Dropped)],
        8 => &[("x-scheme", Name::Dropped)],
        9 => &[("x-real-ip", Name::Dropped)],
        10 => &[("connection", Name::Connection), ("keep-alive", Name::Dropped)],
        12 => &[("x-request-id", Name::RequestId)],
        14 => &[("content-length", Name::ContentLength), ("http2-settings", Name::Dropped)],
        15 => &[("x-forwarded-for", Name::ForwardedFor), ("ssl-client-cert", Name::Dropped)],
        16 => &[
            ("x-forwarded-host", Name::ForwardedHost),
            ("x-forwarded-port", Name::Dropped),
            ("proxy-connection", Name::Dropped),
        ],
        17 => &[
            ("x-forwarded-proto", Name::Dropped),
            ("transfer-encoding", Name::TransferEncoding),
            ("ssl-client-verify", Name::Dropped),
        ],
        18 => &[("x-forwarded-scheme", Name::Dropped)],
        20 => &[("ssl-client-issuer-dn", Name::Dropped)],
        21 => &[("ssl-client-subject-dn", Name::Dropped)],
        24 => &[("x-original-forwarded-for", Name::Dropped)],
        25 => &[("x-original-forwarded-host", Name::Dropped), ("strict-transport-security", Name::Hsts)],
        _ => return Name::Other,
    };
    for (text, kind) in known {
        if name.eq_ignore_ascii_case(text) {
            return *kind;
        }
        if name.contains('_') && name.replace('_', "-").eq_ignore_ascii_case(text) {
            return Name::Lookalike;
        }
    }
    Name::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count_and_underscores_do_not_hide() {
        for (name, want) in [
            ("Host", Name::Host),
            ("CONTENT-LENGTH", Name::ContentLength),
            ("content_length", Name::Lookalike),
            ("X_Forwarded-For", Name::Lookalike),
            ("x-real-ip", Name::Dropped),
            ("Keep-Alive", Name::Dropped),
            ("TE", Name::Te),
            ("api_key", Name::Other),
            ("x-custom", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(classify(name), want, "{name}");
        }
    }
}
