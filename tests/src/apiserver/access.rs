//! Who may do what: bearer tokens, and roles as they are stored.
//!
//! Goes in: a token, and the request's verb, resource and name. Comes out: the user, or 401; whether roles and bindings
//! in the storage allow it, or 403. Source: kubernetes.io/docs/reference/access-authn-authz/rbac. Does not do: aggregated
//! ClusterRoles, impersonation, client certificates.

use super::failure::Failure;
use super::resource::named;
use super::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The group that may do everything (kubeadm's, which it binds to `cluster-admin`).
pub const ADMINS: &str = "kubeadm:cluster-admins";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME`, or any name.
    pub name: String,
    /// `system:authenticated` and others.
    pub groups: Vec<String>,
}

/// What is wanted of the API.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// `list`, …
    pub verb: &'a str,
    /// Empty for core.
    pub group: &'a str,
    /// `ingresses/status`.
    pub resource: &'a str,
    /// Empty for the whole cluster.
    pub namespace: &'a str,
    /// Empty for any.
    pub name: &'a str,
}

/// Tokens and their users.
#[derive(Debug, Default)]
pub struct Tokens {
    valid: BTreeMap<String, User>,
    made: u64,
}

impl User {
    /// A user with these groups and `system:authenticated`.
    #[must_use]
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned());
        Self { name: name.to_owned(), groups: groups.collect() }
    }

    /// The user of a service account.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        Self::new(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &of_namespace])
    }
}

impl Tokens {
    /// Makes a token for a user.
    pub fn issue(&mut self, user: User) -> String {
        self.made += 1;
        let token = format!("token-{}-{:016x}", self.made, fastrand::u64(..));
        self.valid.insert(token.clone(), user);
        token
    }

    /// Makes tokens invalid: one, or all but those of administrators.
    pub fn expire(&mut self, token: Option<&str>) {
        self.valid.retain(|known, user| match token {
            Some(token) => known != token,
            None => user.groups.iter().any(|group| group == ADMINS),
        });
    }

    /// The user of an `Authorization` header.
    ///
    /// # Errors
    /// 401 without a valid token.
    pub fn user(&self, header: Option<&str>) -> Result<User, Failure> {
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        token
            .and_then(|token| self.valid.get(token).cloned())
            .ok_or_else(|| Failure::new(401, "Unauthorized", "Unauthorized"))
    }
}

/// Asks the roles.
///
/// # Errors
/// 403 that says who may not do what.
pub fn check(store: &Store, user: &User, want: &Want<'_>) -> Result<(), Failure> {
    if is_allowed(store, user, want) {
        return Ok(());
    }
    let Want { verb, group, resource, namespace, name } = want;
    let plural = resource.split('/').next().unwrap_or(resource);
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    let quoted = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
    let message = format!(
        "{qualified}{quoted} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}",
        user.name
    );
    let mut failure = Failure::new(403, "Forbidden", message);
    failure.details = json!({"name": name, "group": group, "kind": plural});
    Err(failure)
}

/// Whether the roles allow it.
#[must_use]
pub fn is_allowed(store: &Store, user: &User, want: &Want<'_>) -> bool {
    if user.groups.iter().any(|group| group == ADMINS) {
        return true;
    }
    let cluster = store.all(named("ClusterRoleBinding"), "").map(|(_, binding)| binding.value());
    let local = store.all(named("RoleBinding"), want.namespace).map(|(_, binding)| binding.value());
    let local = local.filter(|_| !want.namespace.is_empty());
    cluster.chain(local).filter(|binding| names(binding, user)).any(|binding| {
        let (kind, name) = (&binding["roleRef"]["kind"], binding["roleRef"]["name"].as_str().unwrap_or_default());
        let key = match kind.as_str() {
            Some("Role") => (binding["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(), name.to_owned()),
            _ => (String::new(), name.to_owned()),
        };
        let role = store.get(named(if kind == "Role" { "Role" } else { "ClusterRole" }), &key);
        role.is_some_and(|role| items(&role.value()["rules"]).iter().any(|rule| allows(rule, want)))
    })
}

fn names(binding: &Value, user: &User) -> bool {
    let own = binding["metadata"]["namespace"].as_str().unwrap_or_default();
    items(&binding["subjects"]).iter().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or(own);
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn allows(rule: &Value, want: &Want<'_>) -> bool {
    let has = |field: &str, wanted: &str| items(&rule[field]).iter().any(|item| item == "*" || item == wanted);
    let subresource = want.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let resource = has("resources", want.resource) || subresource.is_some_and(|any| has("resources", &any));
    let named = items(&rule["resourceNames"]);
    let name = named.is_empty() || (!want.name.is_empty() && named.iter().any(|name| name == want.name));
    has("verbs", want.verb) && has("apiGroups", want.group) && resource && name
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
