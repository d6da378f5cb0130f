//! Endpoints: who gets requests by readiness and draining, in turn, and what happens when nobody can.

use lb_tests::agent::Setup;
use lb_tests::backend::Backends;
use lb_tests::client::get;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{identity, ingress, service_with_conditions};
use lb_tests::scratch::Scratch;
use std::collections::BTreeMap;

/// Number of requests, a multiple of every count of pods below.
const REQUESTS: usize = 12;

/// Serves pods with these conditions and counts who answers. An empty want means 503.
fn check(conditions: &[&str], want: &[usize]) {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let pods: Vec<_> = (10..).zip(conditions).map(|(number, c)| (pod(number, 8080), *c)).collect();
    manifests.write("site.yaml", ingress("site", "site.test", &[("Prefix", "/", "site", 80)]));
    manifests.write("service.yaml", service_with_conditions("site", 80, &pods));
    let backends = Backends::start(&lab.pods, pods.iter().map(|(pod, _)| (*pod, identity("site", *pod))).collect());
    let agent = Setup::default().start(&lab, manifests.path());

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let response = get(&lab.client, HTTP, "site.test", "/");
        if want.is_empty() {
            assert_eq!(response.status, 503, "{conditions:?}: {response:?}");
        } else {
            assert_eq!(response.status, 200, "{conditions:?}: {response:?}");
            *seen.entry(response.echo().identity.pod).or_default() += 1;
        }
    }
    let share = |index: &usize| (format!("site-{}", 10 + index), REQUESTS / want.len());
    assert_eq!(seen, want.iter().map(share).collect(), "{conditions:?}");
    assert_eq!(backends.requests(), if want.is_empty() { 0 } else { REQUESTS as u64 });
    agent.stop();
}

#[test]
fn ready_ones_take_turns() {
    check(&["{ready: true}", "{ready: false}", "{ready: true}", "{}"], &[0, 2, 3]);
}

#[test]
fn a_terminating_one_gets_nothing_while_one_is_ready() {
    check(&["{ready: true}", "{ready: false, serving: true, terminating: true}"], &[0]);
}

#[test]
fn terminating_ones_serve_when_none_is_ready() {
    let terminating = "{ready: false, serving: true, terminating: true}";
    check(&["{ready: false}", terminating, terminating, "{ready: false, serving: false, terminating: true}"], &[1, 2]);
}

#[test]
fn none_at_all_is_503() {
    check(&["{ready: false}", "{ready: false, serving: false, terminating: true}"], &[]);
    check(&[], &[]);
}
