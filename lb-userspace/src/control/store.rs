//! The store: every object that is known, by kind, namespace and name, with the place it was read at.
//!
//! Goes in: objects of a source, whole files of the directory or single ones of an API. Comes out: one object for each
//! name; where several files claim a name, the first file by name holds it and the others are reported.
//! Does not interpret objects, except that a Secret's certificate is parsed once and remembered with it.

pub mod external;
pub mod journal;
pub mod slices;

use super::names::answer::Answer;
use super::object::Object;
use super::reason;
use super::translate::tls::{self, InvalidSecret, Parsed};
use external::External;
use journal::{Journal, Mark};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use lb_core::Problem;
use lb_core::model::{Authorities, Kind, ObjectRef};
use lb_core::problem::{Place, Severity};
use slices::{Held, Slices};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

/// Objects by name.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Kind, BTreeMap<Arc<ObjectRef>, Vec<Stored>>>,
    files: BTreeMap<Arc<str>, Box<[Arc<ObjectRef>]>>,
    /// Names that more than one document claims.
    contested: BTreeSet<Arc<ObjectRef>>,
    len: usize,
    slices: Slices,
    external: External,
    journal: Journal,
}

/// An object in the store.
#[derive(Debug)]
pub struct Stored {
    /// The object.
    pub object: Object,
    /// Where it was read; `None` when it came from an API.
    pub place: Option<Place>,
    /// What was made of a Secret so far; absent for other kinds.
    contents: Option<Box<Contents>>,
}

/// What a Secret holds, each part parsed when it is first asked for.
#[derive(Debug, Default)]
struct Contents {
    certificate: OnceLock<Parsed>,
    authorities: OnceLock<Result<Arc<Authorities>, InvalidSecret>>,
}

impl Stored {
    fn new(object: Object, place: Option<Place>) -> Self {
        let contents = matches!(object, Object::Secret(_)).then(Box::default);
        Self { object, place, contents }
    }

    fn secret(&self) -> Option<(&Secret, &Contents)> {
        match (&self.object, &self.contents) {
            (Object::Secret(secret), Some(contents)) => Some((secret, contents)),
            _ => None,
        }
    }
}

impl Store {
    /// Adds or replaces an object that an API owns. One that is as it was changes nothing: lists are read again.
    pub fn upsert(&mut self, object: Object) {
        let key = object.key();
        let known = self.objects.get(&key.kind).and_then(|kind| kind.get(&key)).into_iter().flatten();
        if known.into_iter().any(|stored| stored.place.is_none() && stored.object == object) {
            return;
        }
        let before = self.held(&key);
        self.withdraw(&key, |place| place.is_none());
        let key = self.insert(Stored::new(object, None));
        self.changed(&key, before);
    }

    /// Takes out the object that an API owns under this name. What files claim stays.
    pub fn remove(&mut self, key: &ObjectRef) {
        self.release(key, |place| place.is_none());
    }

    /// Makes `entries` (object and line) all that this file claims.
    pub fn replace_file(&mut self, file: &Arc<str>, entries: impl IntoIterator<Item = (Object, u32)>) {
        for key in self.files.remove(file).unwrap_or_default() {
            self.release(&key, |place| place.as_ref().is_some_and(|p| p.file == *file));
        }
        let entries = entries.into_iter();
        let mut keys = Vec::with_capacity(entries.size_hint().0);
        for (object, line) in entries {
            keys.push(self.claim(Stored::new(object, Some(Place { file: file.clone(), line }))));
        }
        if !keys.is_empty() {
            self.files.insert(file.clone(), keys.into());
        }
    }

    /// How many names are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The object that holds a name.
    #[must_use]
    pub fn get(&self, key: &ObjectRef) -> Option<&Stored> {
        self.objects.get(&key.kind)?.get(key)?.first()
    }

