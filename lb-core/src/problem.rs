//! A [`Problem`]: what is wrong with an object, said so that its owner can mend it.
//!
//! Goes in: what a reader or a translation found. Comes out: one value that `sluice check`, the log, status and
//! Events all show. Does not decide what serves: that is the Snapshot beside it.

use crate::model::ObjectRef;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, nothing to mend: a kind that is not read, an Ingress of another class.
    Note,
    /// Something that the owner asked for is not done.
    Fault,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Path of the file.
    pub file: Arc<str>,
    /// Line from 1; 0 where the whole file is meant.
    pub line: u32,
}

/// One fault or note. Object, field, reason and remedy are always there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The object it is about.
    pub object: ObjectRef,
    /// Where the object was read, when it came from a file.
    pub place: Option<Place>,
    /// Path of the field, as in `spec.rules[0].host`; empty where the whole object is meant.
    pub field: String,
    /// One word in CamelCase, stable: the `reason` of an Event, the label of a metric.
    pub reason: &'static str,
    /// What is wrong and what happens because of it, one sentence or two.
    pub message: String,
    /// What the owner can do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    /// `shop.yaml:12: Ingress shop/cart: spec.rules[0].host: InvalidHost: … Remedy: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            if place.line > 0 {
                write!(f, "{}:{}: ", place.file, place.line)?;
            } else {
                write!(f, "{}: ", place.file)?;
            }
        }
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}: {} Remedy: {}", self.reason, self.message, self.remedy)
    }
}
