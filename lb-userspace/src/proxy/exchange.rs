//! One request: route, filters, balance, endpoint, response. The order of decisions is the order of this file.
//!
//! Goes in: a connection whose input begins with a whole head. Comes out: what becomes of the connection ([`After`]).
//! Does not read the client's head from the wire, and knows no framing: that is `head`, `body` and `flow`.

use super::admission::admit;
use super::body::{BadBody, Length};
use super::connection::Connection;
use super::conversation::{Conversation, converse, reach};
use super::flow::{Framing, Scratch, poll_send_all};
use super::forwarded::{self, Told};
use super::grpc;
use super::head::request::{self, Request};
use super::head::upgrade::Wanted;
use super::head::{self, Bad, Version};
use super::record::Record;
use super::relay::Failure;
use super::respond::{self, Asked, Own};
use super::select::{self, Tries};
use super::tunnel;
use super::worker::Serving;
use http::request::Parts;
use lb_core::filter::{self, Verdict};
use lb_core::model::route::Target;
use lb_core::model::upstream::Protocol;
use lb_core::model::{Policy, Route, ServiceId, Upstream, host};
use lb_core::route::{Match, path};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Status for the log when the client left before the response, as nginx writes it.
const CLIENT_GONE: u16 = 499;

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is closed once the client has had time to read the answer.
    Linger,
    /// It is reset: the client must not take what it has for a whole response.
    Reset,
}

/// What is to be done with a request.
enum Plan {
    Forward(Forward),
    Answer(Own, Asked, Length),
    Refuse(Bad),
}

/// A request on its way to a service.
pub struct Forward {
    /// What served when it was routed.
    pub published: Rc<Serving>,
    /// Where it goes.
    pub service: ServiceId,
    /// How endpoints are spoken to.
    pub upstream: Arc<Upstream>,
    /// Host in normal form, where TLS to endpoints needs it; empty otherwise.
    pub host: String,
    /// Limits of its route.
    pub policy: Arc<Policy>,
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

/// Serves the request whose head is the first `head_bytes` of the input.
pub async fn run(conn: &mut Connection, head_bytes: usize, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, started);
    conn.requests += 1;
    record.bytes_received = head_bytes as u64;
    let plan = read(conn, head_bytes, &mut scratch, &mut record);
    conn.input.consume(head_bytes);
    carry_out(conn, plan, scratch, record).await
}

/// Serves the request of a stream of HTTP/2; `ends`: no content follows the head.
pub async fn run_stream(conn: &mut Connection, head: Parts, ends: bool, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, started);
    let plan = read_h2(conn, &head, ends, &mut scratch, &mut record);
    drop(head);
    if !ends {
        conn.worker.buffers.lend(&mut conn.input);
    }
    carry_out(conn, plan, scratch, record).await
}

// The room for fields is large: these two are functions of their own so that it is not part of the waiting task.

fn read(conn: &Connection, head_bytes: usize, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let mut fields = head::no_fields();
    let head = conn.input.filled().get(..head_bytes).unwrap_or_default();
    match request::parse(head, &mut fields, &conn.worker.limits) {
        Ok(request) => plan(conn, &request, scratch, record),
        Err(bad) => Plan::Refuse(bad),
    }
}

fn read_h2(conn: &Connection, head: &Parts, ends: bool, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let mut fields = head::no_fields();
    match request::of_h2(head, ends, &mut fields, &conn.worker.limits) {
        Ok(request) => plan(conn, &request, scratch, record),
        Err(bad) => Plan::Refuse(bad),
    }
}

async fn carry_out(conn: &mut Connection, plan: Plan, mut scratch: Scratch, mut record: Record) -> After {
    let after = match plan {
        Plan::Forward(forward) => pass(conn, &mut scratch, forward, &mut record).await,
        Plan::Answer(own, asked, length) => {
            let keep_alive = asked.keep_alive && skip_body(conn, length);
            answer(conn, &mut scratch, &own, Asked { keep_alive, ..asked }, &mut record).await
        }
        Plan::Refuse(bad) => refused(conn, &mut scratch, &bad, &mut record).await,
    };
    record.bytes_received += scratch.up.taken();
    record.bytes_sent += scratch.down.sent();
    record.finish(conn.facts.peer, conn.facts.secure);
    conn.worker.buffers.take_scratch_back(scratch);
    after
}

/// Refuses a head that could not even be read.
pub async fn refuse(conn: &mut Connection, bad: Bad, started: Instant) -> After {
    let scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, started);
    record.bytes_received = conn.input.filled().len() as u64;
    carry_out(conn, Plan::Refuse(bad), scratch, record).await
}

