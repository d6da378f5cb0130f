//! The filter chain: each filter lets a request go on, perhaps changed, or answers it. One file a filter, all pure.
//!
//! Goes in: a [`Request`] view. Comes out: a [`Verdict`]. Does not read bodies and does not send anything.

pub mod rewrite_target;
pub mod ssl_redirect;

use crate::model::Route;
use rewrite_target::RewriteTarget;
use serde::Serialize;
use ssl_redirect::SslRedirect;
use std::borrow::Cow;

/// A filter of a route, ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Sends plain HTTP to HTTPS.
    SslRedirect(SslRedirect),
    /// Changes the path that the backend sees.
    RewriteTarget(RewriteTarget),
}

/// What filters see of a request, and may change of it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// On to the next filter, then to the backend.
    Continue,
    /// This is the answer; nothing is sent to a backend.
    Answer(Answer),
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            Self::SslRedirect(_) => "ssl-redirect",
            Self::RewriteTarget(_) => "rewrite-target",
        }
    }

    fn apply(&self, route: &Route, request: &mut Request<'_>) -> Verdict {
        match self {
            Self::SslRedirect(filter) => filter.apply(request),
            Self::RewriteTarget(filter) => filter.apply(&route.path, request),
        }
    }
}

/// Runs the filters of a route in order, until one answers.
pub fn run(route: &Route, request: &mut Request<'_>) -> Verdict {
    for filter in &route.filters {
        if let Verdict::Answer(answer) = filter.apply(route, request) {
            return Verdict::Answer(answer);
        }
    }
    Verdict::Continue
}
