//! Decoding: a deserializer and a kind become an object; errors carry the path of the field.

use super::super::super::object::Object;
use super::compact;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use lb_core::model::Kind;
use serde::de::{DeserializeOwned, Deserializer};
use std::sync::Arc;

/// A field that could not be read.
#[derive(Debug)]
pub struct Failure<E> {
    /// Its path, as in `spec.rules[0].host`.
    pub field: String,
    /// What is wrong with it.
    pub error: E,
}

/// Kinds that are read, with the API group and version in which they are.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::Ingress, "Ingress", "networking.k8s.io/v1"),
    (Kind::IngressClass, "IngressClass", "networking.k8s.io/v1"),
    (Kind::Service, "Service", "v1"),
    (Kind::EndpointSlice, "EndpointSlice", "discovery.k8s.io/v1"),
    (Kind::Endpoints, "Endpoints", "v1"),
    (Kind::Secret, "Secret", "v1"),
    (Kind::ConfigMap, "ConfigMap", "v1"),
    (Kind::Node, "Node", "v1"),
];

/// Groups whose kinds of the same name are the ancestors of those that are read.
const ANCESTOR_GROUPS: &[&str] = &["extensions", "networking.k8s.io", "discovery.k8s.io"];

/// The kind, the version in which it is read, and whether this is that version. `None`: another kind.
#[must_use]
pub fn kind(api_version: &str, kind: &str) -> Option<(Kind, &'static str, bool)> {
    let (known, _, wanted) = KINDS.iter().find(|(_, name, _)| *name == kind)?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let wanted_group = wanted.split_once('/').map_or("", |(group, _)| group);
    let related = group == wanted_group || ANCESTOR_GROUPS.contains(&group);
    related.then_some((*known, *wanted, api_version == *wanted))
}

/// Reads an object. Paths of fields that the kind does not have are added to `unknown`.
///
/// # Errors
/// [`Failure`], with the path of the first field that cannot be read.
pub fn object<'de, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
    unknown: &mut Vec<String>,
) -> Result<Object, Failure<D::Error>> {
    Ok(match kind {
        Kind::Ingress => Object::Ingress(Arc::new(compact::ingress(typed(deserializer, unknown)?))),
        Kind::IngressClass => Object::IngressClass(Arc::new(compact::object(typed(deserializer, unknown)?))),
        Kind::Service => Object::Service(Arc::new(compact::service(typed(deserializer, unknown)?))),
        Kind::EndpointSlice => Object::EndpointSlice(Arc::new(compact::endpoint_slice(typed(deserializer, unknown)?))),
        Kind::Endpoints => Object::Endpoints(Arc::new(compact::object(typed(deserializer, unknown)?))),
        Kind::Secret => Object::Secret(Arc::new(with_string_data(compact::object(typed(deserializer, unknown)?)))),
        Kind::ConfigMap | Kind::File => Object::ConfigMap(Arc::new(compact::object(typed(deserializer, unknown)?))),
        Kind::Node => Object::Node(Arc::new(compact::object(typed(deserializer, unknown)?))),
    })
}

/// Whether a name is one that Kubernetes takes for an object (RFC 1123 subdomain). Empty passes: it means absent.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    name.len() <= 253 && name.bytes().all(inner) && !name.starts_with(['-', '.']) && !name.ends_with(['-', '.'])
}

/// Whether a document says null, which is no object and no error.
#[must_use]
pub fn is_null(text: &str) -> bool {
    let body = text.strip_prefix("---").unwrap_or(text);
    let mut lines = body.lines().map(|l| l.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty());
    matches!((lines.next(), lines.next()), (Some("null" | "~"), None))
}

/// The words of an error without its position, which is told separately, and without a full stop.
#[must_use]
pub fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let words = line.rsplit_once(" at line ").map_or(line, |(words, _)| words);
    let words = words.split_once(", set DuplicateKeyPolicy").map_or(words, |(words, _)| words);
    words.trim_end_matches('.').to_owned()
}

fn typed<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
    unknown: &mut Vec<String>,
) -> Result<T, Failure<D::Error>> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let result = serde_ignored::deserialize(tracked, |path| unknown.push(field_path(&path)));
    result.map_err(|error| Failure { field: track.path().to_string().trim_matches('.').to_owned(), error })
}

/// `spec.rules[0].http` of a path that serde_ignored shows as `spec.rules.?.0.http`.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

/// Writes `stringData` over `data`, as the API server does.
fn with_string_data(mut secret: Secret) -> Secret {
    if let Some(text) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        data.extend(text.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))));
    }
    secret
}
