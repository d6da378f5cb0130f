//! One refusal: the `Status` object that Kubernetes answers with instead of what was asked.
//!
//! Goes in: what went wrong. Comes out: code, reason, message and details as k8s.io/apimachinery `pkg/api/errors` makes
//! them. Does not do: deciding; it only words.

use super::resource::Resource;
use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// `reason`, a CamelCase word, or nothing.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details`, an object.
    pub details: Value,
    /// `details.retryAfterSeconds`, and the header `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl Failure {
    /// Any refusal.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}), retry_after_s: None }
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 for an object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::about(resource, name, 404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
    }

    /// 404 for a path that nothing answers.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: an object of this name is there.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::about(resource, name, 409, "AlreadyExists", message)
    }

    /// 409: the object is not what the writer believes; `why` ends the message.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::about(resource, name, 409, "Conflict", message)
    }

    /// 409 of a stale `metadata.resourceVersion`.
    #[must_use]
    pub fn stale(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 422: fields that validation refuses, each with the path, a reason (`FieldValueInvalid`…) and a message.
    #[must_use]
    pub fn invalid(kind: &str, group: &str, name: &str, causes: &[(String, &str, String)]) -> Self {
        let listed: Vec<String> = causes.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
        let listed = if listed.len() == 1 { listed.concat() } else { format!("[{}]", listed.join(", ")) };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut failure = Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {listed}"));
        let causes: Vec<Value> = causes
            .iter()
            .map(|(field, reason, message)| json!({"reason": reason, "message": message, "field": field}))
            .collect();
        failure.details = json!({"name": name, "group": group, "kind": kind, "causes": causes});
        failure
    }

    /// 422 of a list option.
    #[must_use]
    pub fn invalid_option(option: &str, why: &str) -> Self {
        let cause = (option.to_owned(), "FieldValueForbidden", format!("Forbidden: {why}"));
        Self::invalid("ListOptions", "meta.k8s.io", "", &[cause])
    }

    /// 410: history that is no longer kept.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 of a watch that begins before the kept history.
    #[must_use]
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504 of a list at a version that is not there yet.
    #[must_use]
    pub fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(504, "Timeout", format!("Timeout: {message}"));
        failure.details = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": message}]});
        failure.retry_after(1)
    }

    /// Sets the time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut details = self.details.clone();
        if let (Some(seconds), Some(details)) = (self.retry_after_s, details.as_object_mut()) {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if details.as_object().is_some_and(|details| !details.is_empty()) {
            status["details"] = details;
        }
        status
    }

    fn about(resource: &Resource, name: &str, code: u16, reason: &'static str, message: String) -> Self {
        let mut failure = Self::new(code, reason, message);
        failure.details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            failure.details["group"] = json!(resource.group);
        }
        failure
    }
}
