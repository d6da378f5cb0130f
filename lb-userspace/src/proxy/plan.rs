//! What is to be done with a request: the route, its filters, and the head that an endpoint would get. The order of decisions
//! is the order of this file.
//!
//! Goes in: a request head with its connection. Comes out: a [`Plan`]. Sends nothing, and chooses no endpoint.

use super::admission::{Admission, admit};
use super::body::Length;
use super::connection::Connection;
use super::flow::Scratch;
use super::forwarded::{self, Told};
use super::grpc;
use super::head::request::{self, Request};
use super::head::upgrade::Wanted;
use super::head::{Bad, Version};
use super::record::Record;
use super::respond::{Asked, Own};
use super::select;
use super::worker::Serving;
use lb_core::class::Classified;
use lb_core::filter::{self, Verdict};
use lb_core::model::route::Target;
use lb_core::model::upstream::Protocol;
use lb_core::model::{Policy, Route, RouteId, ServiceId, Upstream, host};
use lb_core::route::{Match, path};
use std::rc::Rc;

/// What is to be done with a request.
pub enum Plan {
    Forward(Forward),
    Answer(Own, Asked, Length),
    Refuse(Bad),
}

/// A request on its way to a service.
pub struct Forward {
    /// What served when it was routed.
    pub published: Rc<Serving>,
    /// Its route.
    route: RouteId,
    /// Where it goes.
    pub service: ServiceId,
    /// The client's side is TLS; some routes speak to endpoints as the client speaks to us.
    secure: bool,
    /// Host in normal form, where TLS to endpoints needs it; empty otherwise.
    pub host: String,
    /// When it must be over, milliseconds of the worker's clock.
    pub until_ms: u64,
    /// What it means for the response.
    pub asked: Asked,
    /// Delimitation of its body.
    pub length: Length,
    /// Its head for an endpoint that speaks HTTP/2; for HTTP/1.1 it waits in `scratch.up`.
    pub h2_head: Option<Box<http::Request<()>>>,
    /// What of it is hashed, where its route balances so.
    pub key: u64,
    /// It may be sent twice.
    pub idempotent: bool,
    /// What a 101 must say; `None`: no upgrade was asked of the endpoint.
    pub upgrade: Option<Box<Wanted>>,
    /// The client waits for 100.
    pub expects_continue: bool,
}

impl Forward {
    /// A whole connection on its way to a service, of whose requests nothing is known.
    pub fn of_connection(published: Rc<Serving>, route: RouteId, service: ServiceId, key: u64, until_ms: u64) -> Self {
        let version = Version::Http11;
        Self {
            published,
            route,
            service,
            secure: true,
            host: String::new(),
            until_ms,
            asked: Asked { version, head: false, grpc: false, connect: false, keep_alive: false, hsts: None },
            length: Length::None,
            h2_head: None,
            key,
            idempotent: false,
            upgrade: None,
            expects_continue: false,
        }
    }

    /// How endpoints are spoken to.
    pub fn upstream(&self) -> &Upstream {
        self.route().upstream_for(self.secure)
    }

    /// Who carries its connection.
    pub fn class(&self) -> Classified {
        if self.upgrade.is_some() { self.route().upgrade } else { self.route().class }
    }

    /// Limits, balancing and retries of its route.
    pub fn policy(&self) -> &Policy {
        &self.route().policy
    }

    /// Looked up rather than kept: counting references of what all workers share makes their cores wait for one another.
    fn route(&self) -> &Route {
        self.published.snapshot.routes.get(self.route).expect("the route was found in this Snapshot")
    }
}

