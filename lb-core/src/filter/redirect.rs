//! `permanent-redirect` and `temporal-redirect`: every request of the route is sent elsewhere.

use super::template::{InvalidTemplate, Template};
use super::{Answer, Request, Verdict};
use serde::Serialize;

/// Where to, and with which status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Redirect {
    /// The annotation that asks for it, without prefix.
    #[serde(skip)]
    pub(super) annotation: &'static str,
    status: u16,
    to: Template,
}

/// A target that is no URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirect {
    /// Neither `http://` nor `https://` nor `$scheme://` at its start, or nothing behind it.
    #[error("{0:?} is no absolute URL of http or https")]
    Relative(String),
    /// Its variables cannot be read.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
}

impl Redirect {
    /// Reads the URL that `annotation` (without prefix) has. It may name variables of nginx.
    ///
    /// # Errors
    /// [`InvalidRedirect`].
    pub fn parse(annotation: &'static str, url: &str, status: u16) -> Result<Self, InvalidRedirect> {
        let lower = url.to_ascii_lowercase();
        let rest = ["http://", "https://", "$scheme://", "${scheme}://"].iter().find_map(|p| lower.strip_prefix(p));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(InvalidRedirect::Relative(url.to_owned()));
        }
        Ok(Self { annotation, status, to: Template::parse(url)? })
    }

    pub(super) fn apply(&self, request: &Request<'_>) -> Verdict {
        Verdict::Answer(Answer { status: self.status, location: Some(self.to.expand(request)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    #[test]
    fn redirects() {
        let check = |url: &str, want: &str| {
            let redirect = Redirect::parse("permanent-redirect", url, 301).expect("valid");
            let answer = Answer { status: 301, location: Some(want.to_owned()) };
            assert_eq!(redirect.apply(&request("/a?b=c")), Verdict::Answer(answer), "{url}");
        };
        check("https://example.com/", "https://example.com/");
        check("https://example.com$request_uri", "https://example.com/a?b=c");
        check("$scheme://www.$host$uri", "http://www.foo.com/a");
    }

    #[test]
    fn refused_targets() {
        for url in ["", "/a", "example.com", "ftp://example.com/", "javascript:alert(1)", "//example.com", "https://"] {
            assert_eq!(
                Redirect::parse("permanent-redirect", url, 301),
                Err(InvalidRedirect::Relative(url.to_owned())),
                "{url}"
            );
        }
        assert!(matches!(
            Redirect::parse("permanent-redirect", "https://a.com/\r\nX: y", 301),
            Err(InvalidRedirect::Template(_))
        ));
    }
}