    /// Now, for [`Self::changes`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.journal.mark()
    }

    /// The names whose objects changed since; `None`, when these are too many or not known. Where a slice changed, the
    /// Endpoints of its Services are among them, of the one before and of the one now.
    #[must_use]
    pub fn changes(&self, since: &Mark) -> Option<impl Iterator<Item = &Arc<ObjectRef>>> {
        self.journal.since(since)
    }

    /// An Ingress.
    #[must_use]
    pub fn ingress(&self, key: &ObjectRef) -> Option<(&Arc<ObjectRef>, &Ingress)> {
        let (key, claims) = self.objects.get(&Kind::Ingress)?.get_key_value(key)?;
        match &claims.first()?.object {
            Object::Ingress(ingress) => Some((key, ingress)),
            _ => None,
        }
    }

    /// All Ingresses, by namespace and name.
    pub fn ingresses(&self) -> impl Iterator<Item = (&Arc<ObjectRef>, &Ingress)> {
        self.all(Kind::Ingress)
            .filter_map(|(key, s)| if let Object::Ingress(o) = &s.object { Some((key, &**o)) } else { None })
    }

    /// All IngressClasses, by name.
    pub fn ingress_classes(&self) -> impl Iterator<Item = (&Arc<ObjectRef>, &IngressClass)> {
        self.all(Kind::IngressClass)
            .filter_map(|(key, s)| if let Object::IngressClass(o) = &s.object { Some((key, &**o)) } else { None })
    }

    /// The Ingresses of a namespace, by name.
    pub fn ingresses_of(&self, namespace: &str) -> impl Iterator<Item = (&Arc<ObjectRef>, &Ingress)> {
        let first = ObjectRef::new(Kind::Ingress, namespace, "");
        let all = self.objects.get(&Kind::Ingress).map(|kind| kind.range(first..));
        let own = all.into_iter().flatten().take_while(move |(key, _)| *key.namespace == *namespace);
        own.filter_map(|(key, claims)| match &claims.first()?.object {
            Object::Ingress(ingress) => Some((key, &**ingress)),
            _ => None,
        })
    }

    /// The EndpointSlices of a Service, by name.
    #[must_use]
    pub fn slices_of(&self, namespace: &str, service: &str) -> Vec<&Held> {
        self.slices.of(namespace, service)
    }

    /// The hosts that `ExternalName` Services name and that are to be resolved.
    #[must_use]
    pub fn external_names(&self) -> BTreeSet<Arc<str>> {
        self.external.names()
    }

    /// Whether the host that a Service names is among these.
    #[must_use]
    pub fn is_resolved(&self, service: &ObjectRef) -> bool {
        self.external.is_within(service)
    }

    /// What is known of the host that a Service names.
    #[must_use]
    pub fn answer(&self, service: &ObjectRef) -> Option<&Answer> {
        self.external.answer(service)
    }

    /// Takes in what is known of a host. Answers whether that changes something.
    pub fn resolved(&mut self, name: &str, answer: Answer) -> bool {
        let services = self.external.resolved(name, answer);
        services.iter().for_each(|service| self.other_endpoints(&service.namespace, &service.name));
        !services.is_empty()
    }

    /// A Service.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        match &self.get(&ObjectRef::new(Kind::Service, namespace, name))?.object {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The legacy Endpoints of a Service.
    #[must_use]
    pub fn endpoints(&self, namespace: &str, name: &str) -> Option<&Endpoints> {
        match &self.get(&ObjectRef::new(Kind::Endpoints, namespace, name))?.object {
            Object::Endpoints(endpoints) => Some(endpoints),
            _ => None,
        }
    }

    /// A ConfigMap.
    #[must_use]
    pub fn config_map(&self, key: &ObjectRef) -> Option<&ConfigMap> {
        match &self.get(key)?.object {
            Object::ConfigMap(map) => Some(map),
            _ => None,
        }
    }

    /// A Node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        match &self.get(&ObjectRef::new(Kind::Node, "", name))?.object {
            Object::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The certificate in a Secret, parsed when it is first asked for; `None` when there is no such Secret.
    #[must_use]
    pub fn certificate(&self, key: &ObjectRef) -> Option<&Parsed> {
        let (secret, contents) = self.get(key)?.secret()?;
        Some(contents.certificate.get_or_init(|| tls::parse(key, secret)))
    }

    /// The certificate authorities in a Secret, parsed when they are first asked for; `None` when there is no such Secret.
    #[must_use]
    pub fn authorities(&self, key: &ObjectRef) -> Option<&Result<Arc<Authorities>, InvalidSecret>> {
        let (secret, contents) = self.get(key)?.secret()?;
        Some(contents.authorities.get_or_init(|| tls::parse_authorities(key, secret)))
    }

    /// When the next certificate that was asked for begins or ceases to be valid, seconds since 1970.
    #[must_use]
    pub fn certificates_change_at_s(&self, now_s: i64) -> Option<i64> {
        let parsed =
            self.all(Kind::Secret).filter_map(|(_, stored)| stored.secret()?.1.certificate.get()?.as_ref().ok());
        let changes = parsed.flat_map(|c| [c.not_before_s, c.not_after_s.saturating_add(1)]);
        changes.filter(|at| *at > now_s).min()
    }

    /// A Fault for every document that claims a name which another one holds.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let claims = |key: &ObjectRef| self.objects.get(&key.kind).and_then(|kind| kind.get(key));
        self.contested.iter().filter_map(|key| Some((key, claims(key)?))).flat_map(|(key, c)| losers(key, c)).collect()
    }

    fn all(&self, kind: Kind) -> impl Iterator<Item = (&Arc<ObjectRef>, &Stored)> {
        self.objects.get(&kind).into_iter().flatten().filter_map(|(key, claims)| Some((key, claims.first()?)))
    }

    /// Adds a claim; answers the name.
    fn claim(&mut self, stored: Stored) -> Arc<ObjectRef> {
        let before = self.held(&stored.object.key());
        let key = self.insert(stored);
        self.changed(&key, before);
        key
    }

    fn release(&mut self, key: &ObjectRef, owned: impl Fn(&Option<Place>) -> bool) {
        let Some((known, _)) = self.objects.get(&key.kind).and_then(|kind| kind.get_key_value(key)) else { return };
        let known = known.clone();
        let before = self.held(key);
        self.withdraw(key, owned);
        self.changed(&known, before);
    }

    fn insert(&mut self, stored: Stored) -> Arc<ObjectRef> {
        let kind = self.objects.entry(stored.object.kind()).or_default();
        let mut key = Arc::new(stored.object.key());
        match kind.get_key_value(&key) {
            Some((known, _)) => key = known.clone(),
            // Almost every name has one claim only.
            None => drop(kind.insert(key.clone(), Vec::with_capacity(1))),
        }
        let claims = kind.entry(key.clone()).or_default();
        let at = claims.partition_point(|other| other.place <= stored.place);
        // A name has one claim, but for mistakes, and a vector that grows has room for four.
        claims.reserve_exact(1);
        claims.insert(at, stored);
        match claims.len() {
            1 => self.len += 1,
            _ => drop(self.contested.insert(key.clone())),
        }
        key
    }

    fn withdraw(&mut self, key: &ObjectRef, owned: impl Fn(&Option<Place>) -> bool) {
        let Some(kind) = self.objects.get_mut(&key.kind) else { return };
        let Some(claims) = kind.get_mut(key) else { return };
        claims.retain(|stored| !owned(&stored.place));
        if claims.len() < 2 {
            self.contested.remove(key);
        }
        if claims.is_empty() {
            kind.remove(key);
            self.len -= 1;
        }
    }

    /// The slice of this name.
    fn held(&self, key: &ObjectRef) -> Option<Held> {
        let (key, claims) = self.objects.get(&Kind::EndpointSlice)?.get_key_value(key)?;
        match &claims.first()?.object {
            Object::EndpointSlice(slice) => Some(Held { key: key.clone(), slice: slice.clone() }),
            _ => None,
        }
    }

    /// Something about the object of this name is, or may be, another than before.
    fn changed(&mut self, key: &Arc<ObjectRef>, before: Option<Held>) {
        self.journal.add(key);
        match key.kind {
            Kind::EndpointSlice => self.slice_changed(key, before),
            Kind::Service => {
                let name = self.service(&key.namespace, &key.name).and_then(external::name);
                let others = self.external.set(key, name);
                others.iter().for_each(|service| self.other_endpoints(&service.namespace, &service.name));
            }
            _ => {}
        }
    }

    fn slice_changed(&mut self, key: &Arc<ObjectRef>, before: Option<Held>) {
        let after = self.held(key);
        let mut services: Vec<&str> = before.iter().chain(&after).filter_map(Held::service).collect();
        services.dedup();
        for service in services {
            self.other_endpoints(&key.namespace, service);
        }
        before.iter().for_each(|before| self.slices.remove(before));
        after.into_iter().for_each(|after| self.slices.add(after));
    }

    /// A Service has, or may have, other endpoints than before.
    fn other_endpoints(&mut self, namespace: &Arc<str>, service: &str) {
        self.journal.add(&Arc::new(ObjectRef::new(Kind::Endpoints, namespace.clone(), service)));
    }
}

fn losers(key: &ObjectRef, claims: &[Stored]) -> Vec<Problem> {
    let Some((winner, losers)) = claims.split_first() else { return Vec::new() };
    let held_at = winner.place.as_ref().map_or("the API".to_owned(), |p| format!("{}:{}", p.file, p.line));
    let loser = |stored: &Stored| Problem {
        severity: Severity::Fault,
        object: key.clone(),
        place: stored.place.clone(),
        field: "metadata.name".to_owned(),
        reason: reason::DUPLICATE_OBJECT,
        message: format!("{key} is defined at {held_at} already, and that definition is the one in use."),
        remedy: "Keep one definition, or give this one another name.".to_owned(),
    };
    losers.iter().map(loser).collect()
}

#[cfg(test)]
mod tests;
