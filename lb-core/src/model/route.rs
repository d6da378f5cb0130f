//! A route: which requests it takes, what is done to them, and where they go.

use super::host::HostPattern;
use super::origin::Origin;
use super::policy::Policy;
use super::service::ServiceId;
use super::upstream::Upstream;
use crate::class::Classified;
use crate::filter::Filter;
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a route is in its Snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RouteId {
    /// Place of its host.
    pub host: u32,
    /// Place among the routes of the host.
    pub route: u32,
}

/// Longest path of a rule, bytes. The API server allows more; nothing that people write comes near.
pub const PATH_BYTES_MAX: usize = 4_096;

/// Most memory that one compiled path expression may take, and its lazy automaton besides, bytes. An expression that
/// people write takes some 10 KB; 1,000 hostile ones, as many as one Ingress may have, take 2 GB at the very most.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// How a path is matched.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Byte for byte.
    Exact(Arc<str>),
    /// By elements between slashes; a trailing slash of either side does not count.
    Prefix(Arc<str>),
    /// An expression in the manner of ingress-nginx: without regard to case, from the start, not to the end.
    Regex(Arc<Expression>),
}

/// A compiled path expression. Compiling costs some 100 µs and 10 KB, so paths with the same text share one.
#[derive(Debug)]
pub struct Expression {
    text: Arc<str>,
    regex: regex::Regex,
}

/// A path of a rule that cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Paths are absolute.
    #[error("path \"{0}\" does not begin with /")]
    Relative(String),
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("path of {0} bytes is longer than {PATH_BYTES_MAX}")]
    Long(usize),
    /// Bytes that no request target can have.
    #[error("path {0:?} contains a control character, a space, \"?\" or \"#\", which no request path can contain")]
    Character(String),
    /// Not an expression that the linear-time engine takes.
    #[error("path expression \"{path}\" is not valid: {reason}")]
    Regex {
        /// The path as written.
        path: String,
        /// What the engine says, on one line.
        reason: String,
    },
}

impl PathMatch {
    /// Reads an Exact path.
    ///
    /// # Errors
    /// [`InvalidPath`], when it is not an absolute path.
    pub fn exact(path: &str) -> Result<Self, InvalidPath> {
        literal(path).map(Self::Exact)
    }

    /// Reads a Prefix path.
    ///
    /// # Errors
    /// [`InvalidPath`], when it is not an absolute path.
    pub fn prefix(path: &str) -> Result<Self, InvalidPath> {
        literal(path).map(Self::Prefix)
    }

    /// Reads a path expression.
    ///
    /// # Errors
    /// As [`Expression::compile`].
    pub fn regex(path: &str) -> Result<Self, InvalidPath> {
        Expression::compile(path).map(|expression| Self::Regex(Arc::new(expression)))
    }

    /// The path as its owner wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Regex(expression) => &expression.text,
        }
    }

    /// `Exact`, `Prefix` or `Regex`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) => "Prefix",
            Self::Regex(_) => "Regex",
        }
    }
}

impl Expression {
    /// Compiles a path expression. The engine is linear in the text, whatever the expression.
    ///
    /// # Errors
    /// [`InvalidPath`], when it is relative, or no expression of that engine (back-references, look-around).
    pub fn compile(path: &str) -> Result<Self, InvalidPath> {
        if !path.starts_with('/') {
            return Err(InvalidPath::Relative(path.to_owned()));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(InvalidPath::Long(path.len()));
        }
        regex::RegexBuilder::new(&format!("^(?:{path})"))
            .case_insensitive(true)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .map(|regex| Self { text: path.into(), regex })
            .map_err(|e| InvalidPath::Regex { path: path.to_owned(), reason: one_line(&e) })
    }

    /// The path as its owner wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What matches.
    #[must_use]
    pub fn regex(&self) -> &regex::Regex {
        &self.regex
    }

    /// How many groups it has.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }
}

impl fmt::Display for PathMatch {
    /// `Prefix /cart`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.text())
    }
}

/// Where the requests of a route go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum Target {
    /// To an endpoint of this service.
    Service(ServiceId),
    /// Nowhere: 503, with the reason for people (a Service that does not exist, a resource backend).
    Unavailable(Arc<str>),
}

/// One line of the routing table.
#[derive(Debug, Clone)]
pub struct Route {
    /// Hosts.
    pub host: HostPattern,
    /// Paths.
    pub path: PathMatch,
    /// The rule it was made from.
    pub origin: Origin,
    /// Where it leads.
    pub target: Target,
    /// What is done to a request before it is sent on, in this order.
    pub filters: Arc<[Filter]>,
    /// How its endpoints are spoken to.
    pub upstream: Arc<Upstream>,
    /// The same for requests that came in the clear, where these are treated otherwise; see [`Self::upstream_for`].
    pub upstream_in_clear: Option<Arc<Upstream>>,
    /// Limits, balancing, retries.
    pub policy: Arc<Policy>,
    /// What its owner says of whole connections.
    pub steering: Steering,
    /// Who carries connections in the clear that bring its requests, and why.
    pub class: Classified,
    /// Who carries a connection in the clear whose protocol one of its requests has switched, and why.
    pub upgrade: Classified,
}

/// What decides, beside what a route does, whether its connections may be routed by their first request alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Steering {
    /// Its owner allowed that later requests of a connection skip routing.
    pub connection: bool,
    /// Its owner wrote a limit on bodies.
    pub body_limit: bool,
    /// Its host may ask for client certificates.
    pub client_certificates: bool,
}

impl Route {
    /// How its endpoints are spoken to for a client that came through TLS (`secure`) or did not.
    #[must_use]
    pub fn upstream_for(&self, secure: bool) -> &Arc<Upstream> {
        self.upstream_in_clear.as_ref().filter(|_| !secure).unwrap_or(&self.upstream)
    }

    /// Whether a client (address in canonical form) may come at all: all that can be asked where no request is seen.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.filters.iter().all(|filter| match filter {
            Filter::SourceRange(range) => range.contains(client),
            _ => true,
        })
    }
}

fn literal(path: &str) -> Result<Arc<str>, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::Relative(path.to_owned()));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(InvalidPath::Long(path.len()));
    }
    if path.chars().any(|c| c.is_control() || matches!(c, ' ' | '?' | '#')) {
        return Err(InvalidPath::Character(path.to_owned()));
    }
    Ok(path.into())
}

fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(bytes) => format!("it needs more than {bytes} bytes when compiled"),
        other => {
            let text = other.to_string();
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("syntax").to_owned()
        }
    }
}
