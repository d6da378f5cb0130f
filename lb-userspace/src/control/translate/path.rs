//! Paths: type and text of a rule's path become a match.

use super::super::reason;
use super::annotations::Expressions;
use k8s_openapi::api::networking::v1::HTTPIngressPath;
use lb_core::model::{InvalidPath, PathMatch};

/// A path that is not served.
#[derive(Debug)]
pub struct Refused {
    /// Which field of the path: `path` or `pathType`.
    pub field: &'static str,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Reads a path. `expressions` says which types the annotations of its Ingress turn into expressions.
///
/// # Errors
/// [`Refused`], and the path is not served.
pub fn read(path: &HTTPIngressPath, expressions: Expressions) -> Result<PathMatch, Refused> {
    let kind = path.path_type.as_str();
    let text = match (path.path.as_deref().filter(|text| !text.is_empty()), kind) {
        (Some(text), _) => text,
        (None, "ImplementationSpecific") => "/",
        (None, _) => return Err(invalid("The path is empty, so it is not served.".to_owned())),
    };
    let matched = match (kind, expressions) {
        ("Exact" | "Prefix" | "ImplementationSpecific", Expressions::All) => PathMatch::regex(text),
        ("Prefix" | "ImplementationSpecific", Expressions::AllButExact) => PathMatch::regex(text),
        ("Exact", _) => PathMatch::exact(text),
        ("Prefix" | "ImplementationSpecific", _) => PathMatch::prefix(text),
        _ => {
            return Err(Refused {
                field: "pathType",
                reason: reason::INVALID_PATH_TYPE,
                message: format!("{kind:?} is not a path type, so the path is not served."),
                remedy: "Write Prefix, Exact or ImplementationSpecific.",
            });
        }
    };
    matched.map_err(|error| refused(&error))
}

fn refused(error: &InvalidPath) -> Refused {
    let mut refused = invalid(format!("The {error}, so it is not served."));
    if matches!(error, InvalidPath::Regex { .. }) {
        refused.remedy = "Write an expression without back-references and look-around, or remove the annotations \
                          use-regex and rewrite-target.";
    }
    refused
}

fn invalid(message: String) -> Refused {
    let remedy = "Write an absolute path as it appears in requests, without a query.";
    Refused { field: "path", reason: reason::INVALID_PATH, message, remedy }
}
