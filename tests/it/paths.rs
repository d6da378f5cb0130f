//! Every row of the path table of the Ingress contract, over real sockets.
//!
//! Each row is an Ingress with a host of its own; which rule took a request shows in the service that answered.

use lb_tests::agent::Setup;
use lb_tests::backend::Backends;
use lb_tests::client::get;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{identity, ingress, service};
use lb_tests::scratch::Scratch;

/// One row: the rules as (type, path), the request paths, and the index of the rule that takes them, if one does.
struct Row {
    rules: &'static [(&'static str, &'static str)],
    requests: &'static [&'static str],
    want: Option<usize>,
}

const fn row(
    rules: &'static [(&'static str, &'static str)],
    requests: &'static [&'static str],
    want: Option<usize>,
) -> Row {
    Row { rules, requests, want }
}

const ROWS: [Row; 18] = [
    row(&[("Prefix", "/")], &["/", "/any", "/any/thing/"], Some(0)),
    row(&[("Exact", "/foo")], &["/foo"], Some(0)),
    row(&[("Exact", "/foo")], &["/bar"], None),
    row(&[("Exact", "/foo")], &["/foo/"], None),
    row(&[("Exact", "/foo/")], &["/foo"], None),
    row(&[("Prefix", "/foo")], &["/foo", "/foo/"], Some(0)),
    row(&[("Prefix", "/foo/")], &["/foo", "/foo/"], Some(0)),
    row(&[("Prefix", "/aaa/bb")], &["/aaa/bbb"], None),
    row(&[("Prefix", "/aaa/bbb")], &["/aaa/bbb"], Some(0)),
    row(&[("Prefix", "/aaa/bbb/")], &["/aaa/bbb"], Some(0)),
    row(&[("Prefix", "/aaa/bbb")], &["/aaa/bbb/"], Some(0)),
    row(&[("Prefix", "/aaa/bbb")], &["/aaa/bbb/ccc"], Some(0)),
    row(&[("Prefix", "/aaa/bbb")], &["/aaa/bbbxyz"], None),
    row(&[("Prefix", "/"), ("Prefix", "/aaa")], &["/aaa/ccc"], Some(1)),
    row(&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], &["/aaa/bbb"], Some(2)),
    row(&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], &["/ccc"], Some(0)),
    row(&[("Prefix", "/aaa")], &["/ccc"], None),
    row(&[("Prefix", "/foo"), ("Exact", "/foo")], &["/foo"], Some(1)),
];

/// Services that the rules of a row lead to, in order; the last one takes what no rule matches, where the table says so.
const SERVICES: [&str; 4] = ["rule-0", "rule-1", "rule-2", "fallback"];

fn manifests(with_default_backend: bool) -> String {
    let mut text = String::new();
    for (number, row) in ROWS.iter().enumerate() {
        let rules: Vec<_> = row.rules.iter().zip(SERVICES).map(|((kind, path), s)| (*kind, *path, s, 80)).collect();
        text.push_str(&ingress(&format!("row-{number}"), &format!("row-{number}.test"), &rules));
    }
    if with_default_backend {
        text.push_str(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: fallback, namespace: default}\nspec:\n  \
             defaultBackend: {service: {name: fallback, port: {number: 80}}}\n---\n",
        );
    }
    for (service_name, number) in SERVICES.iter().zip(10..) {
        text.push_str(&service(service_name, 80, &[pod(number, 8080)]));
    }
    text
}

/// Plays all rows. What no rule matches is answered by the default backend where there is one, else with 404.
fn check(with_default_backend: bool) {
    let (lab, scratch) = (Lab::new(), Scratch::new());
    scratch.write("paths.yaml", manifests(with_default_backend));
    let servers = SERVICES.iter().zip(10..).map(|(s, n)| (pod(n, 8080), identity(s, pod(n, 8080))));
    let _backends = Backends::start(&lab.pods, servers.collect());
    let agent = Setup::default().start(&lab, scratch.path());
    for (number, row) in ROWS.iter().enumerate() {
        for path in row.requests {
            let response = get(&lab.client, HTTP, &format!("row-{number}.test"), path);
            let answered = (response.status == 200).then(|| response.echo().identity.service);
            let fallback = with_default_backend.then_some("fallback");
            let want = row.want.map(|rule| SERVICES[rule]).or(fallback);
            assert_eq!(answered.as_deref(), want, "row {number}: {:?}, GET {path}: {response:?}", row.rules);
            assert!(response.status == 200 || response.status == 404, "row {number}: GET {path}: {response:?}");
        }
    }
    agent.stop();
}

#[test]
fn all_rows_of_the_table() {
    check(false);
}

#[test]
fn all_rows_of_the_table_with_a_default_backend() {
    check(true);
}
