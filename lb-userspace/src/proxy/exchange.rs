//! One request: route, filters, balance, endpoint, response. The order of decisions is the order of this file.
//!
//! Goes in: a connection whose input begins with a whole head. Comes out: what becomes of the connection ([`After`]).
//! Does not read the client's head from the wire, and knows no framing: that is `head`, `body` and `flow`.

use super::body::Length;
use super::connection::Connection;
use super::flow::{Framing, Scratch, poll_send_all};
use super::forwarded;
use super::head::request::{self, Request};
use super::head::{self, Bad, Version, response};
use super::record::Record;
use super::relay::{Failure, Relay, Times};
use super::respond::{self, Asked, Own};
use super::upstream::{self, Unreachable};
use super::worker::Worker;
use crate::publish::Published;
use lb_core::balance;
use lb_core::filter::{self, Verdict};
use lb_core::model::route::Target;
use lb_core::model::{Policy, Route, ServiceId, host};
use lb_core::route::{Match, path};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::net::TcpStream;

/// Endpoints that are tried for one request when they refuse the connection.
const ENDPOINTS_TRIED_MAX: usize = 3;
/// Interim responses (1xx) to one request.
const INTERIM_MAX: usize = 16;
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
struct Forward {
    published: Rc<Arc<Published>>,
    service: ServiceId,
    policy: Policy,
    asked: Asked,
    length: Length,
    idempotent: bool,
    expects_continue: bool,
}

/// A connection to an endpoint.
struct Link {
    endpoint: SocketAddr,
    stream: TcpStream,
    reused: bool,
}

/// What a response head means.
enum Reply {
    Interim,
    Final { reusable: bool, keep_alive: bool },
}

/// Serves the request whose head is the first `head_bytes` of the input.
pub async fn run(conn: &mut Connection, head_bytes: usize, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, started);
    conn.requests += 1;
    record.bytes_received = head_bytes as u64;
    let plan = plan(conn, head_bytes, &mut scratch, &mut record);
    conn.input.consume(head_bytes);
    let after = match plan {
        Plan::Forward(forward) => pass(conn, &mut scratch, &forward, &mut record).await,
        Plan::Answer(own, asked, length) => {
            let keep_alive = asked.keep_alive && skip_body(conn, length);
            answer(conn, &mut scratch, &own, Asked { keep_alive, ..asked }, &mut record).await
        }
        Plan::Refuse(bad) => refused(conn, &mut scratch, &bad, &mut record).await,
    };
    record.bytes_received += scratch.up.taken();
    record.bytes_sent += scratch.down.sent();
    record.finish(conn.peer, conn.client.is_secure());
    conn.worker.buffers.take_scratch_back(scratch);
    after
}

/// Refuses a head that could not even be read.
pub async fn refuse(conn: &mut Connection, bad: Bad, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, started);
    record.bytes_received = conn.input.filled().len() as u64;
    let after = refused(conn, &mut scratch, &bad, &mut record).await;
    record.bytes_sent += scratch.down.sent();
    record.finish(conn.peer, conn.client.is_secure());
    conn.worker.buffers.take_scratch_back(scratch);
    after
}

