//! Admission: what a validating webhook answers about an Ingress, before the API takes it.
//!
//! Goes in: an AdmissionReview (admission.k8s.io/v1) as bytes, the store, the translator. Comes out: an AdmissionReview.
//! Runs the translation that will run anyway, on the store with the object in it, and puts the store back as it was. Refuses
//! what would newly be a fault of the object itself; warns of the rest. What an object refers to may be applied after
//! it, so what is missing or broken elsewhere is a warning. `admin` serves it by HTTPS;
//! [`queue`] brings it to the thread of the store, a few at once.

pub mod queue;

use super::object::Object;
use super::reason;
use super::source::manifest::decode;
use super::store::Store;
use super::translate::Translator;
use crate::config::{self, REVIEW_BYTES_MAX};
use lb_core::Problem;
use lb_core::model::Kind;
use lb_core::problem::Severity;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Faults that are named in a refusal, and warnings.
const LISTED_MAX: usize = 10;

/// Longest warning, characters: `kubectl` shows them all, clients may cut after 4,096 bytes in all.
const WARNING_CHARS_MAX: usize = 256;

/// Faults that are mended by another object, which may come later. Classes belong to it: of an unknown one nobody knows
/// whose it will be.
const LATER: [&str; 10] = [
    reason::SERVICE_MISSING,
    reason::SERVICE_PORT_MISSING,
    reason::EXTERNAL_NAME,
    reason::INVALID_CERTIFICATE,
    reason::KEY_MISMATCH,
    reason::CERTIFICATE_EXPIRED,
    reason::CERTIFICATE_NOT_YET_VALID,
    reason::AUTHORITY_MISSING,
    reason::UNKNOWN_CLASS,
    reason::INVALID_ENDPOINT,
];

/// What a review says nothing of: a Secret that nothing names yet was never read, and whose Ingress is another controller's
/// wants to hear nothing of us.
const UNSAID: [&str; 3] = [reason::SECRET_MISSING, reason::OTHER_CLASS, reason::NO_CLASS];

/// A review that cannot be answered: the API server then does what `failurePolicy` says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReview {
    /// More bytes than [`REVIEW_BYTES_MAX`].
    #[error("the review has more than {REVIEW_BYTES_MAX} bytes")]
    TooLarge,
    /// No AdmissionReview of admission.k8s.io/v1 with a request.
    #[error("this is no AdmissionReview of admission.k8s.io/v1: {0}")]
    Unreadable(String),
}

/// Answers a review about an Ingress of a namespace that `is_watched`. `now_s` is the time in seconds since 1970.
///
/// # Errors
/// [`InvalidReview`].
pub fn review(
    body: &[u8],
    store: &mut Store,
    translator: &mut Translator,
    objects: &config::Objects,
    is_watched: impl Fn(&str) -> bool,
    now_s: i64,
) -> Result<Value, InvalidReview> {
    if body.len() > REVIEW_BYTES_MAX {
        return Err(InvalidReview::TooLarge);
    }
    let mut review: Value = serde_json::from_slice(body).map_err(|e| InvalidReview::Unreadable(e.to_string()))?;
    let request = review.get_mut("request").map(Value::take).unwrap_or_default();
    let (Some("admission.k8s.io/v1"), Some(uid)) = (review["apiVersion"].as_str(), request["uid"].as_str()) else {
        return Err(InvalidReview::Unreadable("no apiVersion, or no request.uid".to_owned()));
    };
    let mut response = json!({ "uid": uid, "allowed": true });
    if request["namespace"].as_str().is_some_and(is_watched)
        && let Some(ingress) = ingress(&request)
    {
        let news = news(ingress, store, translator, objects, now_s);
        let (refused, told): (Vec<Problem>, Vec<Problem>) = news.into_iter().partition(is_refused);
        let warnings: Vec<String> = told.iter().take(LISTED_MAX).map(warning).collect();
        if !warnings.is_empty() {
            response["warnings"] = json!(warnings);
        }
        if !refused.is_empty() {
            response["allowed"] = json!(false);
            response["status"] = json!({ "code": 422, "reason": "Invalid", "message": refusal(&refused) });
        }
    }
    Ok(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}

/// The Ingress of a request that makes or changes one. Others are none of our business, and what we cannot read the API has
/// judged.
fn ingress(request: &Value) -> Option<Object> {
    let (kind, operation) = (&request["kind"], request["operation"].as_str()?);
    let ours = kind["group"] == "networking.k8s.io" && kind["version"] == "v1" && kind["kind"] == "Ingress";
    if !ours || !matches!(operation, "CREATE" | "UPDATE") {
        return None;
    }
    let mut object = request["object"].clone();
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("namespace".to_owned(), request["namespace"].clone());
    if metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        // The name is made later (`generateName`): any that nobody has will do.
        metadata.insert("name".to_owned(), request["uid"].clone());
    }
    decode::object(Kind::Ingress, object, &mut Vec::new()).ok()
}

/// What is to be said of the object that is not said already.
fn news(
    object: Object,
    store: &mut Store,
    translator: &mut Translator,
    objects: &config::Objects,
    now_s: i64,
) -> Vec<Problem> {
    let key = object.key();
    let mut about = |store: &Store| -> Vec<Problem> {
        let (_, mut problems) = translator.translate(store, objects, now_s);
        problems.retain(|problem| problem.object == key);
        problems
    };
    let known: HashSet<(String, &str, String)> = about(store).into_iter().map(identity).collect();
    let before = store.get(&key).map(|stored| stored.object.clone());
    store.upsert(object);
    let mut problems = about(store);
    match before {
        Some(before) => store.upsert(before),
        None => store.remove(&key),
    }
    problems.retain(|problem| !UNSAID.contains(&problem.reason) && !known.contains(&identity(problem.clone())));
    problems
}

fn identity(problem: Problem) -> (String, &'static str, String) {
    (problem.field, problem.reason, problem.message)
}

fn is_refused(problem: &Problem) -> bool {
    problem.severity == Severity::Fault && !LATER.contains(&problem.reason)
}

fn refusal(problems: &[Problem]) -> String {
    let mut message = "Sluice would not do what this Ingress asks for:".to_owned();
    for problem in problems.iter().take(LISTED_MAX) {
        // Writing to a String cannot fail.
        let _ = write!(message, "\n- {problem}");
    }
    if let Some(more) = problems.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        let _ = write!(message, "\nand {more} more.");
    }
    message
}

fn warning(problem: &Problem) -> String {
    let text = format!("{}: {} {}", problem.field, problem.message, problem.remedy);
    text.chars().take(WARNING_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
