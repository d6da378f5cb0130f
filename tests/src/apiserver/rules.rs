//! Defaults and validation of the kinds, as far as a client can tell the difference.
//!
//! Goes in: an object that a client sent. Comes out: the object with its defaults, or the causes of a 422. Source: the
//! API reference and k8s.io/kubernetes `pkg/apis/*/validation`. Does not do: schemas; unknown fields are kept.

use super::failure::Failure;
use super::resource::Resource;
use base64::Engine;
use serde_json::{Value, json};

/// What is wrong with a field: its path, the cause's reason, the message.
type Cause = (String, &'static str, String);

/// Longest `note` of an Event, in bytes (`NoteLengthLimit`).
const NOTE_BYTES_MAX: usize = 1024;

/// Longest `reason` and `action` of an Event, in bytes (`ReasonLengthLimit`, `ActionLengthLimit`).
const REASON_BYTES_MAX: usize = 128;

/// Largest sum of annotations, in bytes (`TotalAnnotationSizeLimitB`).
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// Fills in what the server fills in.
pub fn set_defaults(resource: &Resource, value: &mut Value) {
    match resource.kind {
        "Secret" => default_secret(value),
        "Service" => default_service(value),
        "Namespace" => {
            let name = value["metadata"]["name"].clone();
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            fill(&mut value["spec"], "finalizers", || json!(["kubernetes"]));
            fill(&mut value["status"], "phase", || json!("Active"));
        }
        "Ingress" => fill(value, "status", || json!({"loadBalancer": {}})),
        "EndpointSlice" => default_ports(&mut value["ports"]),
        "ValidatingWebhookConfiguration" => {
            for webhook in list_mut(&mut value["webhooks"]) {
                fill(webhook, "failurePolicy", || json!("Fail"));
                fill(webhook, "timeoutSeconds", || json!(10));
                fill(webhook, "matchPolicy", || json!("Equivalent"));
            }
        }
        _ => {}
    }
}

fn default_secret(value: &mut Value) {
    fill(value, "type", || json!("Opaque"));
    let Some(plain) = value.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    for (name, text) in plain.as_object().into_iter().flatten() {
        let bytes = text.as_str().unwrap_or_default().as_bytes();
        value["data"][name] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
    }
}

fn default_service(value: &mut Value) {
    let spec = &mut value["spec"];
    fill(spec, "type", || json!("ClusterIP"));
    fill(spec, "sessionAffinity", || json!("None"));
    if spec["type"] != "ExternalName" {
        fill(spec, "internalTrafficPolicy", || json!("Cluster"));
        fill(spec, "ipFamilyPolicy", || json!("SingleStack"));
        fill(spec, "ipFamilies", || json!(["IPv4"]));
        // An address of the default service range, 10.96.0.0/12; nothing answers there.
        let address = || json!(format!("10.96.{}.{}", fastrand::u8(..), fastrand::u8(1..255)));
        fill(spec, "clusterIP", address);
        let address = spec["clusterIP"].clone();
        fill(spec, "clusterIPs", || json!([address]));
    }
    default_ports(&mut spec["ports"]);
    for port in list_mut(&mut spec["ports"]) {
        let number = port["port"].clone();
        fill(port, "targetPort", || number);
    }
    if spec["ports"].is_null()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("ports");
    }
    fill(value, "status", || json!({"loadBalancer": {}}));
}

fn default_ports(ports: &mut Value) {
    for port in list_mut(ports) {
        fill(port, "protocol", || json!("TCP"));
    }
}

fn fill(value: &mut Value, field: &str, default: impl FnOnce() -> Value) {
    if value[field].is_null() && (value.is_object() || value.is_null()) {
        value[field] = default();
    }
}

