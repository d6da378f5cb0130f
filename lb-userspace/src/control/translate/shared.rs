//! Values that many Ingresses have in common, each kept once: ten thousand Ingresses without annotations share one
//! policy, one way to speak to endpoints, and one chain of filters.
//!
//! Goes in: a value. Comes out: the one copy of it. What is no longer used anywhere else is let go by [`Shared::sweep`].

use lb_core::filter::Filter;
use lb_core::model::{ClientAuth, Policy, Upstream};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The copies.
#[derive(Debug, Default)]
pub struct Shared {
    policies: HashSet<Arc<Policy>>,
    upstreams: HashSet<Arc<Upstream>>,
    client_auths: HashSet<Arc<ClientAuth>>,
    filters: HashSet<Arc<[Filter]>>,
}

impl Shared {
    /// The one copy of a policy.
    pub fn policy(&mut self, value: Policy) -> Arc<Policy> {
        one(&mut self.policies, value)
    }

    /// The one copy of a way to speak to endpoints.
    pub fn upstream(&mut self, value: Upstream) -> Arc<Upstream> {
        one(&mut self.upstreams, value)
    }

    /// The one copy of a requirement on clients.
    pub fn client_auth(&mut self, value: ClientAuth) -> Arc<ClientAuth> {
        one(&mut self.client_auths, value)
    }

    /// The one copy of a chain of filters.
    pub fn filters(&mut self, value: Vec<Filter>) -> Arc<[Filter]> {
        if let Some(known) = self.filters.get(&value[..]) {
            return known.clone();
        }
        let copy: Arc<[Filter]> = value.into();
        self.filters.insert(copy.clone());
        copy
    }

    /// Lets go of what nobody else holds.
    pub fn sweep(&mut self) {
        self.policies.retain(|copy| Arc::strong_count(copy) > 1);
        self.upstreams.retain(|copy| Arc::strong_count(copy) > 1);
        self.client_auths.retain(|copy| Arc::strong_count(copy) > 1);
        self.filters.retain(|copy| Arc::strong_count(copy) > 1);
    }
}

fn one<T: Hash + Eq>(copies: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = copies.get(&value) {
        return known.clone();
    }
    let copy = Arc::new(value);
    copies.insert(copy.clone());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut shared = Shared::default();
        let first = shared.policy(Policy::default());
        assert!(Arc::ptr_eq(&first, &shared.policy(Policy::default())));
        assert!(!Arc::ptr_eq(&first, &shared.policy(Policy { body_bytes_max: None, ..Policy::default() })));
        assert!(Arc::ptr_eq(&shared.filters(Vec::new()), &shared.filters(Vec::new())));
        shared.sweep();
        assert_eq!((shared.policies.len(), shared.filters.len()), (1, 0));
    }
}
