//! The journal of a store: which names changed lately, so that a translation need not look at all others.
//!
//! Goes in: names, as they change. Comes out: those since a [`Mark`]. Remembers a thousand: whoever asks for more has so
//! much to do that it may as well do everything.

use lb_core::model::ObjectRef;
use std::collections::VecDeque;
use std::sync::Arc;

/// Names that are remembered, two for a slice. More changes at once than this are followed by a whole translation, which
/// costs some 2 µs an object.
pub const NAMES_MAX: usize = 1_024;

/// The journal.
#[derive(Debug, Default)]
pub struct Journal {
    /// Tells one store from another.
    store: Arc<()>,
    names: VecDeque<Arc<ObjectRef>>,
    /// How many names were forgotten.
    forgotten: u64,
}

/// A moment in the life of a store.
#[derive(Debug, Clone)]
pub struct Mark {
    store: Arc<()>,
    /// How many names had changed.
    at: u64,
}

impl Journal {
    /// Something about the object of this name is, or may be, another than before.
    pub fn add(&mut self, name: &Arc<ObjectRef>) {
        if self.names.len() == NAMES_MAX {
            self.names.pop_front();
            self.forgotten += 1;
        }
        self.names.push_back(name.clone());
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { store: self.store.clone(), at: self.forgotten + self.names.len() as u64 }
    }

    /// The names that changed since, some of them more than once. `None`, when these are not known.
    #[must_use]
    pub fn since(&self, mark: &Mark) -> Option<impl Iterator<Item = &Arc<ObjectRef>>> {
        let known = Arc::ptr_eq(&self.store, &mark.store) && mark.at >= self.forgotten;
        let skip = usize::try_from(mark.at.saturating_sub(self.forgotten)).ok().filter(|_| known)?;
        Some(self.names.iter().skip(skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::model::Kind;

    #[test]
    fn what_changed_since() {
        let names: Vec<Arc<ObjectRef>> =
            (0..=NAMES_MAX).map(|i| Arc::new(ObjectRef::new(Kind::Ingress, "n", i.to_string()))).collect();
        let mut journal = Journal::default();
        let count = |journal: &Journal, mark: &Mark| journal.since(mark).map(Iterator::count);
        let start = journal.mark();
        assert_eq!(count(&journal, &start), Some(0));
        journal.add(&names[0]);
        let later = journal.mark();
        names[1..].iter().for_each(|name| journal.add(name));
        assert_eq!(journal.since(&later).and_then(|mut names| names.next()), Some(&names[1]));
        assert_eq!(count(&journal, &later), Some(NAMES_MAX));
        assert_eq!(count(&journal, &start), None, "one too many");
        assert_eq!(count(&journal, &Journal::default().mark()), None, "of another store");
    }
}
