//! The form in which objects are sent: whole, as a list's item, metadata alone, or a row of a table.
//!
//! Goes in: a stored object and the `Accept` header. Comes out: JSON. The stored text is used where it can be. Source:
//! kubernetes.io/docs/reference/using-api/api-concepts, "Receiving resources as Tables". Does not do: protobuf, CBOR.

use super::event;
use super::failure::Failure;
use super::object::Object;
use super::resource::Resource;
use super::table;
use serde_json::{Value, json};
use std::sync::Arc;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Objects as they are.
    Whole,
    /// `as=PartialObjectMetadata` and `as=PartialObjectMetadataList`.
    Metadata,
    /// `as=Table`.
    Table,
}

impl View {
    /// The first form of an `Accept` header that there is.
    ///
    /// # Errors
    /// 406 when there is none.
    pub fn accepted(accept: &str) -> Result<Self, Failure> {
        for option in accept.split(',').map(str::trim) {
            let mut words = option.split(';').map(str::trim);
            let is_json = matches!(words.next(), Some("" | "application/json" | "*/*" | "application/*"));
            let form = words.find_map(|word| word.strip_prefix("as="));
            match form {
                _ if !is_json => {}
                None => return Ok(Self::Whole),
                Some("Table") => return Ok(Self::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Self::Metadata),
                Some(_) => {}
            }
        }
        let why = "only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        Err(Failure::new(406, "NotAcceptable", why))
    }

    /// One object, with `apiVersion` and `kind`.
    #[must_use]
    pub fn object(self, resource: &Resource, object: &Object) -> String {
        match self {
            Self::Whole => whole(resource, object),
            Self::Metadata => metadata(object).to_string(),
            Self::Table => {
                table::make(resource, &[object], &json!({"resourceVersion": object.version().to_string()})).to_string()
            }
        }
    }

    /// A list. Items have no `apiVersion` and `kind`, as in the real server's lists.
    #[must_use]
    pub fn list(self, resource: &Resource, objects: &[Arc<Object>], list_metadata: &Value) -> String {
        let items: Vec<String> = match self {
            Self::Table => {
                let objects: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
                return table::make(resource, &objects, list_metadata).to_string();
            }
            Self::Metadata => objects.iter().map(|object| metadata(object).to_string()).collect(),
            Self::Whole if resource.is_new_event() => {
                objects.iter().map(|o| event::to_new(o.value()).to_string()).collect()
            }
            Self::Whole => Vec::new(),
        };
        let (version, kind) = match self {
            Self::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned()),
            _ => (resource.api_version(), format!("{}List", resource.kind)),
        };
        let mut text = format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{list_metadata},"items":["#);
        let own = self == Self::Whole && !resource.is_new_event();
        for (number, object) in objects.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            text.push_str(if own { object.text() } else { &items[number] });
        }
        text.push_str("]}\n");
        text
    }

    /// A bookmark's object.
    #[must_use]
    pub fn bookmark(self, resource: &Resource, version: u64, ends_initial_events: bool) -> String {
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        match (self, resource.kind) {
            (Self::Metadata, _) => {
                object["kind"] = json!("PartialObjectMetadata");
                object["apiVersion"] = json!("meta.k8s.io/v1");
            }
            (Self::Table, _) => {
                return table::make(resource, &[], &json!({"resourceVersion": version.to_string()})).to_string();
            }
            // Go writes the fields of a typed empty object that are not `omitempty`.
            (Self::Whole, "EndpointSlice") => {
                object["endpoints"] = Value::Null;
                object["ports"] = Value::Null;
                object["addressType"] = json!("");
            }
            (Self::Whole, "Event") if !resource.is_new_event() => object["involvedObject"] = json!({}),
            (Self::Whole, "Role" | "ClusterRole") => object["rules"] = Value::Null,
            (Self::Whole, "RoleBinding" | "ClusterRoleBinding") => {
                object["roleRef"] = json!({"apiGroup": "", "kind": "", "name": ""});
            }
            (Self::Whole, _) => {}
        }
        object.to_string()
    }
}

fn whole(resource: &Resource, object: &Object) -> String {
    let head = format!(r#"{{"kind":"{}","apiVersion":"{}","#, resource.kind, resource.api_version());
    if resource.is_new_event() {
        return head + event::to_new(object.value()).to_string().get(1..).unwrap_or("}");
    }
    head + object.text().get(1..).unwrap_or("}")
}

fn metadata(object: &Object) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.value()["metadata"]})
}