/// Decides; for a request that goes on, writes its head for the endpoint.
fn plan(conn: &Connection, head_bytes: usize, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let worker = &conn.worker;
    let mut fields = head::no_fields();
    let head = conn.input.filled().get(..head_bytes).unwrap_or_default();
    let request = match request::parse(head, &mut fields, &worker.limits) {
        Ok(request) => request,
        Err(bad) => return Plan::Refuse(bad),
    };
    let id = worker.request_id();
    let id = forwarded::request_id(&request).unwrap_or_else(|| id.as_str());
    let host = host::normalize(request.authority);
    record.asked(&request, &host, id);
    let asked = Asked {
        version: request.version,
        head: request.method == "HEAD",
        keep_alive: request.keep_alive && conn.may_go_on(),
    };
    let path = match path::normalize(request.target.split('?').next().unwrap_or_default()) {
        Ok(path) => path,
        Err(bad) => return Plan::Refuse(bad.into()),
    };
    let published = worker.published();
    let answer = |own| Plan::Answer(own, asked, request.length);
    let route = match published.snapshot.routes.find(&host, &path) {
        Match::Rule(_, route) | Match::Default(_, route) => route,
        Match::NoPath(_) => return answer(Own::error(404, "no-route", "no rule of this host covers this path")),
        Match::NoHost => return answer(Own::error(404, "no-route", "no rule names this host")),
    };
    record.routed(route);
    let mut view = filter::Request {
        secure: conn.client.is_secure(),
        certificate: published.snapshot.certificates.find(&host).is_some(),
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
    forwarded::write_head(scratch.up.out.bytes(), &request, &view.target, &conn.facts, id);
    Plan::Forward(forward(published.clone(), service, route, &request, asked))
}

fn forward(
    published: Rc<Arc<Published>>,
    service: ServiceId,
    route: &Route,
    request: &Request<'_, '_>,
    asked: Asked,
) -> Forward {
    Forward {
        published,
        service,
        policy: route.policy.clone(),
        asked,
        length: request.length,
        idempotent: request::is_idempotent(request.method),
        expects_continue: request.expects_continue,
    }
}

/// Sends the request to an endpoint and its response to the client.
async fn pass(conn: &mut Connection, scratch: &mut Scratch, forward: &Forward, record: &mut Record) -> After {
    let framing = if forward.length == Length::Chunked { Framing::Chunked } else { Framing::Raw };
    scratch.up.begin(forward.length, framing);
    if forward.expects_continue && conn.input.is_empty() {
        scratch.down.out.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut again = None;
    loop {
        let mut link = match reach(conn, forward, again, record).await {
            Ok(link) => link,
            Err(own) => return give_up(conn, scratch, forward.asked, own, record).await,
        };
        match converse(conn, scratch, forward, &mut link, record).await {
            Conversation::Over(after, reusable) => {
                if reusable {
                    conn.worker.pool.put(link.endpoint, link.stream);
                }
                return after;
            }
            Conversation::Stale => {
                scratch.up.replay();
                again = Some(link.endpoint);
            }
            Conversation::Failed(failure) => return fail(conn, scratch, forward.asked, &failure, record).await,
        }
    }
}

/// A connection to an endpoint of the service; `again`: a new one to this endpoint, whose idle one was dead.
async fn reach(
    conn: &Connection,
    forward: &Forward,
    again: Option<SocketAddr>,
    record: &mut Record,
) -> Result<Link, Own> {
    let Some((service, state)) = forward.published.service(forward.service) else {
        return Err(Own::error(503, "unavailable", "the service is not known"));
    };
    record.service(&service.key);
    let picked = again.or_else(|| balance::pick(service, state).map(|endpoint| endpoint.address));
    let Some(mut endpoint) = picked else {
        return Err(Own::error(503, "no-endpoint", "no endpoint of the service is ready"));
    };
    for _ in 0..ENDPOINTS_TRIED_MAX.min(service.endpoints.len()) {
        record.endpoint = Some(endpoint);
        if let Some(stream) = conn.worker.pool.take(endpoint).filter(|_| again.is_none()) {
            return Ok(Link { endpoint, stream, reused: true });
        }
        let (ms_max, counters) = (forward.policy.connect_ms_max.into(), &conn.worker.counters);
        match upstream::connect(endpoint, ms_max, &conn.deadline, counters).await {
            Ok(stream) => return Ok(Link { endpoint, stream, reused: false }),
            Err(Unreachable::Slow) => {
                return Err(Own::error(504, "connect-timeout", "the endpoint did not accept the connection in time"));
            }
            Err(Unreachable::Failed(error)) => {
                tracing::debug!(%endpoint, %error, service = %service.key, "endpoint refuses connections");
                let at = service.endpoints.iter().position(|e| e.address == endpoint).map_or(0, |at| at + 1);
                endpoint = service.endpoints.iter().cycle().nth(at).map_or(endpoint, |e| e.address);
            }
        }
    }
    Err(Own::error(502, "connect-failed", "no endpoint of the service accepts connections"))
}

/// How a conversation with an endpoint went.
enum Conversation {
    /// The response was passed on; whether the connection can be used again.
    Over(After, bool),
    /// The idle connection was dead before it answered, and the request can be sent once more.
    Stale,
    /// It failed before the response head; nothing of an answer was sent.
    Failed(Failure),
}

async fn converse(
    conn: &mut Connection,
    scratch: &mut Scratch,
    forward: &Forward,
    link: &mut Link,
    record: &mut Record,
) -> Conversation {
    let worker = conn.worker.clone();
    let (policy, limits) = (&forward.policy, &worker.limits);
    let times = Times {
        body_idle_ms_max: limits.body_idle_ms_max,
        send_idle_ms_max: policy.send_idle_ms_max.into(),
        read_idle_ms_max: policy.read_idle_ms_max.into(),
        write_idle_ms_max: limits.write_idle_ms_max,
    };
    let may_go_on = conn.may_go_on();
    let Connection { client, input, deadline, .. } = conn;
    let reply_bytes_max = limits.response_head_bytes_max;
    let mut relay = Relay::new(client, input, &mut link.stream, deadline, scratch, times, reply_bytes_max);
    let mut interim = 0;
    let (reusable, keep_alive) = loop {
        let head_bytes = match poll_fn(|cx| relay.poll_head(cx)).await {
            Ok(head_bytes) => head_bytes,
            Err(Failure::UpstreamClosed) if link.reused && interim == 0 && is_repeatable(&relay, forward) => {
                return Conversation::Stale;
            }
            Err(failure) => return Conversation::Failed(failure),
        };
        let asked =
            Asked { keep_alive: forward.asked.keep_alive && may_go_on && !worker.draining.get(), ..forward.asked };
        match read_reply(&mut relay, &worker, asked, head_bytes, record) {
            Ok(Reply::Final { reusable, keep_alive }) => break (reusable, keep_alive),
            Ok(Reply::Interim) if interim < INTERIM_MAX => interim += 1,
            Ok(Reply::Interim) => return Conversation::Failed(Failure::UpstreamHead(Bad::Large)),
            Err(bad) => return Conversation::Failed(Failure::UpstreamHead(bad)),
        }
    };
    if let Err(failure) = poll_fn(|cx| relay.poll_body(cx)).await {
        record.error = Some(failure.word());
        return Conversation::Over(After::Reset, false);
    }
    let done = relay.is_request_done();
    let reusable = reusable && done && relay.scratch.reply.is_empty();
    let after = match (done, keep_alive) {
        (true, true) => After::KeepAlive,
        (true, false) => After::Close,
        (false, _) => After::Linger,
    };
    Conversation::Over(after, reusable)
}

/// Whether a request to an idle connection that turned out dead may be sent again: nothing of it left, or its method
/// allows it (RFC 9110 section 9.2.2) and all of it is still here.
fn is_repeatable(relay: &Relay<'_>, forward: &Forward) -> bool {
    let up = &relay.scratch.up;
    relay.scratch.reply.is_empty() && (up.is_untouched() || (forward.idempotent && up.is_replayable()))
}

/// Reads the response head and writes it for the client.
fn read_reply(
    relay: &mut Relay<'_>,
    worker: &Worker,
    asked: Asked,
    head_bytes: usize,
    record: &mut Record,
) -> Result<Reply, Bad> {
    let mut fields = head::no_fields();
    let Scratch { down, reply, .. } = &mut *relay.scratch;
    let head = reply.filled().get(..head_bytes).unwrap_or_default();
    let response = response::parse(head, &mut fields, asked.head)?;
    let outcome = match response.status {
        // An upgrade that nobody asked for: the Upgrade field is not passed on.
        101 => return Err(Bad::StatusLine),
        100 => Reply::Interim,
        102..200 => {
            if asked.version == Version::Http11 {
                respond::write_interim(down.out.bytes(), &response);
            }
            Reply::Interim
        }
        status => {
            record.status = status;
            let passed = respond::write_head(down.out.bytes(), &response, asked, &worker.clock.date());
            down.begin(response.length, passed.framing);
            Reply::Final { reusable: response.keep_alive, keep_alive: passed.keep_alive }
        }
    };
    relay.consume_head(head_bytes);
    Ok(outcome)
}

/// Ends an exchange that failed before the response head.
async fn fail(
    conn: &mut Connection,
    scratch: &mut Scratch,
    asked: Asked,
    failure: &Failure,
    record: &mut Record,
) -> After {
    let own = match failure {
        Failure::ClientGone | Failure::ClientStalled => {
            (record.status, record.error) = (CLIENT_GONE, Some(failure.word()));
            return After::Reset;
        }
        Failure::RequestBody(bad) => {
            conn.worker.counters.requests_malformed.add(1);
            Own::error(400, failure.word(), &bad.to_string())
        }
        Failure::ClientSlow => Own::error(408, failure.word(), "the request body did not arrive in time"),
        Failure::UpstreamClosed => {
            Own::error(502, failure.word(), "the endpoint closed the connection without a whole response head")
        }
        Failure::UpstreamSlow => Own::error(504, failure.word(), "the endpoint did not answer in time"),
        Failure::UpstreamHead(bad) => {
            Own::error(502, failure.word(), &format!("the endpoint sent a malformed response: {bad}"))
        }
        Failure::UpstreamBody(bad) => {
            Own::error(502, failure.word(), &format!("the endpoint sent a malformed response: {bad}"))
        }
    };
    give_up(conn, scratch, asked, own, record).await
}

/// Answers in place of an endpoint. The connection lives on only when the whole request was read.
async fn give_up(conn: &mut Connection, scratch: &mut Scratch, asked: Asked, own: Own, record: &mut Record) -> After {
    let keep_alive = asked.keep_alive && scratch.up.is_ended();
    answer(conn, scratch, &own, Asked { keep_alive, ..asked }, record).await
}

async fn refused(conn: &mut Connection, scratch: &mut Scratch, bad: &Bad, record: &mut Record) -> After {
    conn.worker.counters.requests_malformed.add(1);
    let own = Own::error(bad.status(), "malformed", &bad.to_string());
    let asked = Asked { version: Version::Http11, head: false, keep_alive: false };
    answer(conn, scratch, &own, asked, record).await
}

async fn answer(conn: &mut Connection, scratch: &mut Scratch, own: &Own, asked: Asked, record: &mut Record) -> After {
    (record.status, record.error) = (own.status, own.error);
    let out = &mut scratch.down.out;
    respond::write_own(out.bytes(), own, asked, &conn.worker.clock.date());
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
