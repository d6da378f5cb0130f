//! The intake: what watches tell becomes objects in the store.
//!
//! Goes in: items, scope by scope. Comes out: a [`Store`] and Problems. An object that is told is taken at once; one that a new list
//! does not name is taken out when that list is whole, not before. Objects of namespaces that are not selected, and
//! Secrets that no Ingress names, are known and wait aside: what is named or selected later is there at once, and what
//! nobody uses costs no translation. Pure: no I/O, no clock.

use super::super::super::message::bounded;
use super::super::super::object::Object;
use super::super::super::reason;
use super::super::super::store::Store;
use super::references::References;
use super::scope::{Scope, Watched};
use super::wire::{Item, Unreadable};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::Severity;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Fields that an object has and its kind has not, of which its owner is told.
const UNKNOWN_FIELDS_MAX: usize = 10;

/// What is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Change {
    /// Nothing.
    #[default]
    Nothing,
    /// The status of objects, which decides nothing that is served.
    Status,
    /// What is served, or what is to be said of it.
    Content,
}

/// What is known of one scope.
#[derive(Debug, Default)]
struct Hold {
    /// Nothing is published before it is whole.
    needed: bool,
    /// The objects that it told of, with the list in or after which it did last.
    held: HashMap<ObjectRef, u32>,
    /// How many lists began.
    list: u32,
    whole: bool,
    /// It is whole, or it failed: there is no use in waiting for it.
    settled: bool,
    denied: Option<Problem>,
}

/// The intake.
#[derive(Debug)]
pub struct Intake {
    store: Store,
    aside: HashMap<ObjectRef, Object>,
    holds: BTreeMap<Scope, Hold>,
    references: References,
    /// Secrets that are named, and that no needed scope told of.
    missing: BTreeSet<ObjectRef>,
    /// Namespaces that are selected; `None`: all of those that are watched.
    namespaces: Option<BTreeSet<String>>,
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    /// Something is another than when it was last asked for.
    changed: Change,
    objects_max: usize,
}

impl Intake {
    /// One that knows nothing. `selects`: namespaces come from a watch.
    #[must_use]
    pub fn new(objects_max: usize, selects: bool) -> Self {
        Self {
            store: Store::default(),
            aside: HashMap::new(),
            holds: BTreeMap::new(),
            references: References::default(),
            missing: BTreeSet::new(),
            namespaces: selects.then(BTreeSet::new),
            problems: BTreeMap::new(),
            changed: Change::Nothing,
            objects_max,
        }
    }

    /// Opens a scope. Nothing is published before those that are `needed` are whole.
    pub fn open(&mut self, scope: Scope, needed: bool) {
        self.holds.insert(scope, Hold { needed, ..Hold::default() });
    }

    /// Closes a scope: what it alone told of is gone.
    pub fn close(&mut self, scope: &Scope) {
        let Some(hold) = self.holds.remove(scope) else { return };
        self.changes(hold.denied.is_some());
        for key in hold.held.into_keys() {
            self.gone_unless_held(scope.watched, &key);
        }
    }

    /// A list of everything begins.
    pub fn begins(&mut self, scope: &Scope) {
        if let Some(hold) = self.holds.get_mut(scope) {
            hold.list = hold.list.wrapping_add(1);
        }
    }

    /// An object is new, or as it was, or another than before.
    pub fn put(&mut self, scope: &Scope, item: Item) {
        let Some(hold) = self.holds.get_mut(scope) else { return };
        let Item { key, object, unknown, .. } = item;
        match hold.held.get_mut(&key) {
            Some(list) => *list = hold.list,
            None => {
                hold.held.insert(key.clone(), hold.list);
                if hold.needed {
                    self.missing.remove(&key);
                }
            }
        }
        match object {
            Ok(None) => self.select(&key.name, true),
            Ok(Some(object)) => {
                let notes = match key.kind {
                    // Others are written by controllers, whose new fields are nobody's mistake.
                    Kind::Ingress | Kind::IngressClass => unknown_fields(&key, &unknown),
                    _ => Vec::new(),
                };
                self.keep(&key, object, notes);
            }
            Err(unreadable) => {
                let problem = unreadable_object(&key, &unreadable);
                self.say(&key, vec![problem]);
            }
        }
    }

    /// An object is gone.
    pub fn gone(&mut self, scope: &Scope, key: &ObjectRef) {
        let Some(hold) = self.holds.get_mut(scope) else { return };
        hold.held.remove(key);
        self.gone_unless_held(scope.watched, key);
    }

