//! Paths: type and text of a rule's path become a match.
//!
//! Also decides which hosts have expressions for paths in class mode `nginx`: there, one Ingress that asks for them
//! turns all paths of its hosts into expressions, those of other Ingresses too, as ingress-nginx does.

use super::super::reason;
use super::Served;
use super::annotations::Expressions;
use super::expression::Compiled;
use crate::config::ClassMode;
use k8s_openapi::api::networking::v1::HTTPIngressPath;
use lb_core::model::{HostPattern, InvalidPath, PathMatch};
use std::collections::HashSet;

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

/// The hosts of Ingresses in class mode `nginx` on which every path is an expression.
pub fn expression_hosts(served: &[Served<'_>]) -> HashSet<HostPattern> {
    let asks = served.iter().filter(|ingress| ingress.mode == ClassMode::Nginx && asks_for_expressions(ingress));
    let rules = asks.flat_map(|ingress| ingress.spec.rules.iter().flatten());
    rules.filter_map(|rule| HostPattern::parse(rule.host.as_deref().unwrap_or_default()).ok()).collect()
}

/// `use-regex`, or a `rewrite-target` that is another text than some path: the same text rewrites nothing.
fn asks_for_expressions(ingress: &Served<'_>) -> bool {
    let paths = || ingress.spec.rules.iter().flatten().flat_map(|r| &r.http).flat_map(|http| &http.paths);
    match (ingress.settings.expressions, ingress.settings.rewrite()) {
        (Expressions::None, _) => false,
        (_, Some(rewrite)) => {
            ingress.settings.use_regex || paths().any(|path| path.path.as_deref().unwrap_or("/") != rewrite.text())
        }
        (_, None) => true,
    }
}

/// Reads a path. `expressions` says which types are expressions.
///
/// # Errors
/// [`Refused`], and the path is not served.
pub fn read(path: &HTTPIngressPath, expressions: Expressions, compiled: &mut Compiled) -> Result<PathMatch, Refused> {
    let kind = path.path_type.as_str();
    let text = match (path.path.as_deref().filter(|text| !text.is_empty()), kind) {
        (Some(text), _) => text,
        (None, "ImplementationSpecific") => "/",
        (None, _) => return Err(invalid("The path is empty, so it is not served.".to_owned())),
    };
    let matched = match (kind, expressions) {
        ("Exact" | "Prefix" | "ImplementationSpecific", Expressions::All)
        | ("Prefix" | "ImplementationSpecific", Expressions::AllButExact) => compiled.get(text).map(PathMatch::Regex),
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
