//! Explanation of a routing decision: which rule takes a request, what is done to it, where it goes, and why.
//!
//! Goes in: a Snapshot and a request as a person writes it. Comes out: the same decision that the request path makes,
//! by the same functions, with its reasons.

use crate::class::{Classified, Reason};
use crate::filter::{Filter, Request, Verdict};
use crate::model::route::Target;
use crate::model::{Endpoint, Policy, Route, Snapshot, host};
use crate::route::{Match, path};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A request to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `https` rather than `http`.
    pub secure: bool,
    /// Host and perhaps port.
    pub authority: &'a str,
    /// Path and perhaps query.
    pub target: &'a str,
    /// Address of the client; `None`: of a client that may come at all.
    pub client: Option<IpAddr>,
}

/// What would happen to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Status that we would answer ourselves; `None` when a backend answers.
    pub status: Option<u16>,
    /// Why, in one sentence.
    pub because: String,
    /// The Ingress that matched, `namespace/name`.
    pub ingress: Option<String>,
    /// The place in it: `rules[0].paths[1]`, `defaultBackend`.
    pub rule: Option<String>,
    /// Host pattern that matched.
    pub host: Option<String>,
    /// Path type and path that matched.
    pub path: Option<String>,
    /// Filters in their order, by annotation.
    pub filters: Vec<&'static str>,
    /// Request target that the backend would see.
    pub upstream_target: Option<String>,
    /// `Location` of a redirect.
    pub location: Option<String>,
    /// Service, `namespace/name:port`.
    pub service: Option<String>,
    /// What is spoken to its endpoints.
    pub upstream: Option<String>,
    /// Limits, balancing, retries.
    pub policy: Option<Arc<Policy>>,
    /// Which endpoint is chosen, in words.
    pub balance: Option<String>,
    /// Endpoints that could get it.
    pub endpoints: Vec<Endpoint>,
    /// What there is to say of the endpoints.
    pub endpoints_note: String,
    /// Who carries the connection, and why.
    pub class: Option<Classified>,
    /// The reason of the class in words.
    pub class_reason: String,
    /// Who carries the connection if this request switches its protocol; `None` where nobody could.
    pub upgrade: Option<Classified>,
    /// The reason of that in words.
    pub upgrade_reason: String,
    /// Secret of the certificate that a TLS client of this host would see; `None` means the default certificate, or that of
    /// the backend where TLS passes through.
    pub certificate: Option<String>,
    /// What the host asks of clients that come through TLS, in words.
    pub client_certificate: Option<String>,
}

/// Explains what a Snapshot does with a request.
#[must_use]
pub fn explain(snapshot: &Snapshot, question: Question<'_>) -> Explanation {
    let host = host::normalize(question.authority);
    let certificate = snapshot.certificates.find(&host);
    let mut answer = Explanation::new(certificate.map(|c| c.source.to_string()));
    answer.client_certificate = snapshot.client_auth.find(&host).map(ToString::to_string);
    let passed = snapshot.passthrough.find(&host).filter(|_| question.secure);
    if let Some(route) = passed.and_then(|id| snapshot.routes.get(id)) {
        return answer.passes(snapshot, route, question.client);
    }
    let raw_path = question.target.split('?').next().unwrap_or_default();
    let path = match path::normalize(raw_path) {
        Ok(path) => path,
        Err(bad) => return answer.own(400, format!("The request is malformed: {bad}.")),
    };
    let found = snapshot.routes.find(&host, &path);
    let route = match found {
        Match::Rule(_, route) | Match::Default(_, route) => route,
        Match::NoPath(pattern) => {
            return answer
                .own(404, format!("No path of host {pattern} matches {path}, and there is no default backend."));
        }
        Match::NoHost => {
            return answer.own(404, format!("No rule names host {host}, and there is no default backend."));
        }
    };
    answer.matched(route, question.secure);
    let mut request = Request {
        client: question.client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.to_canonical()),
        secure: question.secure,
        certificate: certificate.is_some(),
        host: &host,
        path: &path,
        received_target: question.target,
        target: question.target.into(),
    };
    let applies = |filter: &&Filter| question.client.is_some() || !matches!(filter, Filter::SourceRange(_));
    for filter in route.filters.iter().filter(applies) {
        if let Verdict::Answer(own) = filter.apply(route, &mut request) {
            answer.location = own.location;
            return answer.own(own.status, format!("The filter {} of the route answers.", filter.name()));
        }
    }
    answer.upstream_target = Some(request.target.into_owned());
    answer.because = match found {
        Match::Default(..) => "No rule matches, and this default backend takes the rest.".to_owned(),
        _ => format!("{} of host {} is the longest match.", route.path, route.host),
    };
    answer.target(snapshot, &route.target)
}