/// Decides; for a request that goes on, writes its head for the endpoint.
fn plan(conn: &Connection, request: &Request<'_, '_>, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let worker = &conn.worker;
    let id = worker.request_id();
    let id = forwarded::request_id(request).unwrap_or_else(|| id.as_str());
    let host = host::normalize(request.authority);
    record.asked(request, &host, id);
    let published = worker.serving();
    let certificate = published.snapshot.certificates.find(&host).is_some();
    let asked = Asked {
        version: request.version,
        head: request.method == "HEAD",
        grpc: request.is_grpc(),
        keep_alive: request.keep_alive && conn.may_go_on(),
        hsts: worker.hsts.filter(|_| conn.facts.tls.is_some() && certificate),
    };
    let path = match path::normalize(request.target.split('?').next().unwrap_or_default()) {
        Ok(path) => path,
        Err(bad) => return Plan::Refuse(bad.into()),
    };
    let answer = |own| Plan::Answer(own, asked, request.length);
    let admission = match admit(&conn.facts, &published.snapshot, &host, request.version == Version::Http2) {
        Ok(admission) => admission,
        Err(own) => return answer(own),
    };
    let route = match published.snapshot.routes.find(&host, &path) {
        Match::Rule(_, route) | Match::Default(_, route) => route,
        Match::NoPath(_) => return answer(Own::error(404, "no-route", "no rule of this host covers this path")),
        Match::NoHost => return answer(Own::error(404, "no-route", "no rule names this host")),
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
    let service = match &route.target {
        Target::Service(service) => *service,
        Target::Unavailable(reason) => return answer(Own::error(503, "unavailable", reason)),
    };
    if let (Length::Sized(size), Some(most)) = (request.length, route.policy.body_bytes_max)
        && size > most
    {
        return answer(Own::too_large());
    }
    let identity = match admission.lines() {
        Ok(identity) => identity,
        Err(own) => return answer(own),
    };
    let told = Told { facts: &conn.facts, identity, request_id: id };
    let upstream = route.upstream_for(conn.facts.secure);
    let h2_head = match upstream.protocol {
        Protocol::Http1 => {
            forwarded::write_head(scratch.up.out.bytes(), request, &view.target, told);
            None
        }
        Protocol::Http2 => {
            let secure = upstream.tls.is_some();
            match forwarded::h2_head(request, &view.target, told, secure) {
                Some(head) => Some(Box::new(head)),
                None => return Plan::Refuse(Bad::Target),
            }
        }
    };
    let grpc_ms = if asked.grpc { grpc::timeout_ms(request.fields) } else { None };
    let total_ms = grpc_ms.unwrap_or(u64::MAX).min(route.policy.total_ms_max.into());
    let until_ms = worker.clock.now_ms().saturating_add(total_ms);
    let key = select::key(&route.policy.balance, request, &host, conn.facts.peer.ip());
    let host = upstream.tls.as_ref().map_or_else(String::new, |_| host.to_string());
    let plain = forward(published.clone(), service, route, upstream, request, asked);
    Plan::Forward(Forward { h2_head, until_ms, host, key, ..plain })
}

fn forward(
    published: Rc<Serving>,
    service: ServiceId,
    route: &Route,
    upstream: &Arc<Upstream>,
    request: &Request<'_, '_>,
    asked: Asked,
) -> Forward {
    let http1 = upstream.protocol == Protocol::Http1;
    Forward {
        published,
        service,
        upstream: upstream.clone(),
        host: String::new(),
        policy: route.policy.clone(),
        until_ms: u64::MAX,
        asked,
        length: request.length,
        h2_head: None,
        key: 0,
        idempotent: request::is_idempotent(request.method),
        upgrade: request.upgrade.filter(|_| http1).map(|upgrade| Box::new(upgrade.wanted())),
        expects_continue: request.expects_continue,
    }
}

/// Sends the request to an endpoint and its response to the client.
async fn pass(conn: &mut Connection, scratch: &mut Scratch, forward: Forward, record: &mut Record) -> After {
    let chunked = forward.h2_head.is_none() && matches!(forward.length, Length::Chunked | Length::UntilClose);
    let framing = if chunked { Framing::Chunked } else { Framing::Raw };
    scratch.up.begin(arrival(conn, forward.length), framing);
    scratch.up.limit(forward.policy.body_bytes_max);
    if forward.expects_continue && conn.input.is_empty() {
        match conn.client.stream() {
            // A client that is gone is noticed with the next byte.
            Some(stream) => drop(stream.inform(respond::h2_continue())),
            None => scratch.down.out.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
        }
    }
    let mut tries = Tries::default();
    loop {
        let (mut link, mut seat) = match reach(conn, &forward, &mut tries, record).await {
            Ok(reached) => reached,
            Err(own) => return give_up(conn, scratch, &forward, own, record).await,
        };
        match converse(conn, scratch, &forward, &mut link, &mut seat, record).await {
            Conversation::Over(after, reusable) => {
                if let (true, Some(key)) = (reusable, link.key) {
                    conn.worker.pool.put(key, link.stream);
                }
                return after;
            }
            Conversation::Switched => {
                return Box::pin(tunnel::serve(conn, scratch, (forward, seat.occupied()), link.stream, record)).await;
            }
            Conversation::Stale => {
                scratch.up.replay();
                tries.again(seat);
            }
            Conversation::Lost => {
                scratch.up.replay();
                tries.lost(seat);
            }
            Conversation::Failed(failure) => {
                seat.failed(&failure);
                return fail(conn, scratch, &forward, &failure, record).await;
            }
        }
    }
}

/// How the client's body is delimited where it is read: on a stream of HTTP/2 by the stream, whatever length is stated.
fn arrival(conn: &mut Connection, length: Length) -> Length {
    if conn.client.stream().is_some() && length != Length::None { Length::UntilClose } else { length }
}

/// Ends an exchange that failed before the response head.
async fn fail(
    conn: &mut Connection,
    scratch: &mut Scratch,
    forward: &Forward,
    failure: &Failure,
    record: &mut Record,
) -> After {
    let own = match failure {
        Failure::ClientGone | Failure::ClientStalled => {
            (record.status, record.error) = (CLIENT_GONE, Some(failure.word()));
            return After::Reset;
        }
        Failure::RequestBody(BadBody::TooLarge) => Own::too_large(),
        Failure::RequestBody(bad) => {
            conn.worker.counters.requests_malformed.add(1);
            Own::error(400, failure.word(), &bad.to_string())
        }
        Failure::ClientSlow => Own::error(408, failure.word(), "the request body did not arrive in time"),
        Failure::UpstreamClosed | Failure::UpstreamUntouched => Own::error(502, failure.word(), select::CLOSED),
        Failure::Late => Own::error(504, failure.word(), "the request took longer than its limit"),
        Failure::UpstreamSlow => Own::error(504, failure.word(), "the endpoint did not answer in time"),
        Failure::UpstreamHead(bad) => {
            Own::error(502, failure.word(), &format!("the endpoint sent a malformed response: {bad}"))
        }
        Failure::UpstreamBody(bad) => {
            Own::error(502, failure.word(), &format!("the endpoint sent a malformed response: {bad}"))
        }
    };
    give_up(conn, scratch, forward, own, record).await
}

/// Answers in place of an endpoint. The connection lives on only when the whole request was read.
async fn give_up(
    conn: &mut Connection,
    scratch: &mut Scratch,
    forward: &Forward,
    own: Own,
    record: &mut Record,
) -> After {
    let up = &scratch.up;
    let read = up.is_ended() || (up.taken() == 0 && skip_body(conn, forward.length));
    let asked = Asked { keep_alive: forward.asked.keep_alive && read, ..forward.asked };
    answer(conn, scratch, &own, asked, record).await
}

async fn refused(conn: &mut Connection, scratch: &mut Scratch, bad: &Bad, record: &mut Record) -> After {
    conn.worker.counters.requests_malformed.add(1);
    let own = Own::error(bad.status(), "malformed", &bad.to_string());
    let asked = Asked { version: Version::Http11, head: false, grpc: false, keep_alive: false, hsts: None };
    answer(conn, scratch, &own, asked, record).await
}

async fn answer(conn: &mut Connection, scratch: &mut Scratch, own: &Own, asked: Asked, record: &mut Record) -> After {
    (record.status, record.error) = (own.status, own.error);
    let out = &mut scratch.down.out;
    let date = conn.worker.clock.date();
    match conn.client.stream() {
        None => respond::write_own(out.bytes(), own, asked, &date),
        Some(stream) => {
            // A client that is gone is noticed when the body is sent.
            let _ = match asked {
                Asked { grpc: true, .. } => stream.respond(respond::grpc_own(own, &date), true),
                Asked { head: true, .. } => stream.respond(respond::h2_own(own, asked, &date), true),
                _ => {
                    out.bytes().extend_from_slice(own.body().as_bytes());
                    stream.respond(respond::h2_own(own, asked, &date), false)
                }
            };
        }
    }
    record.bytes_sent += out.unsent() as u64;
    conn.deadline.set(conn.worker.limits.write_idle_ms_max);
    let Connection { client, deadline, .. } = conn;
    let sent = poll_fn(|cx| match poll_send_all(cx, out, client) {
        Poll::Pending if deadline.poll(cx) => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
    });
    match (sent.await, asked.keep_alive) {
        (true, true) => After::KeepAlive,
        (true, false) => After::Linger,
        (false, _) => After::Reset,
    }
}

/// Drops the body of a request that is answered without it, if all of it is here. Otherwise the connection must end.
fn skip_body(conn: &mut Connection, length: Length) -> bool {
    let size = match length {
        Length::None => 0,
        Length::Sized(size) => usize::try_from(size).unwrap_or(usize::MAX),
        Length::Chunked | Length::UntilClose => return false,
    };
    let here = size <= conn.input.filled().len();
    conn.input.consume(if here { size } else { 0 });
    here
}