/// Decides; for a request that goes on, writes its head for the endpoint.
pub fn plan(conn: &Connection, request: &Request<'_, '_>, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let worker = &conn.worker;
    let id = worker.request_id();
    let id = forwarded::request_id(request).unwrap_or_else(|| id.as_str());
    let host = host::normalize(request.authority);
    record.asked(request, &host, id);
    let published = worker.serving();
    let certificate = published.snapshot.certificates.find(&host).is_some();
    let asked = asked(conn, request, certificate);
    let path = match path::normalize(request.target.split('?').next().unwrap_or_default()) {
        Ok(path) => path,
        Err(bad) => return Plan::Refuse(bad.into()),
    };
    let answer = |own| Plan::Answer(own, asked, request.length);
    let (id_of_route, route, admission) = match find(conn, &published, request, &host, &path) {
        Ok(found) => found,
        Err(own) => return answer(own),
    };
    record.routed(route);
    let mut view = filter::Request {
        client: conn.facts.peer.ip().to_canonical(),
        secure: conn.facts.secure,
        certificate,
        host: &host,
        path: &path,
        received_target: &request.target,
        target: (&*request.target).into(),
    };
    if let Verdict::Answer(own) = filter::run(route, &mut view) {
        return answer(Own::filter(own));
    }
    let accepted = service(conn, route, request).and_then(|service| Ok((service, admission.lines()?)));
    let (service, identity) = match accepted {
        Ok(accepted) => accepted,
        Err(own) => return answer(own),
    };
    let told = Told { facts: &conn.facts, identity, request_id: id };
    let upstream = route.upstream_for(conn.facts.secure);
    let Ok(h2_head) = write_head(request, &view.target, told, upstream, scratch) else {
        return Plan::Refuse(Bad::Target);
    };
    Plan::Forward(Forward {
        route: id_of_route,
        service,
        secure: conn.facts.secure,
        host: upstream.tls.as_ref().map_or_else(String::new, |_| host.to_string()),
        until_ms: worker.clock.now_ms().saturating_add(total_ms(route, request, asked)),
        asked,
        length: request.length,
        h2_head,
        key: select::key(&route.policy.balance, request, &host, conn.facts.peer.ip()),
        idempotent: request::is_idempotent(request.method),
        upgrade: wanted(request, upstream),
        expects_continue: request.expects_continue,
        published: published.clone(),
    })
}

fn asked(conn: &Connection, request: &Request<'_, '_>, certificate: bool) -> Asked {
    Asked {
        version: request.version,
        head: request.method == "HEAD",
        grpc: request.is_grpc(),
        connect: request.connect,
        keep_alive: request.keep_alive && conn.may_go_on(),
        hsts: conn.worker.hsts.filter(|_| conn.facts.tls.is_some() && certificate),
    }
}

/// The route, and whether its client may ask for it on this connection.
fn find<'a>(
    conn: &'a Connection,
    published: &'a Serving,
    request: &Request<'_, '_>,
    host: &str,
    path: &str,
) -> Result<(RouteId, &'a Route, Admission<'a>), Own> {
    let admission = admit(&conn.facts, &published.snapshot, host, request.version == Version::Http2)?;
    match published.snapshot.routes.find(host, path) {
        Match::Rule(id, route) | Match::Default(id, route) => Ok((id, route, admission)),
        Match::NoPath(_) => Err(Own::error(404, "no-route", "no rule of this host covers this path")),
        Match::NoHost => Err(Own::error(404, "no-route", "no rule names this host")),
    }
}

/// The service that takes the request, if it takes one of this size.
fn service(conn: &Connection, route: &Route, request: &Request<'_, '_>) -> Result<ServiceId, Own> {
    let service = match &route.target {
        Target::Service(service) => *service,
        Target::Unavailable(reason) => return Err(Own::error(503, "unavailable", reason)),
    };
    if request.connect && wanted(request, route.upstream_for(conn.facts.secure)).is_none() {
        return Err(Own::error(501, "no-websocket", "no WebSocket can be opened to what this endpoint speaks"));
    }
    match (request.length, route.policy.body_bytes_max) {
        (Length::Sized(size), Some(most)) if size > most => Err(Own::too_large()),
        _ => Ok(service),
    }
}

/// Writes the head for HTTP/1.1 to where it waits, or answers it for HTTP/2.
///
/// # Errors
/// When HTTP/2 cannot carry it.
fn write_head(
    request: &Request<'_, '_>,
    target: &str,
    told: Told<'_>,
    upstream: &Upstream,
    scratch: &mut Scratch,
) -> Result<Option<Box<http::Request<()>>>, ()> {
    match upstream.protocol {
        Protocol::Http1 => {
            forwarded::write_head(scratch.up.out.bytes(), request, target, told);
            Ok(None)
        }
        Protocol::Http2 => {
            let head = forwarded::h2_head(request, target, told, upstream.tls.is_some());
            head.map(|head| Some(Box::new(head))).ok_or(())
        }
    }
}

/// How long the request may take in all: a gRPC call may state less than its route allows.
fn total_ms(route: &Route, request: &Request<'_, '_>, asked: Asked) -> u64 {
    let stated = if asked.grpc { grpc::timeout_ms(request.fields) } else { None };
    stated.unwrap_or(u64::MAX).min(route.policy.total_ms_max.into())
}

fn wanted(request: &Request<'_, '_>, upstream: &Upstream) -> Option<Box<Wanted>> {
    let http1 = upstream.protocol == Protocol::Http1;
    request.upgrade.filter(|_| http1).map(|upgrade| Box::new(upgrade.wanted()))
}