    /// The list is whole: what it did not name is gone.
    pub fn whole(&mut self, scope: &Scope) {
        let Some(hold) = self.holds.get_mut(scope) else { return };
        let first = !hold.whole;
        (hold.whole, hold.settled) = (true, true);
        let list = hold.list;
        let gone: Vec<ObjectRef> = hold.held.extract_if(|_, last| *last != list).map(|(key, _)| key).collect();
        self.changes(first);
        for key in gone {
            self.gone_unless_held(scope.watched, &key);
        }
    }

    /// A scope does not work; `denied`: what its owner should know.
    pub fn failed(&mut self, scope: &Scope, denied: Option<Problem>) {
        let Some(hold) = self.holds.get_mut(scope) else { return };
        let differs = denied != hold.denied || !hold.settled;
        (hold.settled, hold.denied) = (true, denied);
        self.changes(differs);
    }

    /// A scope works.
    pub fn works(&mut self, scope: &Scope) {
        let denied = self.holds.get_mut(scope).and_then(|hold| hold.denied.take());
        self.changes(denied.is_some());
    }

    /// Whether all that is needed was read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holds.values().all(|hold| hold.whole || !hold.needed)
    }

    /// Whether there is anything left to wait for in the scopes that are not needed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.holds.values().all(|hold| hold.settled || hold.needed)
    }

    /// What is another than when this was last asked.
    pub fn take_changed(&mut self) -> Change {
        std::mem::take(&mut self.changed)
    }

    /// The objects that count.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The same, for what is known of its objects and is none.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The store, and which namespaces are selected: all, where none are selected.
    pub fn store_and_namespaces(&mut self) -> (&mut Store, impl Fn(&str) -> bool) {
        let namespaces = &self.namespaces;
        (&mut self.store, move |namespace| namespaces.as_ref().is_none_or(|selected| selected.contains(namespace)))
    }

    /// Secrets that are named and not among those that are watched together, with the Ingresses that name them.
    pub fn missing(&self) -> impl Iterator<Item = (&ObjectRef, &[ObjectRef])> {
        self.missing.iter().map(|secret| (secret, self.references.of(secret)))
    }

    /// What is wrong with objects, and what may not be read.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let denied = self.holds.values().filter_map(|hold| hold.denied.as_ref());
        denied.chain(self.problems.values().flatten()).cloned().collect()
    }

    fn keep(&mut self, key: &ObjectRef, object: Object, problems: Vec<Problem>) {
        let stored = self.store.get(key).map(|stored| &stored.object);
        let known = stored.or_else(|| self.aside.get(key));
        if known == Some(&object) {
            return self.say(key, problems);
        }
        if let (Some(Object::Ingress(known)), Object::Ingress(new)) = (stored, &object)
            && differ_in_status_alone(known, new)
        {
            self.store.upsert(object);
            self.changed = self.changed.max(Change::Status);
            return self.say(key, problems);
        }
        if known.is_none() && self.store.len() + self.aside.len() >= self.objects_max {
            let problem = too_many_objects(key, self.objects_max);
            return self.say(key, vec![problem]);
        }
        self.say(key, problems);
        if self.counts(key) {
            self.admit(key, object);
        } else {
            self.aside.insert(key.clone(), object);
        }
    }

    /// Whether an object of this name counts.
    fn counts(&self, key: &ObjectRef) -> bool {
        let selected = |all: &BTreeSet<String>| key.namespace.is_empty() || all.contains(&*key.namespace);
        self.namespaces.as_ref().is_none_or(selected) && (key.kind != Kind::Secret || self.references.names(key))
    }

    fn admit(&mut self, key: &ObjectRef, object: Object) {
        self.changes(true);
        if let Object::Ingress(ingress) = &object {
            let secrets = self.references.take(key, Some(ingress));
            self.store.upsert(object.clone());
            return self.look_at_secrets(secrets);
        }
        self.store.upsert(object);
    }

    /// Takes an object out of the store, and answers it.
    fn dismiss(&mut self, key: &ObjectRef) -> Option<Object> {
        let object = self.store.get(key)?.object.clone();
        self.changes(true);
        self.store.remove(key);
        if key.kind == Kind::Ingress {
            let secrets = self.references.take(key, None);
            self.look_at_secrets(secrets);
        }
        Some(object)
    }

    /// These are named now, or no more.
    fn look_at_secrets(&mut self, secrets: BTreeSet<ObjectRef>) {
        for secret in secrets {
            if !self.references.names(&secret) {
                self.missing.remove(&secret);
                if let Some(object) = self.dismiss(&secret) {
                    self.aside.insert(secret, object);
                }
                continue;
            }
            if !self.is_held(Watched::Object(Kind::Secret), &secret, true) {
                self.missing.insert(secret.clone());
            }
            if self.counts(&secret)
                && let Some(object) = self.aside.remove(&secret)
            {
                self.admit(&secret, object);
            }
        }
    }

    fn select(&mut self, namespace: &str, selected: bool) {
        let Some(namespaces) = &mut self.namespaces else { return };
        let differs = if selected { namespaces.insert(namespace.to_owned()) } else { namespaces.remove(namespace) };
        if !differs {
            return;
        }
        let within = |key: &&ObjectRef| *key.namespace == *namespace;
        let mut keys: Vec<ObjectRef> =
            self.holds.values().flat_map(|hold| hold.held.keys()).filter(within).cloned().collect();
        // Ingresses first, for they name Secrets.
        keys.sort_unstable();
        for key in keys {
            if !selected {
                if let Some(object) = self.dismiss(&key) {
                    self.aside.insert(key, object);
                }
            } else if self.counts(&key)
                && let Some(object) = self.aside.remove(&key)
            {
                self.admit(&key, object);
            }
        }
    }

    fn gone_unless_held(&mut self, watched: Watched, key: &ObjectRef) {
        if key.kind == Kind::Secret && self.references.names(key) && !self.is_held(watched, key, true) {
            self.missing.insert(key.clone());
        }
        if self.is_held(watched, key, false) {
            return;
        }
        if watched == Watched::Namespace {
            return self.select(&key.name, false);
        }
        self.say(key, Vec::new());
        self.aside.remove(key);
        drop(self.dismiss(key));
    }

    fn is_held(&self, watched: Watched, key: &ObjectRef, needed: bool) -> bool {
        let of_kind = self.holds.iter().filter(|(scope, hold)| scope.watched == watched && (hold.needed || !needed));
        of_kind.map(|(_, hold)| hold).any(|hold| hold.held.contains_key(key))
    }

    fn say(&mut self, key: &ObjectRef, problems: Vec<Problem>) {
        let before = if problems.is_empty() {
            self.problems.remove(key)
        } else if self.problems.get(key) == Some(&problems) {
            return;
        } else {
            self.problems.insert(key.clone(), problems);
            None
        };
        self.changes(before.is_some() || self.problems.contains_key(key));
    }

    fn changes(&mut self, changes: bool) {
        if changes {
            self.changed = Change::Content;
        }
    }
}

