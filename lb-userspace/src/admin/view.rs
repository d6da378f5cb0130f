//! Views: routes, backends and certificates as flat rows, the same for JSON, the command line and the dashboard.

use crate::publish::Published;
use lb_core::Snapshot;
use lb_core::balance::{EndpointView, ServiceState};
use lb_core::class::Classified;
use lb_core::filter::Filter;
use lb_core::model::route::Target;
use lb_core::model::{Endpoint, Policy, Route, Service};
use serde::Serialize;

/// One line of the routing table.
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
    let mut rows: Vec<_> = snapshot.routes.iter().map(|(_, route)| route_row(snapshot, route)).collect();
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
    }
}

fn date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    crate::telemetry::access_log::rfc3339(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}
