//! The storage: every object, one sequence of versions for all of them, and a bounded history for watches.
//!
//! Goes in: changes that were checked already. Comes out: objects by name, the objects of a kind now or at an earlier
//! version, and what happened after a version. Does not do: rules of any kind; it stands for etcd and the watch cache.

use super::failure::Failure;
use super::managers::Manager;
use super::object::Object;
use super::resource::{RESOURCES, Resource};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Changes kept for each kind. The real watch cache keeps up to 102,400 (`defaultUpperBoundCapacity`).
const HISTORY_MAX: usize = 100_000;

/// Namespace (empty for objects of the cluster) and name.
pub type Key = (String, String);

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// Before it; nothing when the object was created.
    pub old: Option<Arc<Object>>,
    /// After it; for a deletion the last state, at the version of the deletion.
    pub new: Arc<Object>,
    /// Whether the object is gone.
    pub deleted: bool,
    /// When it happened.
    pub at: Instant,
}

/// Everything stored.
#[derive(Debug)]
pub struct Store {
    version: u64,
    kinds: Vec<Kind>,
}

/// Objects of one kind.
#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// Changes up to this version are forgotten.
    compacted: u64,
}

impl Store {
    /// An empty one. Versions begin at 1, because 0 means "any".
    #[must_use]
    pub fn new() -> Self {
        Self { version: 1, kinds: RESOURCES.iter().map(|_| Kind::default()).collect() }
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        self.kinds[resource.place].objects.get(key).cloned()
    }

    /// The objects of a kind in one namespace, or in all when it is empty, in the order of their keys.
    pub fn all(&self, resource: &Resource, namespace: &str) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        let start = (namespace.to_owned(), String::new());
        let all = namespace.is_empty();
        self.kinds[resource.place].objects.range(start..).take_while(move |(key, _)| all || key.0 == *namespace)
    }

    /// The objects of a kind as they were at a version.
    ///
    /// # Errors
    /// 410 when that is forgotten.
    pub fn at(&self, resource: &Resource, version: u64) -> Result<BTreeMap<Key, Arc<Object>>, Failure> {
        let kind = &self.kinds[resource.place];
        if version < kind.compacted {
            return Err(Failure::too_old(version, kind.compacted));
        }
        let mut objects = kind.objects.clone();
        for change in kind.history.iter().rev().take_while(|change| change.version > version) {
            let key = (change.new.namespace().to_owned(), change.new.name().to_owned());
            match &change.old {
                Some(old) => objects.insert(key, old.clone()),
                None => objects.remove(&key),
            };
        }
        Ok(objects)
    }

    /// What happened to a kind after a version, at most `max` changes of it.
    ///
    /// # Errors
    /// 410 when that is forgotten.
    pub fn since(&self, resource: &Resource, version: u64, max: usize) -> Result<Vec<Change>, Failure> {
        let kind = &self.kinds[resource.place];
        if version < kind.compacted {
            return Err(Failure::too_old(version, kind.compacted));
        }
        let from = kind.history.partition_point(|change| change.version <= version);
        Ok(kind.history.range(from..).take(max).cloned().collect())
    }

    /// Stores an object at a new version, and answers it.
    pub fn put(&mut self, resource: &Resource, key: Key, value: Value, managers: Vec<Manager>) -> Arc<Object> {
        self.version += 1;
        let new = Arc::new(Object::new(value, self.version, managers));
        let old = self.kinds[resource.place].objects.insert(key, new.clone());
        self.record(resource, old, new.clone(), false);
        new
    }

    /// Removes an object, and answers its last state.
    pub fn remove(&mut self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        let old = self.kinds[resource.place].objects.remove(key)?;
        self.version += 1;
        let last = Arc::new(Object::new(old.value().clone(), self.version, Vec::new()));
        self.record(resource, Some(old), last.clone(), true);
        Some(last)
    }

    /// Forgets the history of every kind.
    pub fn compact(&mut self) {
        for kind in &mut self.kinds {
            kind.history.clear();
            kind.compacted = self.version;
        }
    }

    fn record(&mut self, resource: &Resource, old: Option<Arc<Object>>, new: Arc<Object>, deleted: bool) {
        let kind = &mut self.kinds[resource.place];
        kind.history.push_back(Change { version: self.version, old, new, deleted, at: Instant::now() });
        if kind.history.len() > HISTORY_MAX
            && let Some(forgotten) = kind.history.pop_front()
        {
            kind.compacted = forgotten.version;
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
