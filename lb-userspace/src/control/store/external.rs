//! `ExternalName` Services of a store: the hosts that they name, and what is known of these.
//!
//! Goes in: Services as they come and go, and answers. Comes out: the names to resolve, bounded, and the answer for a
//! Service. Which Services are within the bounds depends on their names alone: the first of each namespace, and of these
//! the first of all.

use super::super::names::answer::Answer;
use k8s_openapi::api::core::v1::Service;
use lb_core::model::{HostPattern, ObjectRef};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

/// `ExternalName` Services that are resolved: one look-up every 30 s for each is 9 a second.
pub const NAMES_MAX: usize = 256;

/// Those of one namespace, so that none takes all.
pub const NAMES_PER_NAMESPACE_MAX: usize = 32;

/// The Services that name hosts.
#[derive(Debug, Default)]
pub struct External {
    services: BTreeMap<Arc<ObjectRef>, Arc<str>>,
    answers: BTreeMap<Arc<str>, Answer>,
    /// Made when it is asked for.
    within: OnceLock<HashSet<Arc<ObjectRef>>>,
}

/// Whether a Service is one that names a host.
#[must_use]
pub fn is_external(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

/// The host that a Service names, in normal form. `None`: it names none that can be resolved.
#[must_use]
pub fn name(service: &Service) -> Option<Arc<str>> {
    let text = service.spec.as_ref().filter(|_| is_external(service))?.external_name.as_deref()?;
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name)) => Some(name),
        _ => None,
    }
}

impl External {
    /// A Service names this host now, or none. Answers the Services for which that may change something.
    pub fn set(&mut self, key: &Arc<ObjectRef>, name: Option<Arc<str>>) -> Vec<Arc<ObjectRef>> {
        let before = match name {
            Some(name) => self.services.insert(key.clone(), name),
            None => match self.services.remove(key) {
                Some(before) => Some(before),
                None => return Vec::new(),
            },
        };
        if let Some(before) = before
            && !self.services.values().any(|name| *name == before)
        {
            self.answers.remove(&before);
        }
        self.within.take();
        let others = || self.services.keys().filter(|other| other.namespace == key.namespace).count();
        let crowded = self.services.len() >= NAMES_MAX || others() >= NAMES_PER_NAMESPACE_MAX;
        if crowded { self.services.keys().cloned().collect() } else { Vec::new() }
    }

    /// The hosts to resolve.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        let within = self.within();
        self.services.iter().filter(|(key, _)| within.contains(*key)).map(|(_, name)| name.clone()).collect()
    }

    /// Whether the name of a Service is resolved at all.
    #[must_use]
    pub fn is_within(&self, key: &ObjectRef) -> bool {
        self.within().contains(key)
    }

    /// What is known of the host that a Service names.
    #[must_use]
    pub fn answer(&self, key: &ObjectRef) -> Option<&Answer> {
        self.answers.get(self.services.get(key)?)
    }

    /// Takes in what is known of a host. Answers the Services for which that changes something.
    pub fn resolved(&mut self, name: &str, answer: Answer) -> Vec<Arc<ObjectRef>> {
        let services = || self.services.iter().filter(|(_, named)| ***named == *name);
        let Some((_, name)) = services().next() else { return Vec::new() };
        if self.answers.get(name) == Some(&answer) {
            return Vec::new();
        }
        let (name, concerned) = (name.clone(), services().map(|(key, _)| key.clone()).collect());
        self.answers.insert(name, answer);
        concerned
    }

    fn within(&self) -> &HashSet<Arc<ObjectRef>> {
        self.within.get_or_init(|| {
            let (mut namespace, mut count) = (None, 0);
            let first = self.services.keys().filter(|key| {
                if namespace.as_ref() != Some(&key.namespace) {
                    (namespace, count) = (Some(key.namespace.clone()), 0);
                }
                count += 1;
                count <= NAMES_PER_NAMESPACE_MAX
            });
            first.take(NAMES_MAX).cloned().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::model::Kind;

    fn key(namespace: &str, name: &str) -> Arc<ObjectRef> {
        Arc::new(ObjectRef::new(Kind::Service, namespace, name))
    }

    #[test]
    fn no_namespace_takes_all() {
        let mut external = External::default();
        for number in 0..2 * NAMES_MAX {
            let told = external.set(&key("a", &format!("s{number:04}")), Some(format!("h{number}.example").into()));
            assert_eq!(told.is_empty(), number + 1 < NAMES_PER_NAMESPACE_MAX, "{number}");
        }
        external.set(&key("b", "s"), Some("b.example".into()));
        assert_eq!(external.names().len(), NAMES_PER_NAMESPACE_MAX + 1);
        assert!(external.is_within(&key("b", "s")) && external.is_within(&key("a", "s0000")));
        assert!(!external.is_within(&key("a", "s0032")));
        external.set(&key("a", "s0000"), None);
        assert!(external.is_within(&key("a", "s0032")), "there is room again");
        for number in 0..NAMES_MAX {
            external.set(&key(&format!("n{number}"), "s"), Some(format!("n{number}.example").into()));
        }
        assert_eq!(external.names().len(), NAMES_MAX);
    }

    #[test]
    fn answers_go_with_the_last_who_asked() {
        let mut external = External::default();
        external.set(&key("a", "s"), Some("x.example".into()));
        external.set(&key("b", "s"), Some("x.example".into()));
        assert_eq!(external.resolved("x.example", Answer::default()).len(), 2);
        assert!(external.resolved("x.example", Answer::default()).is_empty(), "nothing new");
        assert!(external.resolved("y.example", Answer::default()).is_empty(), "nobody asks");
        external.set(&key("a", "s"), None);
        assert!(external.answer(&key("b", "s")).is_some() && external.answer(&key("a", "s")).is_none());
        external.set(&key("b", "s"), Some("z.example".into()));
        external.set(&key("b", "s"), Some("x.example".into()));
        assert!(external.answer(&key("b", "s")).is_none(), "forgotten meanwhile");
    }
}
