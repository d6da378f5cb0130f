//! Host names: the pattern of a rule, and the normal form of a request's host.

use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Longest DNS name in text form without the trailing dot, bytes (RFC 1035 section 2.3.4).
pub const NAME_BYTES_MAX: usize = 253;
/// Longest label, bytes (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// The hosts that a rule covers. Names are lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub enum HostPattern {
    /// This name.
    Exact(Arc<str>),
    /// Names with exactly one label before this suffix (`foo.com` for `*.foo.com`).
    Wildcard(Arc<str>),
    /// Every host.
    Any,
}

/// A host of a rule or of `tls[].hosts` that is no DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// IP addresses are not hosts (`networking.k8s.io/v1`, IngressRule.host).
    #[error("\"{0}\" is an IP address, and an Ingress host must be a DNS name")]
    Address(String),
    /// `*` somewhere else than as the whole first label.
    #[error("\"{0}\" has a wildcard that is not the whole first label")]
    Wildcard(String),
    /// A colon: the author wrote a port.
    #[error("\"{0}\" contains a port, and rules match hosts on every port")]
    Port(String),
    /// Not made of letters, digits, hyphens and dots, or too long.
    #[error("\"{0}\" is not a DNS name (letters, digits and hyphens, labels of at most 63 bytes, 253 in all)")]
    Name(String),
}

impl HostPattern {
    /// Reads the host of a rule. Empty means every host; case and a trailing dot do not count.
    ///
    /// # Errors
    /// [`InvalidHost`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        // What neither ends in a digit nor has a colon is no address; most hosts are spared the attempt.
        let numeric = text.ends_with(|c: char| c.is_ascii_digit()) || text.contains(':');
        if text.starts_with('[') || numeric && text.parse::<std::net::IpAddr>().is_ok() {
            return Err(InvalidHost::Address(text.to_owned()));
        }
        if text.contains(':') {
            return Err(InvalidHost::Port(text.to_owned()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (suffix, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name.as_str(), false),
        };
        if suffix.contains('*') {
            return Err(InvalidHost::Wildcard(text.to_owned()));
        }
        if !is_dns_name(suffix) {
            return Err(InvalidHost::Name(text.to_owned()));
        }
        Ok(if wildcard { Self::Wildcard(suffix.into()) } else { Self::Exact(suffix.into()) })
    }

    /// Whether a request's host, in the form that [`normalize`] gives, is covered.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == &**name,
            Self::Wildcard(suffix) => parent(host) == Some(&**suffix),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    /// `foo.com`, `*.foo.com`, or `*` for every host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

/// A request's host for look-up: lower case, without port and trailing dot. Allocates only when it has upper case.
#[must_use]
pub fn normalize(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// An authority without its port; an IPv6 literal keeps its brackets.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// A name without its first label: `b.c` of `a.b.c`. `None` where nothing would be before or after the dot.
#[must_use]
pub fn parent(host: &str) -> Option<&str> {
    match host.split_once('.') {
        Some((first, rest)) if !first.is_empty() && !rest.is_empty() => Some(rest),
        _ => None,
    }
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |text: &str, want: Result<&str, ()>| {
            let got = HostPattern::parse(text);
            assert_eq!(got.as_ref().map(ToString::to_string).map_err(|_| ()), want.map(str::to_owned), "{text}");
        };
        check("", Ok("*"));
        check("Foo.Bar.", Ok("foo.bar"));
        check("*.foo.com", Ok("*.foo.com"));
        check("localhost", Ok("localhost"));
        for bad in
            ["10.0.0.1", "[::1]", "::1", "foo:80", "a.*.b", "f*o.com", "*", "*.*.com", "a..b", "-a.b", "a b", "ü.de"]
        {
            check(bad, Err(()));
        }
        check(&"a".repeat(64), Err(()));
        check(&["a"; 128].join("."), Err(()));
    }

    #[test]
    fn coverage_of_one_label() {
        let wildcard = HostPattern::parse("*.foo.com").expect("valid");
        for (host, want) in [("bar.foo.com", true), ("baz.bar.foo.com", false), ("foo.com", false), (".foo.com", false)]
        {
            assert_eq!(wildcard.covers(host), want, "{host}");
        }
    }

    #[test]
    fn normal_form_of_request_hosts() {
        for (authority, want) in [
            ("Foo.com:8080", "foo.com"),
            ("foo.com.", "foo.com"),
            ("foo.com.:80", "foo.com"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(normalize(authority), want);
        }
    }
}
