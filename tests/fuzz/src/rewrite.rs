//! `rewrite-target`: whatever its value, its expression and the request are, an endpoint gets a target that fits into one
//! request line.

use crate::bytes::Bytes;
use lb_core::filter::rewrite_target::RewriteTarget;
use lb_core::filter::{Filter, Request, Verdict, run as run_filters};
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, Kind, ObjectRef, Origin, PathMatch, ServiceId};
use lb_core::route::{path, plain_route};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The target.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (value, expression) = (bytes.text(), bytes.text());
    let received = String::from_utf8_lossy(bytes.0).into_owned();
    // What a request head lets through (`proxy/head/lexical.rs`).
    if !received.starts_with('/') || !received.bytes().all(is_target) {
        return;
    }
    let Ok(rewrite) = RewriteTarget::parse(&value) else { return };
    let Ok(rule) = PathMatch::regex(&expression) else { return };
    let Ok(normal) = path::normalize(received.split('?').next().unwrap_or_default()) else { return };
    let origin = Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "n", "i")), rule: None, path: None };
    let mut route = plain_route(HostPattern::Any, rule, origin, Target::Service(ServiceId(0)));
    route.filters = vec![Filter::RewriteTarget(rewrite)].into();
    let mut request = Request {
        client: Ipv4Addr::LOCALHOST.into(),
        secure: false,
        certificate: false,
        host: "a.b",
        path: &normal,
        received_target: &received,
        target: received.as_str().into(),
    };
    assert_eq!(run_filters(&route, &mut request), Verdict::Continue);
    assert!(request.target.starts_with('/'), "{:?}", request.target);
    assert!(request.target.bytes().all(is_target), "{:?}", request.target);
}

fn is_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}