fn differ_in_status_alone(one: &Ingress, two: &Ingress) -> bool {
    let versionless = |ingress: &Ingress| ObjectMeta { resource_version: None, ..ingress.metadata.clone() };
    one.spec == two.spec && versionless(one) == versionless(two)
}

fn unknown_fields(key: &ObjectRef, fields: &[String]) -> Vec<Problem> {
    let note = |field: &String| {
        let message = format!("{} has no field {field}, so what it says is not heard.", key.kind);
        let remedy = "Nothing, if a newer version of Kubernetes has it; else correct the spelling.";
        problem(Severity::Note, key, field, reason::UNKNOWN_FIELD, message, remedy)
    };
    fields.iter().take(UNKNOWN_FIELDS_MAX).map(note).collect()
}

fn unreadable_object(key: &ObjectRef, unreadable: &Unreadable) -> Problem {
    let message = format!("It cannot be read: {}. What it said last stays in use.", unreadable.why);
    let remedy = "Correct the field; if it is right, this version of Sluice is too old for it.";
    problem(Severity::Fault, key, &unreadable.field, reason::INVALID_FIELD, message, remedy)
}

fn too_many_objects(key: &ObjectRef, max: usize) -> Problem {
    let message = format!("More than {max} objects are in the cluster, so this one is not read.");
    let remedy = "Watch fewer namespaces.";
    problem(Severity::Fault, key, "", reason::TOO_MANY_OBJECTS, message, remedy)
}

/// A Problem of an object in the API.
pub fn problem(
    severity: Severity,
    object: &ObjectRef,
    field: &str,
    reason: &'static str,
    message: String,
    remedy: &str,
) -> Problem {
    let (object, field) = (object.clone(), field.to_owned());
    Problem {
        severity,
        object,
        place: None,
        field,
        reason,
        message: bounded(message),
        remedy: bounded(remedy.to_owned()),
    }
}

#[cfg(test)]
mod tests;
