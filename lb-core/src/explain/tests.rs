//! Tests of explanations of what the kernel may carry; what requests meet is tested from outside.

use super::*;
use crate::filter::source_range::SourceRange;
use crate::model::{
    HostPattern, Kind, ObjectRef, Origin, PassthroughTable, PathMatch, Service, ServiceId, ServiceKey, Steering,
};
use crate::route::{Builder, plain_route};

/// `pass.test` passes through for clients of 10.0.0.0/8, `closed.test` passes through to nothing, `here.test` opted in.
fn snapshot() -> Snapshot {
    let origin = Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "n", "i")), rule: Some(0), path: Some(0) };
    let route = |host: &str, target| {
        let path = PathMatch::prefix("/").expect("a path");
        plain_route(HostPattern::parse(host).expect("a host"), path, origin.clone(), target)
    };
    let network = SourceRange::parse("10.0.0.0/8").expect("a network");
    let filters = Arc::new([Filter::SourceRange(SourceRange::new(&[network]))]);
    let mut builder = Builder::default();
    let passes = builder.rule(Route { filters, ..route("pass.test", Target::Service(ServiceId(0))) }).expect("new");
    let closed = builder.rule(route("closed.test", Target::Unavailable("gone".into()))).expect("new");
    let steering = Steering { connection: true, ..Steering::default() };
    builder.rule(Route { steering, ..route("here.test", Target::Service(ServiceId(1))) }).expect("new");
    let mut passthrough = PassthroughTable::default();
    passthrough.insert(&HostPattern::parse("pass.test").expect("a host"), passes);
    passthrough.insert(&HostPattern::parse("closed.test").expect("a host"), closed);
    let service = |name: &str| {
        let key = ServiceKey { namespace: "n".into(), name: name.into(), port: "443".into() };
        let address = ([10, 0, 0, 1], 8_443).into();
        let endpoint = Endpoint { address, pod: None, node: None, zone: None, terminating: false };
        Arc::new(Service { key, endpoints: vec![endpoint], note: String::new() })
    };
    Snapshot {
        routes: builder.build(),
        services: vec![service("a"), service("b")],
        passthrough: passthrough.into(),
        ..Snapshot::default()
    }
}

fn explained(secure: bool, host: &str, client: Option<[u8; 4]>) -> Explanation {
    let client = client.map(IpAddr::from);
    explain(&snapshot(), Question { secure, authority: host, target: "/a?b", client })
}

#[test]
fn classes_by_scheme() {
    let check = |secure, host, want: &str, upgrade_want: Option<&str>| {
        let answer = explained(secure, host, None);
        let upgrade = answer.upgrade.map(|upgrade| upgrade.reason.name());
        assert_eq!((answer.class.expect("matched").reason.name(), upgrade), (want, upgrade_want), "{secure} {host}");
    };
    check(true, "pass.test", "passthrough", None);
    check(true, "PASS.test:8443", "passthrough", None);
    check(false, "pass.test", "not-opted-in", Some("upgrade"));
    check(false, "here.test", "opted-in", Some("upgrade"));
    check(true, "here.test", "tls-terminated-here", Some("tls-terminated-here"));
}

#[test]
fn what_passes_through() {
    let answer = explained(true, "pass.test", Some([10, 1, 2, 3]));
    assert_eq!((answer.status, answer.service.as_deref(), answer.endpoints.len()), (None, Some("n/a:443"), 1));
    assert_eq!((answer.path, answer.upstream_target, answer.filters), (None, None, vec!["allowlist-source-range"]));
    assert!(answer.because.contains("server name"), "{}", answer.because);
    let answer = explained(true, "pass.test", Some([192, 0, 2, 1]));
    assert!(answer.service.is_none() && answer.because.contains("keeps this client out"), "{}", answer.because);
    let answer = explained(true, "closed.test", None);
    assert!(answer.status.is_none() && answer.because.contains("closed"), "{}", answer.because);
    assert!(answer.because.contains("gone"), "{}", answer.because);
}
