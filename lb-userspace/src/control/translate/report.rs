//! The report of a translation: Problems with the places of their objects, bounded for each object.

use super::super::message::bounded;
use super::super::reason;
use super::super::store::Store;
use lb_core::Problem;
use lb_core::model::ObjectRef;
use lb_core::problem::Severity;
use std::collections::HashMap;

/// Problems of one object that are listed: more are only counted, as 65,000 bad paths of one Ingress would hide all else.
pub const PROBLEMS_PER_OBJECT_MAX: usize = 100;

/// Collects Problems.
#[derive(Debug)]
pub struct Report<'a> {
    store: &'a Store,
    problems: Vec<Problem>,
    counts: HashMap<ObjectRef, usize>,
}

impl<'a> Report<'a> {
    /// An empty report on objects of a store.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store, problems: Vec::new(), counts: HashMap::new() }
    }

    /// Something that the owner asked for is not done.
    pub fn fault(
        &mut self,
        object: &ObjectRef,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Fault, object, field.into(), reason, message.into(), remedy.into());
    }

    /// Something worth knowing.
    pub fn note(
        &mut self,
        object: &ObjectRef,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Note, object, field.into(), reason, message.into(), remedy.into());
    }

    /// All Problems, in order, each once.
    #[must_use]
    pub fn finish(mut self) -> Vec<Problem> {
        for (object, count) in std::mem::take(&mut self.counts) {
            let more = count.saturating_sub(PROBLEMS_PER_OBJECT_MAX);
            if more > 0 {
                let message = format!("{more} more Problems of this object are not listed.");
                let remedy = "Mend the listed ones first.".to_owned();
                self.push(Severity::Fault, &object, String::new(), reason::MORE_PROBLEMS, message, remedy);
            }
        }
        sort(&mut self.problems);
        self.problems
    }

    fn add(
        &mut self,
        severity: Severity,
        object: &ObjectRef,
        field: String,
        reason: &'static str,
        message: String,
        remedy: String,
    ) {
        let count = match self.counts.get_mut(object) {
            Some(count) => count,
            None => self.counts.entry(object.clone()).or_default(),
        };
        *count += 1;
        if *count <= PROBLEMS_PER_OBJECT_MAX {
            self.push(severity, object, field, reason, message, remedy);
        }
    }

    fn push(
        &mut self,
        severity: Severity,
        object: &ObjectRef,
        field: String,
        reason: &'static str,
        message: String,
        remedy: String,
    ) {
        let place = self.store.get(object).and_then(|stored| stored.place.clone());
        let (field, message) = (bounded(field), bounded(message));
        self.problems.push(Problem { severity, object: object.clone(), place, field, reason, message, remedy });
    }
}

/// An object as whoever owns another one may see it: of other namespaces the kind and the namespace alone.
#[must_use]
pub fn shown(object: &ObjectRef, to: &ObjectRef) -> String {
    match object.namespace == to.namespace {
        true => object.to_string(),
        false => format!("a {} of namespace {}", object.kind, object.namespace),
    }
}

/// Faults before Notes, then by object and place; each once.
pub fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    problems.dedup();
}
