//! `ssl-redirect` and `force-ssl-redirect`: plain HTTP is sent to the same place on HTTPS.

use super::{Answer, Request, Verdict};
use serde::Serialize;

/// Left alone, so that certificates can be ordered over plain HTTP (RFC 8555 section 8.3).
const ACME_PREFIX: &str = "/.well-known/acme-challenge";

/// Settings of the redirect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SslRedirect {
    /// Redirect even when no certificate is configured for the host (TLS ends before us).
    pub force: bool,
    /// Keep a slash at the end of the target, which is otherwise taken off, as ingress-nginx does.
    pub preserve_trailing_slash: bool,
}

impl SslRedirect {
    pub(super) fn apply(&self, request: &Request<'_>) -> Verdict {
        let exempt =
            request.path.strip_prefix(ACME_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if request.secure || exempt || request.host.is_empty() || !(self.force || request.certificate) {
            return Verdict::Continue;
        }
        let target = match request.received_target.strip_suffix('/') {
            Some(stripped) if !self.preserve_trailing_slash => stripped,
            _ => request.received_target,
        };
        Verdict::Answer(Answer { status: 308, location: Some(format!("https://{}{target}", request.host)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn check(filter: &SslRedirect, secure: bool, certificate: bool, target: &str, want: Option<&str>) {
        let request = Request { secure, certificate, ..request(target) };
        let got = match filter.apply(&request) {
            Verdict::Continue => None,
            Verdict::Answer(answer) => {
                assert_eq!(answer.status, 308);
                answer.location
            }
        };
        assert_eq!(got.as_deref(), want, "{target}");
    }

    #[test]
    fn redirects() {
        let usual = SslRedirect { force: false, preserve_trailing_slash: false };
        check(&usual, false, true, "/a?b=c", Some("https://foo.com/a?b=c"));
        check(&usual, false, true, "/a/", Some("https://foo.com/a"));
        check(&usual, false, true, "/", Some("https://foo.com"));
        check(&usual, false, false, "/a", None);
        check(&usual, true, true, "/a", None);
        check(&usual, false, true, "/.well-known/acme-challenge/token", None);
        check(
            &usual,
            false,
            true,
            "/.well-known/acme-challenge-not",
            Some("https://foo.com/.well-known/acme-challenge-not"),
        );
        let forced = SslRedirect { force: true, preserve_trailing_slash: true };
        check(&forced, false, false, "/a/", Some("https://foo.com/a/"));
    }
}
