//! The record of calls: who asked for what and what came of it.
//!
//! Goes in: every request for a resource, when it is answered (a watch: when it begins). Comes out: the last calls in
//! order, and the number of writes of each user. Does not do: bodies.

use super::ask::Ask;
use std::collections::{BTreeMap, VecDeque};

/// Calls kept; older ones only count.
const CALLS_MAX: usize = 100_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `system:serviceaccount:NAMESPACE:NAME`, or any name.
    pub user: String,
    /// As roles write it.
    pub verb: &'static str,
    /// Empty for core.
    pub group: &'static str,
    /// `ingresses/status`, as roles write it.
    pub resource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Empty for collections; the name of a field selector `metadata.name=`.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
}

impl Call {
    pub(super) fn new(ask: &Ask, code: u16) -> Self {
        Self {
            user: ask.user.name.clone(),
            verb: ask.verb,
            group: ask.resource.group,
            resource: ask.permission_resource(),
            namespace: ask.namespace.clone(),
            name: ask.permission_name(),
            code,
        }
    }

    /// Whether the roles allowed it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.code != 403
    }

    /// Whether it changes something, if it succeeds.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

/// The record.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub last: VecDeque<Call>,
    pub writes: BTreeMap<String, u64>,
}

impl Calls {
    pub fn add(&mut self, call: Call) {
        if call.is_write() {
            *self.writes.entry(call.user.clone()).or_default() += 1;
        }
        if self.last.len() == CALLS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(call);
    }
}
