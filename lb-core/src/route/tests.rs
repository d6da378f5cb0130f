//! Tests of the routing table: the path table and the precedence rules of `networking.k8s.io/v1`.

use super::*;
use crate::model::route::Target;
use crate::model::{Kind, ObjectRef, ServiceId};
use std::sync::Arc;

fn origin() -> Origin {
    Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "test", "test")), rule: Some(0), path: Some(0) }
}

fn parse(rule: &str) -> PathMatch {
    let (kind, path) = rule.split_once(' ').expect("kind and path");
    match kind {
        "Exact" => PathMatch::exact(path),
        "Prefix" => PathMatch::prefix(path),
        _ => PathMatch::regex(path),
    }
    .expect("valid path")
}

/// Builds a table of one host from rules, and says which rule takes a path; "default" or "no" otherwise.
fn check(rules: &[&str], path: &str, want: &str) {
    let mut builder = Builder::default();
    for (i, rule) in rules.iter().enumerate() {
        let target = Target::Service(ServiceId(u32::try_from(i).expect("small")));
        builder.rule(plain_route(HostPattern::Any, parse(rule), origin(), target)).expect("no conflict");
    }
    let table = builder.build();
    let got = match table.find("any.example", &path::normalize(path).expect("normal form")) {
        Match::Rule(_, route) => route.path.to_string(),
        Match::Default(..) => "default".to_owned(),
        Match::NoPath(_) | Match::NoHost => "no".to_owned(),
    };
    assert_eq!(got, want, "{rules:?} {path}");
}

#[test]
fn the_path_table_of_the_ingress_specification() {
    check(&["Prefix /"], "/any/thing", "Prefix /");
    check(&["Exact /foo"], "/foo", "Exact /foo");
    check(&["Exact /foo"], "/bar", "no");
    check(&["Exact /foo"], "/foo/", "no");
    check(&["Exact /foo/"], "/foo", "no");
    check(&["Prefix /foo"], "/foo", "Prefix /foo");
    check(&["Prefix /foo"], "/foo/", "Prefix /foo");
    check(&["Prefix /foo/"], "/foo", "Prefix /foo/");
    check(&["Prefix /foo/"], "/foo/", "Prefix /foo/");
    check(&["Prefix /aaa/bb"], "/aaa/bbb", "no");
    check(&["Prefix /aaa/bbb"], "/aaa/bbb", "Prefix /aaa/bbb");
    check(&["Prefix /aaa/bbb/"], "/aaa/bbb", "Prefix /aaa/bbb/");
    check(&["Prefix /aaa/bbb"], "/aaa/bbb/", "Prefix /aaa/bbb");
    check(&["Prefix /aaa/bbb"], "/aaa/bbb/ccc", "Prefix /aaa/bbb");
    check(&["Prefix /aaa/bbb"], "/aaa/bbbxyz", "no");
    check(&["Prefix /", "Prefix /aaa"], "/aaa/ccc", "Prefix /aaa");
    check(&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/aaa/bbb", "Prefix /aaa/bbb");
    check(&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], "/ccc", "Prefix /");
    check(&["Prefix /aaa"], "/ccc", "no");
    check(&["Prefix /foo", "Exact /foo"], "/foo", "Exact /foo");
}

#[test]
fn the_longer_of_foo_and_foo_slash_wins_for_both() {
    check(&["Prefix /foo", "Prefix /foo/"], "/foo", "Prefix /foo/");
    check(&["Prefix /foo/", "Prefix /foo"], "/foo/", "Prefix /foo/");
    check(&["Prefix /foo/", "Exact /foo"], "/foo", "Exact /foo");
}

#[test]
fn case_and_escapes() {
    check(&["Prefix /foo"], "/FOO", "no");
    check(&["Exact /foo"], "/%66oo", "Exact /foo");
    check(&["Prefix /a"], "/public/../a/b", "Prefix /a");
    check(&["Prefix /a/b"], "/a%2Fb", "no");
    check(&["Exact /ü"], "/%c3%bc", "Exact /ü");
}

#[test]
fn expressions_by_length_beside_prefixes() {
    check(&["Regex /foo(/|$)(.*)"], "/FOO/bar", "Regex /foo(/|$)(.*)");
    check(&["Regex /foo(/|$)(.*)"], "/foobar", "no");
    check(&["Regex /a.*", "Regex /a.*long"], "/a-long", "Regex /a.*long");
    check(&["Prefix /api/v1/users", "Regex /api/.*"], "/api/v1/users/7", "Prefix /api/v1/users");
    check(&["Prefix /api", "Regex /api/.*"], "/api/v1", "Regex /api/.*");
}

#[test]
fn exact_host_before_wildcard_before_every_host_without_falling_through() {
    let mut builder = Builder::default();
    for (i, host) in ["foo.bar.com", "*.bar.com", ""].into_iter().enumerate() {
        let target = Target::Service(ServiceId(u32::try_from(i).expect("small")));
        let path = if host.is_empty() { "Prefix /only-any" } else { "Prefix /x" };
        let host = HostPattern::parse(host).expect("valid host");
        builder.rule(plain_route(host, parse(path), origin(), target)).expect("no conflict");
    }
    let table = builder.build();
    let find = |host, path| match table.find(host, path) {
        Match::Rule(_, route) => route.host.to_string(),
        Match::Default(..) => "default".to_owned(),
        Match::NoPath(pattern) => format!("no path of {pattern}"),
        Match::NoHost => "no host".to_owned(),
    };
    assert_eq!(find("foo.bar.com", "/x"), "foo.bar.com");
    assert_eq!(find("baz.bar.com", "/x"), "*.bar.com");
    assert_eq!(find("other", "/only-any/x"), "*");
    assert_eq!(find("foo.bar.com", "/only-any"), "no path of foo.bar.com");
    assert_eq!(find("a.b.bar.com", "/x"), "no path of *");
}

#[test]
fn the_first_owner_of_a_host_and_path_stays() {
    let mut builder = Builder::default();
    let route =
        |service| plain_route(HostPattern::Any, parse("Prefix /x"), origin(), Target::Service(ServiceId(service)));
    builder.rule(route(1)).expect("first");
    assert_eq!(builder.rule(route(2)), Err(Conflict { held_by: origin() }));
    assert_eq!(builder.global_default(route(3)), Ok(()));
    assert!(builder.global_default(route(4)).is_err());
    assert!(builder.host_default(route(5)));
    assert!(!builder.host_default(route(6)));
    let table = builder.build();
    let target = |path| table.find("h", path).route().map(|r| r.target.clone());
    assert_eq!(target("/x"), Some(Target::Service(ServiceId(1))));
    assert_eq!(target("/y"), Some(Target::Service(ServiceId(5))));
}

#[test]
fn a_hostile_path_of_slashes_costs_no_more_than_the_deepest_rule() {
    let hostile = "/".repeat(8_000);
    check(&["Prefix /aaa/bbb"], &hostile, "no");
    check(&["Prefix /"], &hostile, "Prefix /");
}
