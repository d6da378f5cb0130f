//! The annotations of one Ingress that families read, and what is to be said about them.
//!
//! Goes in: keys and values. Comes out: the values of supported keys by name, typed; Problems for all others. Does not
//! know what a supported annotation means.

use super::super::super::reason;
use super::super::super::store::Store;
use super::super::report::Report;
use super::table::{self, Meaning};
use super::{FAMILIES, NGINX, SLUICE, snippet, value};
use lb_core::model::ObjectRef;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An annotation that is there.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Its name: without prefix and alias for one of ingress-nginx, whole for one of ours.
    name: &'static str,
    /// As written, with prefix.
    key: &'a str,
    /// Its value.
    pub text: &'a str,
}

/// The annotations of one Ingress.
pub struct Reader<'a, 'r> {
    /// The Ingress.
    pub object: &'a ObjectRef,
    /// Where Secrets are.
    pub store: &'a Store,
    given: Vec<Given<'a>>,
    said: RefCell<Said<'a, 'r>>,
}

/// What was said so far. Families read through a shared reference, so that values can be borrowed meanwhile.
struct Said<'a, 'r> {
    report: &'a mut Report<'r>,
    unsupported: Vec<&'static str>,
    closed: Vec<String>,
    withdrawn: bool,
}

impl<'a, 'r> Reader<'a, 'r> {
    /// Sorts annotations: supported ones are kept, the others reported.
    pub fn of(
        object: &'a ObjectRef,
        annotations: Option<&'a BTreeMap<String, String>>,
        store: &'a Store,
        report: &'a mut Report<'r>,
    ) -> Self {
        let said = Said { report, unsupported: Vec::new(), closed: Vec::new(), withdrawn: false };
        let mut reader = Self { object, store, given: Vec::new(), said: RefCell::new(said) };
        for (key, text) in annotations.into_iter().flatten() {
            if let Some(name) = key.strip_prefix(NGINX) {
                reader.nginx(key, name, text);
            } else if key.starts_with(SLUICE) {
                reader.own(key, text);
            }
        }
        reader
    }

    /// An annotation by its name.
    pub fn get(&self, name: &str) -> Option<Given<'a>> {
        self.given.iter().find(|given| given.name == name).copied()
    }

    /// Whether an annotation is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A value that a function reads; what it refuses is void.
    pub fn read<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, value::Invalid>) -> Option<T> {
        let given = self.get(name)?;
        match read(given.text) {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.invalid(given, &invalid.why, invalid.remedy);
                None
            }
        }
    }

    /// The value of an annotation is void.
    pub fn invalid(&self, given: Given<'_>, why: &str, remedy: &str) {
        let message = format!("{}, so the annotation is void.", capitalised(why));
        self.fault(given, reason::INVALID_ANNOTATION, message, remedy);
    }

    /// An annotation is not followed to the letter.
    pub fn fault(&self, given: Given<'_>, reason: &'static str, message: String, remedy: &str) {
        self.said().report.fault(self.object, field(given.key), reason, message, remedy);
    }

    /// Something worth knowing about an annotation.
    pub fn note(&self, given: Given<'_>, message: &str, remedy: &str) {
        self.said().report.note(self.object, field(given.key), reason::USELESS_ANNOTATION, message, remedy);
    }

    /// An annotation protects and cannot be honoured: the Ingress is closed. `why` is a sentence without its stop.
    pub fn close(&self, given: Given<'_>, reason: &'static str, why: String, remedy: &str) {
        let message = format!("{}; the paths of this Ingress answer 503, rather than stand open.", capitalised(&why));
        self.fault(given, reason, message, remedy);
        self.said().closed.push(why);
    }

    /// Why the Ingress is closed, and whether it is not served at all.
    pub fn finish(self) -> (Option<Arc<str>>, bool) {
        let mut said = self.said.into_inner();
        if !said.unsupported.is_empty() {
            said.closed.insert(0, format!("this version cannot honour {}", said.unsupported.join(", ")));
        }
        ((!said.closed.is_empty()).then(|| said.closed.join("; ").into()), said.withdrawn)
    }

    fn nginx(&mut self, key: &'a str, name: &str, text: &'a str) {
        let Some((name, meaning)) = table::meaning(name) else {
            if table::is_obsolete(name) {
                let message = "ingress-nginx does not read this annotation (any more), and neither do we.";
                self.said().report.note(self.object, field(key), reason::OBSOLETE_ANNOTATION, message, "Remove it.");
            } else {
                self.unknown(key);
            }
            return;
        };
        match meaning {
            Meaning::Supported => self.given.push(Given { name, key, text }),
            Meaning::Refused { default, instead } if *default != Some(text) => self.refused(key, instead),
            Meaning::Protects { off } if !text.is_empty() && *off != Some(text) => self.unsupported(key, name),
            Meaning::Snippet if snippet::protects(text) => self.unsupported(key, name),
            Meaning::Snippet => self.refused(key, "text for nginx is never run"),
            Meaning::Canary if text != "false" => self.withdraw(key),
            // The value asks for what is done anyway.
            Meaning::Refused { .. } | Meaning::Protects { .. } | Meaning::Canary => {}
        }
    }

    fn own(&mut self, key: &'a str, text: &'a str) {
        match FAMILIES.iter().flat_map(|family| family.keys).find(|known| **known == key) {
            Some(name) => self.given.push(Given { name, key, text }),
            None => self.unknown(key),
        }
    }

    fn refused(&self, key: &str, instead: &str) {
        let message =
            format!("The annotation is not supported by this version; the Ingress is served without it: {instead}.");
        let remedy = "Remove it if the Ingress can do without.";
        self.said().report.fault(self.object, field(key), reason::UNSUPPORTED_ANNOTATION, message, remedy);
    }

    fn unsupported(&self, key: &str, name: &'static str) {
        let message = "The annotation protects the backend, and this version cannot honour it; the paths of this \
                       Ingress answer 503, rather than stand open.";
        let remedy = "Remove it if the backend needs no protection, or protect it elsewhere.";
        let mut said = self.said();
        said.report.fault(self.object, field(key), reason::PROTECTION_UNSUPPORTED, message, remedy);
        said.unsupported.push(name);
    }

    fn withdraw(&self, key: &str) {
        let message = "Canaries are not supported by this version; this Ingress is not served, and the main one takes \
                       every request.";
        let remedy = "Remove this Ingress, or keep it for later.";
        let mut said = self.said();
        said.report.fault(self.object, field(key), reason::UNSUPPORTED_ANNOTATION, message, remedy);
        said.withdrawn = true;
    }

    fn unknown(&self, key: &str) {
        let message = "Nobody knows this annotation, so it does nothing.";
        let remedy = "Correct the spelling, or remove it.";
        self.said().report.fault(self.object, field(key), reason::UNKNOWN_ANNOTATION, message, remedy);
    }

    fn said(&self) -> RefMut<'_, Said<'a, 'r>> {
        self.said.borrow_mut()
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