impl Explanation {
    fn new(certificate: Option<String>) -> Self {
        Self {
            status: None,
            because: String::new(),
            ingress: None,
            rule: None,
            host: None,
            path: None,
            filters: Vec::new(),
            upstream_target: None,
            location: None,
            service: None,
            upstream: None,
            policy: None,
            balance: None,
            endpoints: Vec::new(),
            endpoints_note: String::new(),
            class: None,
            class_reason: String::new(),
            upgrade: None,
            upgrade_reason: String::new(),
            certificate,
            client_certificate: None,
        }
    }

    fn own(mut self, status: u16, because: String) -> Self {
        self.status = Some(status);
        self.because = because;
        self
    }

    fn matched(&mut self, route: &Route, secure: bool) {
        let origin = &route.origin;
        let place = origin.to_string();
        self.ingress = Some(format!("{}/{}", origin.ingress.namespace, origin.ingress.name));
        self.rule = place.split_once(' ').map(|(_, rule)| rule.to_owned());
        self.host = Some(route.host.to_string());
        self.path = Some(route.path.to_string());
        self.upstream = Some(route.upstream_for(secure).to_string());
        self.balance = Some(route.policy.balance.to_string());
        self.policy = Some(route.policy.clone());
        self.filters = route.filters.iter().map(Filter::name).collect();
        let here = |class| if secure { Reason::TlsTerminatedHere.into() } else { class };
        self.classified(here(route.class), Some(here(route.upgrade)));
    }

    fn classified(&mut self, class: Classified, upgrade: Option<Classified>) {
        self.class = Some(class);
        self.class_reason = class.reason.to_string();
        self.upgrade = upgrade;
        self.upgrade_reason = upgrade.map(|upgrade| upgrade.reason.to_string()).unwrap_or_default();
    }

    /// TLS that passes through: nothing of the request is seen, and nothing can be answered.
    fn passes(mut self, snapshot: &Snapshot, route: &Route, client: Option<IpAddr>) -> Self {
        self.matched(route, true);
        self.classified(Reason::Passthrough.into(), None);
        self.path = None;
        self.upstream = None;
        self.policy = None;
        self.certificate = None;
        self.client_certificate = None;
        self.filters = route.filters.iter().filter(|f| !f.needs_each_request()).map(Filter::name).collect();
        if client.is_some_and(|client| !route.admits(client.to_canonical())) {
            self.because = "The connection is closed: the route keeps this client out.".to_owned();
            return self;
        }
        self.because = format!("TLS of host {} passes through, by the server name alone.", route.host);
        let mut answer = self.target(snapshot, &route.target);
        if let Some(status) = answer.status.take() {
            answer.because =
                format!("The connection is closed, where a request would be answered {status}: {}", answer.because);
        }
        answer
    }

    fn target(mut self, snapshot: &Snapshot, target: &Target) -> Self {
        match target {
            Target::Unavailable(reason) => self.own(503, format!("The backend cannot be used: {reason}.")),
            Target::Service(id) => {
                let Some(service) = snapshot.service(*id) else {
                    return self.own(503, "The service is not in this Snapshot.".to_owned());
                };
                self.service = Some(service.key.to_string());
                self.endpoints.clone_from(&service.endpoints);
                self.endpoints_note.clone_from(&service.note);
                if self.endpoints.is_empty() {
                    return self.own(503, format!("Service {} has no endpoint that can take requests.", service.key));
                }
                self
            }
        }
    }
}

#[cfg(test)]
mod tests;
