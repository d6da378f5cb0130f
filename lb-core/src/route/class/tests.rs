//! Tests of classes: tables of a few routes, and the reason of each.

use super::*;
use crate::filter::redirect::Redirect;
use crate::filter::rewrite_target::RewriteTarget;
use crate::filter::ssl_redirect::SslRedirect;
use crate::model::{HostPattern, Kind, ObjectRef, Origin, Policy, Steering, Upstream, UpstreamTls};
use crate::route::{Builder, plain_route};
use std::sync::Arc;

/// A route whose owner opted in: host, path with its kind, service.
fn route(host: &str, path: &str, service: u32) -> Route {
    let origin = Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "n", "i")), rule: Some(0), path: Some(0) };
    let path = match path.split_once(' ').expect("kind and path") {
        ("Exact", path) => PathMatch::exact(path),
        ("Prefix", path) => PathMatch::prefix(path),
        (_, path) => PathMatch::regex(path),
    };
    let host = HostPattern::parse(host).expect("a host");
    let steering = Steering { connection: true, ..Steering::default() };
    Route { steering, ..plain_route(host, path.expect("a path"), origin, Target::Service(ServiceId(service))) }
}

fn with(filter: Filter) -> Route {
    Route { filters: Arc::new([filter]), ..whole() }
}

fn whole() -> Route {
    route("a.test", "Prefix /", 1)
}

fn range(network: &str) -> Filter {
    Filter::SourceRange(SourceRange::new(&[SourceRange::parse(network).expect("a network")]))
}

/// Reasons of routes, in order.
fn reasons(routes: Vec<Route>) -> Vec<&'static str> {
    let mut builder = Builder::default();
    for route in routes {
        builder.rule(route).expect("no conflict");
    }
    builder.build().iter().map(|(_, route)| route.class.reason.name()).collect()
}

fn check(routes: Vec<Route>, want: &[&str]) {
    assert_eq!(reasons(routes), want);
}

#[test]
fn a_host_is_one() {
    check(vec![whole()], &["opted-in"]);
    check(vec![whole(), route("b.test", "Prefix /", 2)], &["opted-in"; 2]);
    check(vec![whole(), route("a.test", "Prefix /api", 1)], &["opted-in"; 2]);
    check(vec![whole(), route("a.test", "Prefix /api", 2)], &["several-backends"; 2]);
    check(vec![route("a.test", "Prefix /api", 1)], &["paths-uncovered"]);
    check(vec![route("a.test", "Exact /", 1)], &["paths-uncovered"]);
    check(vec![route("a.test", "Regex /", 1)], &["opted-in"]);
    let other = Route { steering: Steering::default(), ..route("a.test", "Prefix /api", 1) };
    check(vec![whole(), other], &["others-not-opted-in", "not-opted-in"]);
}

#[test]
fn what_needs_each_request() {
    check(vec![with(range("10.0.0.0/8"))], &["opted-in"]);
    let ssl = SslRedirect { force: true, preserve_trailing_slash: false };
    check(vec![with(Filter::SslRedirect(ssl))], &["per-request-filter"]);
    let redirect = Redirect::parse("permanent-redirect", "http://b.test/", 301).expect("a redirect");
    check(vec![with(Filter::Redirect(redirect))], &["per-request-filter"]);
    let rewrite = RewriteTarget::parse("/b").expect("a target");
    check(vec![with(Filter::RewriteTarget(rewrite))], &["per-request-filter"]);
    let steering = Steering { connection: true, body_limit: true, ..Steering::default() };
    check(vec![Route { steering, ..whole() }], &["body-limit"]);
    let steering = Steering { connection: true, client_certificates: true, ..Steering::default() };
    check(vec![Route { steering, ..whole() }], &["client-certificates"]);
    let balanced = |balance: Balance| Route { policy: Arc::new(Policy { balance, ..Policy::default() }), ..whole() };
    check(vec![balanced(Balance::PeakEwma)], &["opted-in"]);
    check(vec![balanced(Balance::Hash(HashKey::Client))], &["opted-in"]);
    check(vec![balanced(Balance::Hash(HashKey::Cookie("a".into())))], &["balanced-by-request"]);
    check(vec![balanced(Balance::Hash(HashKey::Target))], &["balanced-by-request"]);
}

#[test]
fn what_endpoints_speak() {
    let tls = Upstream { tls: Some(Arc::new(UpstreamTls::default())), ..Upstream::default() };
    let h2 = Upstream { protocol: Protocol::Http2, ..Upstream::default() };
    let speaks = |upstream: Upstream| Route { upstream: Arc::new(upstream), ..whole() };
    check(vec![speaks(tls.clone())], &["endpoint-tls"]);
    check(vec![speaks(h2)], &["endpoint-http2"]);
    // As the client speaks to us, and it came in the clear.
    check(vec![Route { upstream_in_clear: Some(Arc::default()), ..speaks(tls) }], &["opted-in"]);
}

#[test]
fn another_host_may_guard_the_service() {
    let guarded = Route { filters: Arc::new([range("10.0.0.0/8")]), ..route("b.test", "Prefix /", 1) };
    check(vec![whole(), guarded.clone()], &["guarded-elsewhere"; 2]);
    check(vec![with(range("10.0.0.0/8")), guarded.clone()], &["opted-in"; 2]);
    check(vec![with(range("10.0.0.0/9")), guarded], &["guarded-elsewhere"; 2]);
    let steering = Steering { client_certificates: true, ..Steering::default() };
    let certified = Route { steering, ..route("b.test", "Prefix /", 1) };
    check(vec![whole(), certified], &["guarded-elsewhere", "client-certificates"]);
    let mut builder = Builder::default();
    builder.rule(whole()).expect("no conflict");
    builder.closed(ServiceId(1));
    let table = builder.build();
    assert_eq!(table.iter().next().map(|(_, route)| route.class.reason.name()), Some("guarded-elsewhere"));
}

#[test]
fn the_default_backend_of_everything() {
    let built = |rule: Option<Route>| {
        let mut builder = Builder::default();
        if let Some(rule) = rule {
            builder.rule(rule).expect("no conflict");
        }
        builder.global_default(route("", "Prefix /", 1)).expect("no conflict");
        builder.build().iter().map(|(_, route)| route.class.reason.name()).collect::<Vec<_>>()
    };
    assert_eq!(built(None), ["opted-in"]);
    assert_eq!(built(Some(route("", "Prefix /api", 1))), ["opted-in"; 2]);
    // It takes the other paths of a.test, whose /api leads elsewhere.
    assert_eq!(built(Some(route("a.test", "Prefix /api", 2))), ["paths-uncovered", "default-of-others"]);
}

#[test]
fn upgrades_by_what_their_own_endpoints_speak() {
    let h2 = Upstream { protocol: Protocol::Http2, ..Upstream::default() };
    let mut builder = Builder::default();
    builder.rule(whole()).expect("no conflict");
    builder.rule(Route { upstream: Arc::new(h2), ..route("a.test", "Prefix /grpc", 2) }).expect("no conflict");
    let table = builder.build();
    let upgrades: Vec<&str> = table.iter().map(|(_, route)| route.upgrade.reason.name()).collect();
    assert_eq!(upgrades, ["upgrade", "endpoint-http2"]);
}
