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
    /// The value of a pattern, made when there is none yet.
    pub fn get_or_insert_with(&mut self, pattern: &HostPattern, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_insert_with(make),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.clone()).or_insert_with(make),
            HostPattern::Any => self.any.get_or_insert_with(make),
        }
    }

    /// Gives back what room is left over.
    pub fn shrink(&mut self) {
        self.exact.shrink_to_fit();
        self.wildcard.shrink_to_fit();
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
