//! The index by host: exact before wildcard before every host, two hash look-ups at most.

use crate::model::host::{self, HostPattern};
use std::collections::HashMap;
use std::sync::Arc;

/// Maps host patterns to values.
#[derive(Debug)]
pub struct HostIndex<T> {
    exact: HashMap<Arc<str>, T>,
    wildcard: HashMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> HostIndex<T> {
    /// Adds a value; a later one for the same pattern replaces it.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) {
        match pattern {
            HostPattern::Exact(name) => drop(self.exact.insert(name.clone(), value)),
            HostPattern::Wildcard(suffix) => drop(self.wildcard.insert(suffix.clone(), value)),
            HostPattern::Any => self.any = Some(value),
        }
    }

    /// The value of the most specific pattern that covers a host in normal form.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if !self.wildcard.is_empty()
            && let Some(value) = host::parent(host).and_then(|suffix| self.wildcard.get(suffix))
        {
            return Some(value);
        }
        self.any.as_ref()
    }
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: None }
    }
}
