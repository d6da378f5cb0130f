//! One kind of object: its names in paths and manifests, and what the server does with it.
//!
//! Goes in: a group, a version and a plural, or any name a person would use. Comes out: a row of the table that drives
//! discovery, storage and the verbs. Does not do: defaults and validation of a kind (`rules`).

/// A row of the table.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: &'static str,
    /// The one version served.
    pub version: &'static str,
    /// As in paths: `ingresses`.
    pub plural: &'static str,
    /// As in manifests: `Ingress`.
    pub kind: &'static str,
    /// As `kubectl` abbreviates it; empty for none.
    pub short: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a subresource `status`.
    pub status: bool,
    /// Where the objects are kept: a row of the table. Both `events` share one place.
    pub place: usize,
    /// Fields that a field selector may name, besides `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
}

const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const NAMESPACED: bool = true;
const CLUSTER: bool = false;
const STATUS: bool = true;
const PLAIN: bool = false;

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The place of events, core's row.
pub const EVENTS: usize = 0;

/// Everything that is served.
pub static RESOURCES: &[Resource] = &[
    row(EVENTS, "", "v1", "events", "Event", "ev", NAMESPACED, PLAIN, EVENT_FIELDS),
    row(EVENTS, "events.k8s.io", "v1", "events", "Event", "", NAMESPACED, PLAIN, EVENT_FIELDS),
    row(2, "", "v1", "namespaces", "Namespace", "ns", CLUSTER, STATUS, &["status.phase"]),
    row(3, "", "v1", "nodes", "Node", "no", CLUSTER, STATUS, &["spec.unschedulable"]),
    row(4, "", "v1", "services", "Service", "svc", NAMESPACED, STATUS, &["spec.clusterIP", "spec.type"]),
    row(5, "", "v1", "secrets", "Secret", "", NAMESPACED, PLAIN, &["type"]),
    row(6, "", "v1", "configmaps", "ConfigMap", "cm", NAMESPACED, PLAIN, &[]),
    row(7, "", "v1", "endpoints", "Endpoints", "ep", NAMESPACED, PLAIN, &[]),
    row(8, "", "v1", "pods", "Pod", "po", NAMESPACED, STATUS, &["spec.nodeName", "status.phase", "status.podIP"]),
    row(9, "", "v1", "serviceaccounts", "ServiceAccount", "sa", NAMESPACED, PLAIN, &[]),
    row(10, NETWORKING, "v1", "ingresses", "Ingress", "ing", NAMESPACED, STATUS, &[]),
    row(11, NETWORKING, "v1", "ingressclasses", "IngressClass", "", CLUSTER, PLAIN, &[]),
    row(12, "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "", NAMESPACED, PLAIN, &[]),
    row(13, "coordination.k8s.io", "v1", "leases", "Lease", "", NAMESPACED, PLAIN, &[]),
    row(14, "apps", "v1", "daemonsets", "DaemonSet", "ds", NAMESPACED, STATUS, &[]),
    row(15, "apps", "v1", "deployments", "Deployment", "deploy", NAMESPACED, STATUS, &[]),
    row(16, "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", NAMESPACED, STATUS, &[]),
    row(17, RBAC, "v1", "roles", "Role", "", NAMESPACED, PLAIN, &[]),
    row(18, RBAC, "v1", "rolebindings", "RoleBinding", "", NAMESPACED, PLAIN, &[]),
    row(19, RBAC, "v1", "clusterroles", "ClusterRole", "", CLUSTER, PLAIN, &[]),
    row(20, RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", "", CLUSTER, PLAIN, &[]),
    row(
        21,
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        "",
        CLUSTER,
        PLAIN,
        &[],
    ),
    row(
        22,
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        CLUSTER,
        STATUS,
        &[],
    ),
];

#[expect(clippy::too_many_arguments, reason = "a table reads best with one row a line")]
const fn row(
    place: usize,
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static str,
    namespaced: bool,
    status: bool,
    fields: &'static [&'static str],
) -> Resource {
    Resource { group, version, plural, kind, short, namespaced, status, place, fields }
}

impl Resource {
    /// `ingresses.networking.k8s.io`; the plural alone in core.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `networking.k8s.io/v1`; `v1` in core.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether this is the view of events that `events.k8s.io` gives.
    #[must_use]
    pub fn is_new_event(&self) -> bool {
        self.group == "events.k8s.io"
    }

    /// `kind` in lower case, the singular.
    #[must_use]
    pub fn singular(&self) -> String {
        self.kind.to_lowercase()
    }
}

/// By the words of a path.
#[must_use]
pub fn by_path(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// By the words of a manifest.
#[must_use]
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// By `ingresses`, `ingresses.networking.k8s.io`, `Ingress`, `ingress` or `ing`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Resource> {
    let fits = |r: &&Resource| {
        r.plural == name
            || r.qualified() == name
            || r.kind.eq_ignore_ascii_case(name)
            || (!r.short.is_empty() && r.short == name)
    };
    RESOURCES.iter().find(fits)
}

/// As [`find`].
///
/// # Panics
/// When there is none: a test misspelled it.
#[must_use]
pub fn named(name: &str) -> &'static Resource {
    find(name).unwrap_or_else(|| panic!("the stand-in has no resource {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::RESOURCES;

    #[test]
    fn places_are_rows() {
        for (number, resource) in RESOURCES.iter().enumerate() {
            assert!(resource.place == number || resource.is_new_event(), "{resource:?} is row {number}");
        }
    }
}
