//! Notes: the text and name of an Event, and which Problems have one.
//!
//! Goes in: Problems. Comes out: what events.k8s.io/v1 takes: notes of at most 1,024 bytes, names that are DNS subdomains.
//! Not told: what is not ours (Ingresses of other and of unknown classes, classes of other controllers), and what no API
//! object has (files). Notes of other kinds than Ingress are not told either: nobody can act on them there.

use crate::control::reason;
use crate::control::store::Store;
use aws_lc_rs::digest::{SHA256, digest};
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::Severity;
use std::fmt::Write as _;

/// Longest note, bytes (`NoteLengthLimit` of the API).
const NOTE_BYTES_MAX: usize = 1_024;

/// Longest name of an object, bytes (RFC 1123 subdomain).
const NAME_BYTES_MAX: usize = 253;

/// Problems of what is not ours, or of nothing that the API has.
const UNTOLD: [&str; 4] = [reason::OTHER_CLASS, reason::NO_CLASS, reason::UNKNOWN_CLASS, reason::KIND_NOT_READ];

/// `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Worth knowing.
    Normal,
    /// To be mended.
    Warning,
}

impl Type {
    /// As the API has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl From<Severity> for Type {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Note => Self::Normal,
            Severity::Fault => Self::Warning,
        }
    }
}

/// Whether a Problem has an Event.
#[must_use]
pub fn is_told(problem: &Problem, store: &Store, controller_class: &str) -> bool {
    if problem.place.is_some() || UNTOLD.contains(&problem.reason) {
        return false;
    }
    match problem.object.kind {
        Kind::File => false,
        Kind::Ingress => true,
        Kind::IngressClass => {
            problem.severity == Severity::Fault && is_our_class(store, &problem.object, controller_class)
        }
        _ => problem.severity == Severity::Fault,
    }
}

fn is_our_class(store: &Store, key: &ObjectRef, controller_class: &str) -> bool {
    let found = store.ingress_classes().find(|(name, _)| ***name == *key);
    let controller = found.and_then(|(_, class)| class.spec.as_ref()?.controller.as_deref());
    controller == Some(controller_class)
}

/// Field, message and remedy, as far as they fit.
#[must_use]
pub fn note(problem: &Problem) -> String {
    let mut note = String::with_capacity(problem.field.len() + problem.message.len() + problem.remedy.len() + 16);
    if !problem.field.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(note, "{}: ", problem.field);
    }
    let _ = write!(note, "{} Remedy: {}", problem.message, problem.remedy);
    bounded(note)
}

fn bounded(mut note: String) -> String {
    const CUT: &str = " … (cut)";
    if note.len() > NOTE_BYTES_MAX {
        note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX - CUT.len()));
        note.push_str(CUT);
    }
    note
}

/// The name of an Event: the object's, and a digest of what it says about which incarnation of it. So every agent, and the
/// same agent after a restart, means the same Event.
#[must_use]
pub fn name(object: &ObjectRef, uid: &str, reason: &str, note: &str) -> String {
    let said = digest(&SHA256, format!("{}\n{object}\n{uid}\n{reason}\n{note}", env!("CARGO_PKG_NAME")).as_bytes());
    let mut name = object.name.to_string();
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX - 17));
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name.push('.');
    for byte in &said.as_ref()[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: Kind, severity: Severity, reason: &'static str) -> Problem {
        Problem {
            severity,
            object: ObjectRef::new(kind, "shop", "cart"),
            place: None,
            field: "spec.rules[0].host".to_owned(),
            reason,
            message: "It is wrong.".to_owned(),
            remedy: "Mend it.".to_owned(),
        }
    }

    #[test]
    fn what_is_told() {
        let store = Store::default();
        let check = |kind, severity, reason, want| {
            let problem = problem(kind, severity, reason);
            assert_eq!(is_told(&problem, &store, "sluice.dev/ingress"), want, "{problem}");
        };
        check(Kind::Ingress, Severity::Fault, reason::INVALID_HOST, true);
        check(Kind::Ingress, Severity::Note, reason::NO_ENDPOINTS, true);
        check(Kind::Ingress, Severity::Note, reason::OTHER_CLASS, false);
        check(Kind::Ingress, Severity::Fault, reason::UNKNOWN_CLASS, false);
        check(Kind::EndpointSlice, Severity::Fault, reason::INVALID_ENDPOINT, true);
        check(Kind::EndpointSlice, Severity::Note, reason::INVALID_ENDPOINT, false);
        check(Kind::IngressClass, Severity::Fault, reason::SEVERAL_DEFAULT_CLASSES, false);
        check(Kind::File, Severity::Fault, reason::SYNTAX, false);
    }

    #[test]
    fn notes_fit() {
        let mut long = problem(Kind::Ingress, Severity::Fault, reason::INVALID_HOST);
        assert_eq!(note(&long), "spec.rules[0].host: It is wrong. Remedy: Mend it.");
        long.remedy = "é".repeat(2_000);
        let note = note(&long);
        assert!(note.len() <= NOTE_BYTES_MAX && note.ends_with("(cut)"));
    }

    #[test]
    fn names_are_names() {
        let object = ObjectRef::new(Kind::Ingress, "shop", "a".repeat(235) + ".b" + &"c".repeat(16));
        let of = |uid, note| name(&object, uid, "R", note);
        assert_eq!(of("1", "x"), of("1", "x"));
        assert_ne!(of("1", "x"), of("2", "x"));
        assert_ne!(of("1", "x"), of("1", "y"));
        assert!(of("1", "x").len() <= NAME_BYTES_MAX && !of("1", "x").contains(".."), "{}", of("1", "x"));
    }
}