fn list_mut(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// Checks what a client sent.
///
/// # Errors
/// 422 with every cause.
pub fn validate(resource: &Resource, value: &Value) -> Result<(), Failure> {
    let mut causes: Vec<Cause> = Vec::new();
    check_metadata(resource, value, &mut causes);
    match resource.kind {
        "Ingress" => check_ingress(value, &mut causes),
        "Event" if resource.is_new_event() => check_event(value, &mut causes),
        "Lease" if value["spec"]["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) => {
            causes.push(invalid("spec.leaseDurationSeconds", "must be greater than 0"));
        }
        "Service" if lacks_ports(&value["spec"]) => causes.push(required("spec.ports")),
        "EndpointSlice" if !matches!(value["addressType"].as_str(), Some("IPv4" | "IPv6" | "FQDN")) => {
            causes.push(required("addressType"));
        }
        _ => {}
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::invalid(resource.kind, resource.group, name, &causes))
}

/// Only headless and external Services may be without.
fn lacks_ports(spec: &Value) -> bool {
    spec["type"] != "ExternalName" && spec["clusterIP"] != "None" && spec["ports"].as_array().is_none_or(Vec::is_empty)
}

fn check_metadata(resource: &Resource, value: &Value, causes: &mut Vec<Cause>) {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push((
            "metadata.name".to_owned(),
            "FieldValueRequired",
            "Required value: name or generateName is required".to_owned(),
        ));
    }
    let lax = resource.group.starts_with("rbac.");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !lax && !name.is_empty() && (!name.chars().all(fits) || name.len() > 253 || name.starts_with(['-', '.'])) {
        let why = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        causes.push(("metadata.name".to_owned(), "FieldValueInvalid", why));
    }
    let annotations = value["metadata"]["annotations"].as_object();
    let bytes: usize = annotations.into_iter().flatten().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATION_BYTES_MAX {
        let why = format!("Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes");
        causes.push(("metadata.annotations".to_owned(), "FieldValueTooLong", why));
    }
}

fn check_ingress(value: &Value, causes: &mut Vec<Cause>) {
    let spec = &value["spec"];
    let rules = spec["rules"].as_array().map_or(&[][..], Vec::as_slice);
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        causes.push(invalid("spec", "either `defaultBackend` or `rules` must be specified"));
    }
    for (number, rule) in rules.iter().enumerate() {
        let paths = rule["http"]["paths"].as_array().map_or(&[][..], Vec::as_slice);
        for (index, path) in paths.iter().enumerate() {
            let field = |name: &str| format!("spec.rules[{number}].http.paths[{index}].{name}");
            let text = path["path"].as_str().unwrap_or_default();
            match path["pathType"].as_str() {
                None => causes.push((
                    field("pathType"),
                    "FieldValueRequired",
                    "Required value: pathType must be specified".to_owned(),
                )),
                Some("Exact" | "Prefix") if !text.starts_with('/') => {
                    causes.push((
                        field("path"),
                        "FieldValueInvalid",
                        format!("Invalid value: \"{text}\": must be an absolute path"),
                    ));
                }
                Some("Exact" | "Prefix" | "ImplementationSpecific") => {}
                Some(other) => {
                    let why = format!(
                        "Unsupported value: \"{other}\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
                    );
                    causes.push((field("pathType"), "FieldValueNotSupported", why));
                }
            }
            let backend = &path["backend"];
            if backend["service"]["name"].as_str().is_none_or(str::is_empty) && backend["resource"].is_null() {
                causes.push(required(&field("backend")));
            }
        }
    }
}

/// An Event of `events.k8s.io`, in core's names (`validateV1EventSeries` and its neighbours).
fn check_event(value: &Value, causes: &mut Vec<Cause>) {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    for (field, shown) in [
        ("eventTime", "eventTime"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ] {
        if text(field).is_empty() {
            causes.push(required(shown));
        }
    }
    for (field, shown, max) in [
        ("message", "note", NOTE_BYTES_MAX),
        ("reason", "reason", REASON_BYTES_MAX),
        ("action", "action", REASON_BYTES_MAX),
        ("reportingInstance", "reportingInstance", REASON_BYTES_MAX),
    ] {
        if text(field).len() > max {
            causes.push(invalid(shown, &format!("can have at most {max} characters")));
        }
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        causes.push(invalid("type", "has invalid value"));
    }
    let (about, own) = (&value["involvedObject"]["namespace"], &value["metadata"]["namespace"]);
    let about = about.as_str().unwrap_or_default();
    // Events about objects of the cluster live in `default` or `kube-system`.
    let fits = if about.is_empty() { own == "default" || own == "kube-system" } else { own == about };
    if !fits {
        causes.push(invalid("involvedObject.namespace", "does not match event.namespace"));
    }
}

fn required(field: &str) -> Cause {
    (field.to_owned(), "FieldValueRequired", "Required value".to_owned())
}

fn invalid(field: &str, why: &str) -> Cause {
    (field.to_owned(), "FieldValueInvalid", format!("Invalid value: {why}"))
}
