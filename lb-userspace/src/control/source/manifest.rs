//! Manifests: the text of one file becomes objects, each with its line, and Problems for what is no object.
//!
//! Goes in: bytes, YAML of any number of documents or JSON. Comes out: a [`Manifest`]. One bad document does not
//! spoil the others. Does not read files, and does not know what the objects mean.

mod compact;
pub mod decode;
mod document;

use super::super::message::bounded;
use super::super::object::{DEFAULT_NAMESPACE, Object, namespaced};
use super::super::reason;
use document::Document;
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::{Place, Severity};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Options, Spanned};
use std::sync::Arc;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub struct Manifest {
    /// Objects with the line that each begins at.
    pub entries: Vec<(Object, u32)>,
    /// What could not be read, and what need not be.
    pub problems: Vec<Problem>,
    /// Something in the file could not be read, so objects may be missing from `entries`.
    pub broken: bool,
}

/// What every object has, and what decides how the rest is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<HeadMetadata>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// A `List` as `kubectl get -o yaml` writes it.
#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Spanned<Value>>,
}

/// Reads the text of a file. `file` is the name that Problems show; one that ends in `.json` is read as JSON.
#[must_use]
pub fn read(file: &Arc<str>, bytes: &[u8]) -> Manifest {
    let mut reader = Reader { file, out: Manifest::default() };
    match std::str::from_utf8(bytes) {
        Ok(text) => reader.text(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            reader.fault(
                line_number(line),
                "",
                reason::NOT_TEXT,
                "The file is not UTF-8 text, so nothing in it can be read.".to_owned(),
                "Save it as UTF-8, or take it out of the directory.",
            );
        }
    }
    reader.out
}

struct Reader<'a> {
    file: &'a Arc<str>,
    out: Manifest,
}

