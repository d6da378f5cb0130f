//! Scopes: which objects one watch tells of, and the requests for them.
//!
//! Goes in: a kind, and what narrows it. Comes out: paths and queries (Kubernetes API concepts, "Efficient detection of
//! changes" and "Streaming lists"). Does not send them.

use lb_core::model::Kind;
use std::fmt;

/// Objects of one page of a list. Pages are held whole while they are read; 500 is what client-go asks for.
pub const PAGE_OBJECTS: u32 = 500;

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    /// Objects that are kept.
    Object(Kind),
    /// Namespaces, of which the names alone are kept.
    Namespace,
}

/// What one watch tells of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The kind.
    pub watched: Watched,
    /// The namespace; `None`: all of them, or a kind that has none.
    pub namespace: Option<String>,
    /// A field selector; empty: none.
    pub fields: String,
    /// A label selector; empty: none.
    pub labels: String,
}

/// What makes a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin<'a> {
    /// After this version of the objects.
    At(&'a str),
    /// With all objects as they are now: a streaming list (Kubernetes 1.32, by opt-in 1.27).
    Now,
}

impl Watched {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().0
    }

    /// API group (empty for the core) and the plural in paths, as rules of RBAC name them.
    #[must_use]
    pub fn resource(self) -> (&'static str, &'static str) {
        let (_, group, plural) = self.api();
        (group, plural)
    }

    fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Namespace => ("Namespace", "", "namespaces"),
            Self::Object(Kind::Ingress) => ("Ingress", "networking.k8s.io", "ingresses"),
            Self::Object(Kind::IngressClass) => ("IngressClass", "networking.k8s.io", "ingressclasses"),
            Self::Object(Kind::Service) => ("Service", "", "services"),
            Self::Object(Kind::EndpointSlice) => ("EndpointSlice", "discovery.k8s.io", "endpointslices"),
            Self::Object(Kind::Endpoints) => ("Endpoints", "", "endpoints"),
            Self::Object(Kind::Secret) => ("Secret", "", "secrets"),
            Self::Object(Kind::Node) => ("Node", "", "nodes"),
            // A File is in no API.
            Self::Object(Kind::ConfigMap | Kind::File) => ("ConfigMap", "", "configmaps"),
        }
    }
}

impl Scope {
    /// All objects of a kind, in a namespace or everywhere.
    #[must_use]
    pub fn of(watched: Watched, namespace: Option<&str>) -> Self {
        Self { watched, namespace: namespace.map(str::to_owned), fields: String::new(), labels: String::new() }
    }

    /// The one object of this name.
    #[must_use]
    pub fn one(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self { fields: format!("metadata.name={name}"), ..Self::of(Watched::Object(kind), namespace) }
    }

    /// The request for a page of a list.
    #[must_use]
    pub fn list(&self, objects: u32, after: Option<&str>) -> String {
        let mut query = Query::new(self);
        query.add("limit", &objects.to_string());
        if let Some(token) = after {
            query.add("continue", token);
        }
        query.text
    }

    /// The request for a watch that the server ends after some seconds.
    #[must_use]
    pub fn watch(&self, begin: Begin<'_>, seconds: u64) -> String {
        let mut query = Query::new(self);
        query.add("watch", "true");
        query.add("allowWatchBookmarks", "true");
        query.add("timeoutSeconds", &seconds.to_string());
        match begin {
            Begin::At(version) => query.add("resourceVersion", version),
            // Without a version it begins with what is at least as new as the request itself.
            Begin::Now => {
                query.add("sendInitialEvents", "true");
                query.add("resourceVersionMatch", "NotOlderThan");
            }
        }
        query.text
    }

    /// What has to be allowed so that it can be read.
    #[must_use]
    pub fn rule(&self) -> String {
        let (group, plural) = self.watched.resource();
        let role = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        format!("{role} with {{apiGroups: [{group:?}], resources: [{plural:?}], verbs: [\"list\", \"watch\"]}}")
    }

    fn path(&self) -> String {
        let (group, plural) = self.watched.resource();
        let api = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
        match &self.namespace {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
            None => format!("{api}/{plural}"),
        }
    }
}

impl fmt::Display for Scope {
    /// `Secret (type=kubernetes.io/tls) in shop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.watched.name())?;
        for selector in [&self.fields, &self.labels].into_iter().filter(|selector| !selector.is_empty()) {
            write!(f, " ({selector})")?;
        }
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in {namespace}"))
    }
}

/// A path with its query.
struct Query {
    text: String,
    separator: char,
}

impl Query {
    fn new(scope: &Scope) -> Self {
        let mut query = Self { text: scope.path(), separator: '?' };
        for (name, selector) in [("fieldSelector", &scope.fields), ("labelSelector", &scope.labels)] {
            if !selector.is_empty() {
                query.add(name, selector);
            }
        }
        query
    }

    fn add(&mut self, name: &str, value: &str) {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(name);
        self.text.push('=');
        for byte in value.bytes() {
            // RFC 3986 section 2.3.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.text.push(byte.into());
            } else {
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let all = Scope::of(Watched::Object(Kind::Ingress), None);
        assert_eq!(all.list(500, None), "/apis/networking.k8s.io/v1/ingresses?limit=500");
        assert_eq!(all.list(9, Some("a b")), "/apis/networking.k8s.io/v1/ingresses?limit=9&continue=a%20b");
        let one = Scope::one(Kind::Secret, Some("shop"), "ca");
        let path =
            "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Dca&watch=true&allowWatchBookmarks=true";
        assert_eq!(one.watch(Begin::At("7"), 290), format!("{path}&timeoutSeconds=290&resourceVersion=7"));
        let streamed = format!("{path}&timeoutSeconds=290&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        assert_eq!(one.watch(Begin::Now, 290), streamed);
        assert_eq!(one.to_string(), "Secret (metadata.name=ca) in shop");
        let rule = r#"{apiGroups: [""], resources: ["secrets"], verbs: ["list", "watch"]}"#;
        assert_eq!(one.rule(), format!("a Role in namespace shop with {rule}"));
        let namespaces = Scope { labels: "env in (a,b)".to_owned(), ..Scope::of(Watched::Namespace, None) };
        assert_eq!(namespaces.list(1, None), "/api/v1/namespaces?labelSelector=env%20in%20%28a%2Cb%29&limit=1");
    }
}
