//! For tests of families: annotations of an Ingress `default/a` without any other object, read.

use super::super::super::store::Store;
use super::super::report::Report;
use super::super::shared::Shared;
use super::{NGINX, Settings};
use lb_core::model::{Kind, ObjectRef, Policy};
use std::collections::BTreeMap;

/// Reads annotations by their whole keys: what they ask for, and the reasons of the Problems.
pub fn trial<T: AsRef<str>>(annotations: &[(T, T)]) -> (Settings, Vec<&'static str>) {
    let store = Store::default();
    let mut report = Report::new(&store);
    let object = ObjectRef::new(Kind::Ingress, "default", "a");
    let owned = |(key, text): &(T, T)| (key.as_ref().to_owned(), text.as_ref().to_owned());
    let annotations: BTreeMap<String, String> = annotations.iter().map(owned).collect();
    let defaults = Policy::default();
    let settings = super::read(&object, Some(&annotations), &store, &defaults, &mut Shared::default(), &mut report);
    let mut reasons: Vec<&'static str> = report.finish().iter().map(|problem| problem.reason).collect();
    reasons.sort_unstable();
    (settings, reasons)
}

/// The same for annotations of ingress-nginx without their prefix.
pub fn trial_nginx(annotations: &[(&str, &str)]) -> (Settings, Vec<&'static str>) {
    let full = |(name, text): &(&str, &str)| (format!("{NGINX}{name}"), (*text).to_owned());
    trial(&annotations.iter().map(full).collect::<Vec<_>>())
}
