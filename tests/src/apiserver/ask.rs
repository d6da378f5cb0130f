//! One request, read: verb, resource, name and options.
//!
//! Goes in: method, path and query. Comes out: an [`Ask`] for a resource, or nothing when the path is no resource's.
//! Source: kubernetes.io/docs/reference/using-api/api-concepts, "Resource URIs". Does not do: permission or bodies.

use super::access::User;
use super::resource::{Resource, by_path};
use super::selector::Selector;
use hyper::Method;
use std::collections::BTreeMap;

/// Names and values of a query.
pub type Query = BTreeMap<String, String>;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// Whose.
    pub resource: &'static Resource,
    /// Empty for objects of the cluster and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// `status` or empty.
    pub subresource: String,
    /// Options.
    pub query: Query,
    /// Who asks.
    pub user: User,
    /// What the manager of changed fields is called when the query does not say.
    pub agent: String,
}

/// The words of a path, if it is a resource's.
#[derive(Debug, PartialEq, Eq)]
pub struct Words<'a> {
    /// Empty for core.
    pub group: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// Empty without one.
    pub namespace: &'a str,
    /// As in the path.
    pub plural: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// Empty without one.
    pub subresource: &'a str,
}

/// Splits a path. Answers nothing for `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION` and what is no resource.
#[must_use]
pub fn words(path: &str) -> Option<Words<'_>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // `namespaces/x/status` is a namespace's subresource, any other third word is a resource in it.
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return None,
    };
    Some(Words { group, version, namespace, plural, name, subresource })
}

impl Ask {
    /// Reads a request; nothing when no resource of ours is meant.
    #[must_use]
    pub fn read(method: &Method, path: &str, query: Query, user: User, agent: &str) -> Option<Self> {
        let words = words(path)?;
        let resource = by_path(words.group, words.version, words.plural)?;
        let is_watch = matches!(query.get("watch").map(String::as_str), Some("true" | "1" | ""));
        let verb = match (method, words.name.is_empty()) {
            (&Method::GET | &Method::HEAD, true) if is_watch => "watch",
            (&Method::GET | &Method::HEAD, true) => "list",
            (&Method::GET | &Method::HEAD, false) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, false) => "update",
            (&Method::PATCH, false) => "patch",
            (&Method::DELETE, true) => "deletecollection",
            (&Method::DELETE, false) => "delete",
            _ => return None,
        };
        Some(Self {
            verb,
            resource,
            namespace: words.namespace.to_owned(),
            name: words.name.to_owned(),
            subresource: words.subresource.to_owned(),
            query,
            user,
            agent: agent.split('/').next().unwrap_or("unknown").to_owned(),
        })
    }

    /// An option; empty when it is not given.
    #[must_use]
    pub fn option(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Whether an option is `true`.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.option(name), "true" | "1")
    }

    /// The name that permission is asked for: a list or watch of one name counts as that name.
    #[must_use]
    pub fn permission_name(&self) -> String {
        match self.verb {
            "list" | "watch" | "deletecollection" => {
                Selector::read("", self.option("fieldSelector")).ok().and_then(|s| s.one_name()).unwrap_or_default()
            }
            _ => self.name.clone(),
        }
    }

    /// `ingresses/status`, as roles write it.
    #[must_use]
    pub fn permission_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.plural.to_owned()
        } else {
            format!("{}/{}", self.resource.plural, self.subresource)
        }
    }

    /// Whether nothing is to be stored.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.option("dryRun") == "All"
    }

    /// Who owns what is changed.
    #[must_use]
    pub fn manager(&self) -> &str {
        if self.option("fieldManager").is_empty() { &self.agent } else { self.option("fieldManager") }
    }
}

/// Reads `a=b&c=d` with percent escapes.
#[must_use]
pub fn query(text: &str) -> Query {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        })
        .collect()
}

/// Undoes percent escapes, and `+` for a space.
#[must_use]
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|d| std::str::from_utf8(d).ok());
        match (bytes[index], digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{query, words};

    #[test]
    fn paths_and_queries() {
        for (path, want) in [
            ("/api/v1/namespaces", Some(["", "v1", "", "namespaces", "", ""])),
            ("/api/v1/namespaces/x", Some(["", "v1", "", "namespaces", "x", ""])),
            ("/api/v1/namespaces/x/status", Some(["", "v1", "", "namespaces", "x", "status"])),
            ("/api/v1/namespaces/x/pods", Some(["", "v1", "x", "pods", "", ""])),
            ("/apis/a.b/v1/namespaces/x/is/y/status", Some(["a.b", "v1", "x", "is", "y", "status"])),
            ("/apis/a.b/v1/cs/y", Some(["a.b", "v1", "", "cs", "y", ""])),
            ("/apis/a.b/v1", None),
            ("/healthz", None),
        ] {
            let found = words(path).map(|w| [w.group, w.version, w.namespace, w.plural, w.name, w.subresource]);
            assert_eq!(found, want, "{path}");
        }
        let read = query("watch=true&fieldSelector=type%3Dkubernetes.io%2Ftls&x");
        assert_eq!(read["fieldSelector"], "type=kubernetes.io/tls");
        assert_eq!((read["watch"].as_str(), read["x"].as_str()), ("true", ""));
    }
}
