//! One request, from its head to the end of its response: what was planned ([`mod@super::plan`]) is carried out.
//!
//! Goes in: a connection whose input begins with a whole head. Comes out: what becomes of the connection ([`After`]).
//! Does not read the client's head from the wire, and knows no framing: that is `head`, `body` and `flow`.

use super::body::{BadBody, Length};
use super::connection::Connection;
use super::conversation::{Conversation, converse, reach};
use super::flow::{Framing, Scratch, poll_send_all};
use super::head::request::{self, Follows};
use super::head::{self, Bad, Version};
use super::plan::{Forward, Plan, plan};
use super::record::Record;
use super::relay::Failure;
use super::respond::{self, Asked, Own};
use super::select::{self, Tries};
use super::splice::handover::Handover;
use super::splice::offer;
use super::tunnel;
use http::request::Parts;
use lb_core::handoff::Answer;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

/// Status for the log when the client left before the response, as nginx writes it.
const CLIENT_GONE: u16 = 499;

/// What becomes of the client's connection.
#[derive(Debug)]
pub enum After {
    /// The next request.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is closed once the client has had time to read the answer.
    Linger,
    /// It is reset: the client must not take what it has for a whole response.
    Reset,
    /// It is the kernel's.
    Carried(Box<Handover>),
}

/// Serves the request whose head is the first `head_bytes` of the input.
pub async fn run(conn: &mut Connection, head_bytes: usize, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, &conn.facts, started);
    conn.requests += 1;
    record.bytes_received = head_bytes as u64;
    let plan = read(conn, head_bytes, &mut scratch, &mut record);
    conn.input.consume(head_bytes);
    carry_out(conn, plan, scratch, record).await
}

/// Serves the request of a stream of HTTP/2.
pub async fn run_stream(conn: &mut Connection, head: Parts, follows: Follows, started: Instant) -> After {
    let mut scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, &conn.facts, started);
    let plan = read_h2(conn, &head, follows, &mut scratch, &mut record);
    drop(head);
    if follows != Follows::Nothing {
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

fn read_h2(conn: &Connection, head: &Parts, follows: Follows, scratch: &mut Scratch, record: &mut Record) -> Plan {
    let mut fields = head::no_fields();
    match request::of_h2(head, follows, &mut fields, &conn.worker.limits) {
        Ok(request) => plan(conn, &request, scratch, record),
        Err(bad) => Plan::Refuse(bad),
    }
}

async fn carry_out(conn: &mut Connection, plan: Plan, mut scratch: Scratch, mut record: Record) -> After {
    let mut after = match plan {
        Plan::Forward(forward) => pass(conn, &mut scratch, forward, &mut record).await,
        Plan::Answer(own, asked, length) => {
            let keep_alive = asked.keep_alive && skip_body(conn, length);
            answer(conn, &mut scratch, &own, Asked { keep_alive, ..asked }, &mut record).await
        }
        Plan::Refuse(bad) => refused(conn, &mut scratch, &bad, &mut record).await,
    };
    record.bytes_received += scratch.up.taken();
    record.bytes_sent += scratch.down.sent();
    match &mut after {
        After::Carried(handover) => handover.line = Some(record.into_line()),
        _ => record.finish(),
    }
    conn.worker.buffers.take_scratch_back(scratch);
    after
}

/// Refuses a head that could not even be read.
pub async fn refuse(conn: &mut Connection, bad: Bad, started: Instant) -> After {
    let scratch = conn.worker.buffers.scratch();
    let mut record = Record::new(&conn.worker, &conn.facts, started);
    record.bytes_received = conn.input.filled().len() as u64;
    carry_out(conn, Plan::Refuse(bad), scratch, record).await
}

/// Sends the request to an endpoint and its response to the client.
async fn pass(conn: &mut Connection, scratch: &mut Scratch, forward: Forward, record: &mut Record) -> After {
    let chunked = forward.h2_head.is_none() && matches!(forward.length, Length::Chunked | Length::UntilClose);
    let framing = if chunked { Framing::Chunked } else { Framing::Raw };
    scratch.up.begin(arrival(conn, forward.length), framing);
    scratch.up.limit(forward.policy().body_bytes_max);
    conn.worker.buffers.enlarge(&mut conn.input, scratch.up.left());
    if forward.expects_continue && conn.input.is_empty() {
        match conn.client.stream() {
            // A client that is gone is noticed with the next byte.
            Some(stream) => drop(stream.inform(respond::h2_continue())),
            None => scratch.down.out.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
        }
    }
    let mut tries = Tries::default();
    let mut offer = offer::of(conn, &forward, scratch);
    loop {
        scratch.up.replay();
        let (mut link, mut seat) = match reach(conn, &forward, &mut tries, record, &mut offer).await {
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
            Conversation::Carried(wait) => {
                record.answered();
                if wait.offer.answer == Answer::Switch {
                    record.status = 101;
                }
                return Handover::new(wait, link.stream, seat, &conn.worker).map_or(After::Reset, After::Carried);
            }
            Conversation::Stale => tries.again(seat),
            Conversation::Lost => tries.lost(seat),
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
    let asked =
        Asked { version: Version::Http11, head: false, grpc: false, connect: false, keep_alive: false, hsts: None };
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
