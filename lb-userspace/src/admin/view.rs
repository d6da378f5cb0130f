//! Views: routes, backends and certificates as flat rows, the same for JSON, the command line and the dashboard.

use crate::publish::Published;
use lb_core::Snapshot;
use lb_core::balance::{EndpointView, ServiceState};
use lb_core::class::{Classified, Reason};
use lb_core::filter::Filter;
use lb_core::model::route::Target;
use lb_core::model::{Endpoint, HostPattern, Policy, ProxyProtocol, Route, Service};
use serde::Serialize;

/// One line of the routing table. TLS that passes through has one of its own, of kind `TLS`.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the model")]
pub struct RouteView<'a> {
    pub host: String,
    pub kind: &'static str,
    pub path: &'a str,
    pub ingress: String,
    pub rule: String,
    pub service: Option<String>,
    pub endpoints: usize,
    pub unavailable: Option<&'a str>,
    pub filters: &'a [Filter],
    pub upstream: String,
    pub upstream_in_clear: Option<String>,
    pub balance: String,
    pub policy: &'a Policy,
    pub client_certificate: Option<String>,
    pub class: Classified,
    pub class_reason: String,
    /// Of connections whose protocol a request has switched; none where no request is seen.
    pub upgrade: Option<Classified>,
    pub upgrade_reason: Option<String>,
}

/// One service port.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the model")]
pub struct BackendView<'a> {
    pub service: String,
    pub in_work: u32,
    pub endpoints: Vec<EndpointRow<'a>>,
    pub note: &'a str,
}

/// One endpoint, and how balancing sees it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the model")]
pub struct EndpointRow<'a> {
    #[serde(flatten)]
    pub endpoint: &'a Endpoint,
    #[serde(flatten)]
    pub state: EndpointView,
}

/// One server name with its certificate.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the model")]
pub struct CertificateView<'a> {
    pub server_name: String,
    pub secret: String,
    pub names: &'a [String],
    pub not_before: String,
    pub not_after: String,
    pub fingerprint: &'a str,
}

/// All routes, sorted by host and then as written.
#[must_use]
pub fn routes(snapshot: &Snapshot) -> Vec<RouteView<'_>> {
    let passed = snapshot.passthrough.entries().into_iter().filter_map(|(host, id)| {
        let route = snapshot.routes.get(id)?;
        Some(passthrough_row(&host, route_row(snapshot, route), route))
    });
    let mut rows: Vec<_> = snapshot.routes.iter().map(|(_, route)| route_row(snapshot, route)).chain(passed).collect();
    rows.sort_by(|a, b| (&a.host, a.path, a.kind).cmp(&(&b.host, b.path, b.kind)));
    rows
}

/// All service ports that a route leads to.
#[must_use]
pub fn backends(published: &Published) -> Vec<BackendView<'_>> {
    let now_ms = published.now_ms();
    let mut rows: Vec<_> = published.services().map(|(service, state)| backend_row(service, state, now_ms)).collect();
    rows.sort_by(|a, b| a.service.cmp(&b.service));
    rows
}

/// All server names that have a certificate.
#[must_use]
pub fn certificates(snapshot: &Snapshot) -> Vec<CertificateView<'_>> {
    let entries = snapshot.certificates.entries().into_iter();
    entries
        .map(|(pattern, certificate)| CertificateView {
            server_name: pattern.to_string(),
            secret: certificate.source.to_string(),
            names: &certificate.names,
            not_before: date(certificate.not_before_s),
            not_after: date(certificate.not_after_s),
            fingerprint: &certificate.fingerprint,
        })
        .collect()
}

fn backend_row<'a>(service: &'a Service, state: &ServiceState, now_ms: u64) -> BackendView<'a> {
    let states = state.endpoints().iter().map(|endpoint| endpoint.view(now_ms));
    BackendView {
        service: service.key.to_string(),
        in_work: state.in_work(),
        endpoints: service
            .endpoints
            .iter()
            .zip(states)
            .map(|(endpoint, state)| EndpointRow { endpoint, state })
            .collect(),
        note: &service.note,
    }
}

