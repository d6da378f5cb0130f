//! The filter chain: each filter lets a request go on, perhaps changed, or answers it. One file a filter, all pure.
//!
//! Goes in: a [`Request`] view. Comes out: a [`Verdict`]. Does not read bodies and does not send anything.

pub mod redirect;
pub mod rewrite_target;
pub mod source_range;
pub mod ssl_redirect;
pub mod template;

use crate::model::Route;
use redirect::Redirect;
use rewrite_target::RewriteTarget;
use serde::Serialize;
use source_range::SourceRange;
use ssl_redirect::SslRedirect;
use std::borrow::Cow;
use std::net::IpAddr;

/// A filter of a route, ready to run. The order here is the order in which they run: who may come at all, then who is
/// sent elsewhere, then what the backend sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Keeps out clients of other networks.
    SourceRange(SourceRange),
    /// Sends everything elsewhere.
    Redirect(Redirect),
    /// Sends plain HTTP to HTTPS.
    SslRedirect(SslRedirect),
    /// Changes the path that the backend sees.
    RewriteTarget(RewriteTarget),
}

/// What filters see of a request, and may change of it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Address of the client, canonical: IPv4 is not wrapped in IPv6.
    pub client: IpAddr,
    /// It came through TLS.
    pub secure: bool,
    /// A certificate other than the default one is configured for its host.
    pub certificate: bool,
    /// Host in normal form.
    pub host: &'a str,
    /// Path in normal form: what was matched.
    pub path: &'a str,
    /// Request target as it was received: path and query in origin form.
    pub received_target: &'a str,
    /// Request target that the backend will see.
    pub target: Cow<'a, str>,
}

/// What a filter says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// On to the next filter, then to the backend.
    Continue,
    /// This is the answer; nothing is sent to a backend.
    Answer(Answer),
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Value of `Location`, for a redirect.
    pub location: Option<String>,
}

impl Filter {
    /// The annotation that it stands for, without prefix.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SourceRange(_) => "allowlist-source-range",
            Self::Redirect(redirect) => redirect.annotation,
            Self::SslRedirect(_) => "ssl-redirect",
            Self::RewriteTarget(_) => "rewrite-target",
        }
    }

    /// Whether it looks at more of a request than the address of the client, which is the same for all requests of a
    /// connection.
    #[must_use]
    pub fn needs_each_request(&self) -> bool {
        !matches!(self, Self::SourceRange(_))
    }

    pub(crate) fn apply(&self, route: &Route, request: &mut Request<'_>) -> Verdict {
        match self {
            Self::SourceRange(filter) => filter.apply(request),
            Self::Redirect(filter) => filter.apply(request),
            Self::SslRedirect(filter) => filter.apply(request),
            Self::RewriteTarget(filter) => filter.apply(&route.path, request),
        }
    }
}

/// Runs the filters of a route in order, until one answers.
pub fn run(route: &Route, request: &mut Request<'_>) -> Verdict {
    for filter in route.filters.iter() {
        if let Verdict::Answer(answer) = filter.apply(route, request) {
            return Verdict::Answer(answer);
        }
    }
    Verdict::Continue
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain request of `192.0.2.1` for `foo.com`, whose path is in normal form.
    pub fn request(target: &str) -> Request<'_> {
        Request {
            client: IpAddr::from([192, 0, 2, 1]),
            secure: false,
            certificate: false,
            host: "foo.com",
            path: target.split('?').next().unwrap_or_default(),
            received_target: target,
            target: target.into(),
        }
    }
}