impl Reader<'_> {
    fn text(&mut self, text: &str) {
        if self.file.ends_with(".json") {
            return self.json(text);
        }
        for document in document::split(text) {
            if !document.is_blank() && !self.plain(&document) {
                self.document(&document);
            }
        }
    }

    /// Reads a document as the kind that its lines name, in one pass over it instead of two. Nothing is kept unless all
    /// of it is well, so whatever is doubtful is read again by [`Self::document`], which knows what to say about it.
    fn plain(&mut self, document: &Document<'_>) -> bool {
        let Some(kind) = document.named_kind().and_then(|(version, kind)| decode::kind(version, kind)) else {
            return false;
        };
        let mut unknown = Vec::new();
        let decoded = serde_saphyr::with_deserializer_from_str_with_options(document.text, options(true), |d| {
            decode::object(kind.0, d, &mut unknown).map_err(|failure| failure.error)
        });
        match decoded {
            Ok(object) if kind.2 && is_named(&object) => {
                self.keep(object, document.line(1), &unknown);
                true
            }
            _ => false,
        }
    }

    fn document(&mut self, document: &Document<'_>) {
        let head: Head = match serde_saphyr::from_str_with_options(document.text, options(false)) {
            Ok(head) => head,
            Err(error) if decode::is_null(document.text) => return drop(error),
            Err(error) => return self.syntax(document, &error),
        };
        if head.is("v1", "List") {
            return match serde_saphyr::from_str_with_options::<List>(document.text, options(false)) {
                Ok(list) => list.items.into_iter().for_each(|item| {
                    self.value(item.value, document.line(item.referenced.line()));
                }),
                Err(error) => self.syntax(document, &error),
            };
        }
        let Some((kind, object)) = self.kind(&head, document.line(1)) else { return };
        let mut unknown = Vec::new();
        let mut field = String::new();
        let decoded = serde_saphyr::with_deserializer_from_str_with_options(document.text, options(true), |d| {
            decode::object(kind, d, &mut unknown).map_err(|failure| {
                field = failure.field;
                failure.error
            })
        });
        match decoded {
            Ok(decoded) => self.keep(decoded, document.line(1), &unknown),
            Err(error) => {
                let line = document.line(error.location().map_or(1, |l| l.line()));
                self.invalid(object, line, &field, &decode::plain(&error));
            }
        }
    }

    fn json(&mut self, text: &str) {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut offset = 0;
        while let Some(value) = values.next() {
            let skipped = text.get(offset..).map_or(0, |rest| rest.len() - rest.trim_start().len());
            let line = text.get(..offset + skipped).map_or(1, |before| before.matches('\n').count() + 1);
            offset = values.byte_offset();
            match value {
                Ok(value) => self.value(value, line_number(line)),
                Err(error) => {
                    let message = format!("This is not JSON: {error}.");
                    return self.fault(line_number(error.line()), "", reason::SYNTAX, message, SYNTAX_REMEDY);
                }
            }
        }
    }

    /// Reads an object that was parsed without regard to its kind: an item of a List, or JSON.
    fn value(&mut self, value: Value, line: u32) {
        let head = match Head::deserialize(&value) {
            Ok(head) => head,
            Err(error) => {
                let message = format!("This is not an object: {error}.");
                return self.fault(
                    line,
                    "",
                    reason::INVALID_FIELD,
                    message,
                    "Write an object with apiVersion and kind.",
                );
            }
        };
        if head.is("v1", "List") {
            // A List in a List does not occur; one level is read, so that depth is bounded.
            if let Value::Object(mut fields) = value
                && let Some(Value::Array(items)) = fields.remove("items")
            {
                items.into_iter().filter(|item| item["kind"] != "List").for_each(|item| self.value(item, line));
            }
            return;
        }
        let Some((kind, object)) = self.kind(&head, line) else { return };
        let mut unknown = Vec::new();
        match decode::object(kind, value, &mut unknown) {
            Ok(decoded) => self.keep(decoded, line, &unknown),
            Err(failure) => self.invalid(object, line, &failure.field, &failure.error.to_string()),
        }
    }

    /// The kind, when it is one that is read and the object is named; else says why not.
    fn kind(&mut self, head: &Head, line: u32) -> Option<(Kind, ObjectRef)> {
        let missing = |field: &'static str| (field, format!("The object has no {field}, so it cannot be read."));
        let absent = match (&head.kind, &head.api_version) {
            (None, _) => Some(missing("kind")),
            (_, None) => Some(missing("apiVersion")),
            _ => None,
        };
        if let Some((field, message)) = absent {
            self.fault(line, field, reason::INCOMPLETE, message, "Add it, or take the document out of the directory.");
            return None;
        }
        let (api_version, kind) = (head.api_version.as_deref()?, head.kind.as_deref()?);
        let metadata = head.metadata.as_ref();
        let name = metadata.and_then(|m| m.name.as_deref()).unwrap_or_default();
        let namespace = metadata.and_then(|m| m.namespace.as_deref()).unwrap_or_default();
        let Some((known, group, version)) = decode::kind(api_version, kind) else {
            let named = [namespace, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let message = format!("{kind} {named:?} ({api_version}) is of a kind that is not read.");
            let remedy = "Nothing: other controllers read it.".to_owned();
            self.problem(Severity::Note, None, line, "kind", reason::KIND_NOT_READ, message, remedy);
            return None;
        };
        let object = match namespace {
            _ if !namespaced(known) => ObjectRef::new(known, "", name),
            "" => ObjectRef::new(known, DEFAULT_NAMESPACE, name),
            namespace => ObjectRef::new(known, namespace, name),
        };
        if !version {
            let message = format!("{kind} in API version {api_version} is not read, so this object does nothing.");
            let remedy = format!("Write it for {group}.");
            self.broken(Some(object), line, "apiVersion", reason::UNSUPPORTED_VERSION, message, remedy);
            return None;
        }
        if name.is_empty() {
            let message = format!("The {kind} has no name, so it cannot be read.");
            self.fault(line, "metadata.name", reason::INCOMPLETE, message, "Name it.");
            return None;
        }
        for (field, text) in [("metadata.name", name), ("metadata.namespace", namespace)] {
            if !decode::is_name(text) {
                let message = format!("{text:?} is not a name that Kubernetes would take, so the object is not read.");
                let remedy = "Use at most 253 lower-case letters, digits, hyphens and dots (RFC 1123).";
                self.fault(line, field, reason::INVALID_NAME, message, remedy);
                return None;
            }
        }
        Some((known, object))
    }

    fn keep(&mut self, object: Object, line: u32, unknown: &[String]) {
        let key = object.key();
        for field in unknown.iter().take(UNKNOWN_FIELDS_MAX) {
            let message = format!("{} has no field {field}, so what it says is not heard.", key.kind);
            let remedy = "Correct the spelling, or remove it.".to_owned();
            self.problem(Severity::Note, Some(key.clone()), line, field, reason::UNKNOWN_FIELD, message, remedy);
        }
        // Most files hold one object, and a vector that grows has room for four.
        self.out.entries.reserve_exact(usize::from(self.out.entries.is_empty()));
        self.out.entries.push((object, line));
    }

    fn syntax(&mut self, document: &Document<'_>, error: &serde_saphyr::Error) {
        let line = document.line(error.location().map_or(1, |l| l.line()));
        let message = format!("This is not YAML that can be read: {}.", decode::plain(error));
        self.fault(line, "", reason::SYNTAX, message, SYNTAX_REMEDY);
    }

    fn invalid(&mut self, object: ObjectRef, line: u32, field: &str, error: &str) {
        let message = format!("The object cannot be read: {error}.");
        let remedy =
            "Correct the field; values that look like numbers or booleans and mean text need quotes.".to_owned();
        self.broken(Some(object), line, field, reason::INVALID_FIELD, message, remedy);
    }

    fn fault(&mut self, line: u32, field: &str, reason: &'static str, message: String, remedy: &str) {
        self.broken(None, line, field, reason, message, remedy.to_owned());
    }

    fn broken(
        &mut self,
        object: Option<ObjectRef>,
        line: u32,
        field: &str,
        reason: &'static str,
        message: String,
        remedy: String,
    ) {
        self.out.broken = true;
        self.problem(Severity::Fault, object, line, field, reason, message, remedy);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of a Problem")]
    fn problem(
        &mut self,
        severity: Severity,
        object: Option<ObjectRef>,
        line: u32,
        field: &str,
        reason: &'static str,
        message: String,
        remedy: String,
    ) {
        self.out.problems.push(Problem {
            severity,
            object: object.unwrap_or_else(|| ObjectRef::new(Kind::File, "", self.file.clone())),
            place: Some(Place { file: self.file.clone(), line }),
            field: bounded(field.to_owned()),
            reason,
            message: bounded(message),
            remedy,
        });
    }
}

/// Whether an object has a name, and a namespace if any, that Kubernetes would take.
fn is_named(object: &Object) -> bool {
    let metadata = object.metadata();
    let name = metadata.name.as_deref().unwrap_or_default();
    !name.is_empty() && [name, metadata.namespace.as_deref().unwrap_or_default()].into_iter().all(decode::is_name)
}

impl Head {
    fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version.as_deref() == Some(api_version) && self.kind.as_deref() == Some(kind)
    }
}

const SYNTAX_REMEDY: &str = "Correct the document; its last good objects stay in use until then.";

/// Most unknown fields of one object that are named: enough to find the misspelt block.
const UNKNOWN_FIELDS_MAX: usize = 20;

/// Most nested mappings and sequences. A Kubernetes object of the kinds that are read needs fewer than 20.
const DEPTH_MAX: usize = 64;

/// Most scalars, mappings and sequences of one document: an Ingress of 65,000 paths has 16 for each path, 1.1 million.
const NODES_MAX: usize = 4_000_000;

/// Most nodes that aliases of one document may stand for.
const ALIAS_NODES_MAX: usize = 100_000;

/// `quoted`: text that looks like a number or a boolean must be in quotes, as the Kubernetes API demands.
fn options(quoted: bool) -> Options {
    let budget = serde_saphyr::budget! {
        max_depth: DEPTH_MAX,
        max_nodes: NODES_MAX,
        max_events: 2 * NODES_MAX,
    };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIAS_NODES_MAX },
        no_schema: quoted,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