fn route_row<'a>(snapshot: &'a Snapshot, route: &'a Route) -> RouteView<'a> {
    let place = route.origin.to_string();
    let (ingress, rule) = place.split_once(' ').unwrap_or((&place, ""));
    let (service, unavailable) = match &route.target {
        Target::Service(id) => (snapshot.service(*id), None),
        Target::Unavailable(reason) => (None, Some(&**reason)),
    };
    RouteView {
        host: route.host.to_string(),
        kind: route.path.kind(),
        path: route.path.text(),
        ingress: ingress.to_owned(),
        rule: rule.to_owned(),
        service: service.map(|s| s.key.to_string()),
        endpoints: service.map_or(0, |s| s.endpoints.len()),
        unavailable,
        filters: &route.filters,
        upstream: route.upstream.to_string(),
        upstream_in_clear: route.upstream_in_clear.as_ref().map(ToString::to_string),
        balance: route.policy.balance.to_string(),
        policy: &route.policy,
        client_certificate: snapshot.client_auth.get(&route.host).map(ToString::to_string),
        class: route.class,
        class_reason: route.class.reason.to_string(),
        upgrade: Some(route.upgrade),
        upgrade_reason: Some(route.upgrade.reason.to_string()),
    }
}

/// What of a route holds for TLS that passes through.
fn passthrough_row<'a>(host: &HostPattern, row: RouteView<'a>, route: &'a Route) -> RouteView<'a> {
    let range = route.filters.iter().position(|filter| !filter.needs_each_request());
    let announced = match route.upstream.proxy_protocol {
        Some(ProxyProtocol::V1) => ", behind PROXY v1",
        Some(ProxyProtocol::V2) => ", behind PROXY v2",
        None => "",
    };
    let class = Classified::from(Reason::Passthrough);
    RouteView {
        host: host.to_string(),
        kind: "TLS",
        path: "passthrough",
        filters: range.and_then(|place| route.filters.get(place..=place)).unwrap_or_default(),
        upstream: format!("TLS as it comes{announced}"),
        upstream_in_clear: None,
        client_certificate: None,
        class,
        class_reason: class.reason.to_string(),
        upgrade: None,
        upgrade_reason: None,
        ..row
    }
}

fn date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    crate::telemetry::access_log::rfc3339(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::filter::source_range::SourceRange;
    use lb_core::filter::ssl_redirect::SslRedirect;
    use lb_core::model::{Kind, ObjectRef, Origin, PassthroughTable, PathMatch};
    use lb_core::route::{Builder, plain_route};
    use std::sync::Arc;

    #[test]
    fn a_host_that_passes_through_has_two_lines() {
        let origin =
            Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "n", "i")), rule: Some(0), path: Some(0) };
        let host = HostPattern::parse("a.test").expect("a host");
        let network = SourceRange::parse("10.0.0.0/8").expect("a network");
        let range = Filter::SourceRange(SourceRange::new(&[network]));
        let redirect = Filter::SslRedirect(SslRedirect { force: true, preserve_trailing_slash: false });
        let path = PathMatch::prefix("/").expect("a path");
        let plain = plain_route(host.clone(), path, origin, Target::Unavailable("gone".into()));
        let mut builder = Builder::default();
        let id = builder.rule(Route { filters: Arc::new([range, redirect]), ..plain }).expect("new");
        let mut passthrough = PassthroughTable::default();
        passthrough.insert(&host, id);
        let snapshot = Snapshot { routes: builder.build(), passthrough: passthrough.into(), ..Snapshot::default() };
        let shown: Vec<String> = routes(&snapshot)
            .iter()
            .map(|r| {
                format!(
                    "{} {} {} {} {} {:?}",
                    r.host,
                    r.kind,
                    r.path,
                    r.filters.len(),
                    r.class.reason.name(),
                    r.unavailable
                )
            })
            .collect();
        let want = [
            "a.test Prefix / 2 per-request-filter Some(\"gone\")",
            "a.test TLS passthrough 1 passthrough Some(\"gone\")",
        ];
        assert_eq!(shown, want);
    }
}
