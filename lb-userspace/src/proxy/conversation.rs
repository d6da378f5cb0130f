//! A conversation with an endpoint: a connection to one, the request on it, and its response.
//!
//! Goes in: a request that was routed ([`Forward`]) and waits in `scratch.up`. Comes out: how it went ([`Conversation`]).
//! Does not answer in place of an endpoint: that is [`super::exchange`].

use super::body::Length;
use super::client::Client;
use super::connection::Connection;
use super::exchange::After;
use super::flow::{Flow, Framing, Scratch};
use super::head::response::{self, Response};
use super::head::upgrade::Wanted;
use super::head::{self, Bad, Version};
use super::link::{self, Link};
use super::plan::Forward;
use super::record::Record;
use super::relay::{Failure, Head, Relay, Times};
use super::respond::{self, Asked, Own, Passed};
use super::select::{Seat, Tries};
use super::splice::offer::Offer;
use super::splice::pass::{self, Met, Wait};
use super::worker::Worker;
use std::future::poll_fn;

/// Interim responses (1xx) to one request.
const INTERIM_MAX: usize = 16;

/// How a conversation with an endpoint went.
pub enum Conversation {
    /// The response was passed on; whether the connection can be used again.
    Over(After, bool),
    /// The endpoint switches to the protocol that was asked for; the head that says so waits in `scratch.down`.
    Switched,
    /// The kernel carries both connections from here on.
    Carried(Wait),
    /// The idle connection was dead before it answered, and the request can be sent once more.
    Stale,
    /// The endpoint closed the connection before it answered, and the request can be sent to another one.
    Lost,
    /// It failed before the response head; nothing of an answer was sent.
    Failed(Failure),
}

/// What a response head means.
enum Reply {
    Interim,
    Switch,
    Final { reusable: bool, keep_alive: bool },
}

/// A link to an endpoint of the service, and the request's place at it.
///
/// # Errors
/// The answer that the client gets instead.
pub async fn reach(
    conn: &Connection,
    forward: &Forward,
    tries: &mut Tries,
    record: &mut Record,
    offer: &mut Option<Offer>,
) -> Result<(Link, Seat), Own> {
    if let Some((service, _)) = forward.published.service(forward.service) {
        record.service(&service.key);
    }
    loop {
        let (seat, fresh) = tries.next(&conn.worker, forward)?;
        record.endpoint = Some(seat.endpoint());
        match link::open(conn, forward, &seat, fresh, offer).await {
            Ok(link) => return Ok((link, seat)),
            Err(unreachable) => tries.unreachable(seat, &unreachable),
        }
    }
}

/// Sends the request, and passes the response on.
pub async fn converse(
    conn: &mut Connection,
    scratch: &mut Scratch,
    forward: &Forward,
    link: &mut Link,
    seat: &mut Seat,
    record: &mut Record,
) -> Conversation {
    let worker = conn.worker.clone();
    let (policy, limits) = (forward.policy(), &worker.limits);
    let times = Times {
        body_idle_ms_max: limits.body_idle_ms_max,
        send_idle_ms_max: policy.send_idle_ms_max.into(),
        read_idle_ms_max: policy.read_idle_ms_max.into(),
        write_idle_ms_max: limits.write_idle_ms_max,
        until_ms: forward.until_ms,
    };
    let may_go_on = conn.may_go_on();
    let Connection { client, input, deadline, .. } = conn;
    let reply_bytes_max = limits.response_head_bytes_max;
    let mut relay = Relay::new(client, input, &mut link.stream, deadline, scratch, times, reply_bytes_max);
    let mut first = match decided(&mut relay, link.wait.take(), &worker).await {
        Ok(head) => head,
        Err(wait) => return Conversation::Carried(wait),
    };
    let mut interim = 0;
    let (reusable, keep_alive) = loop {
        let head = match first.take() {
            Some(head) => head,
            None => poll_fn(|cx| relay.poll_head(cx)).await,
        };
        let head = match head {
            Ok(head) => head,
            Err(Failure::UpstreamUntouched) => return Conversation::Stale,
            Err(Failure::UpstreamClosed) if link.reused && interim == 0 && is_repeatable(&relay, forward) => {
                return Conversation::Stale;
            }
            Err(Failure::UpstreamClosed) if interim == 0 && may_go_elsewhere(&relay, forward) => {
                return Conversation::Lost;
            }
            Err(failure) => return Conversation::Failed(failure),
        };
        let asked =
            Asked { keep_alive: forward.asked.keep_alive && may_go_on && !worker.draining.get(), ..forward.asked };
        match read_reply(&mut relay, &worker, asked, &head, forward.upgrade.as_deref(), record) {
            Ok(Reply::Switch) => return switch(&mut relay, &head, record).await,
            Ok(Reply::Final { reusable, keep_alive }) => break (reusable, keep_alive),
            Ok(Reply::Interim) if interim < INTERIM_MAX => interim += 1,
            Ok(Reply::Interim) => return Conversation::Failed(Failure::UpstreamHead(Bad::Large)),
            Err(bad) => return Conversation::Failed(Failure::UpstreamHead(bad)),
        }
    };
    seat.answered(record.status);
    if let Err(failure) = pass_body(&mut relay, &worker, !keep_alive).await {
        seat.failed(&failure);
        record.error = Some(failure.word());
        return Conversation::Over(After::Reset, false);
    }
    let done = relay.is_request_done();
    // An endpoint that declined to switch may think otherwise: it is not asked anything else there.
    let reusable = reusable && done && relay.scratch.reply.is_empty() && forward.upgrade.is_none();
    let after = match (done, keep_alive) {
        (true, true) => After::KeepAlive,
        (true, false) => After::Close,
        (false, _) => After::Linger,
    };
    Conversation::Over(after, reusable)
}

/// Passes the response body on, after a look at what more of it is here already. `last`: the connection is closed behind it.
async fn pass_body(relay: &mut Relay<'_>, worker: &Worker, last: bool) -> Result<(), Failure> {
    if last {
        relay.scratch.down.close_behind();
    }
    let mut begun = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut begun, true) {
            relay.read_on(cx, &worker.buffers);
        }
        relay.poll_body(cx)
    })
    .await
}

/// Waits until it is decided who carries the connection, where that is open; the head or failure that decided it is not lost.
async fn decided(
    relay: &mut Relay<'_>,
    wait: Option<Wait>,
    worker: &Worker,
) -> Result<Option<Result<Head, Failure>>, Wait> {
    let Some(wait) = wait else { return Ok(None) };
    match Box::pin(pass::head(relay, wait, worker)).await {
        Met::Carried(wait) => Err(wait),
        Met::Head(head) => Ok(Some(head)),
        Met::Ours => Ok(None),
    }
}

/// Whether a request to an idle connection that turned out dead may be sent again: nothing of it left, or its method
/// allows it (RFC 9110 section 9.2.2) and all of it is still here.
fn is_repeatable(relay: &Relay<'_>, forward: &Forward) -> bool {
    is_still_ours(relay, forward, forward.idempotent)
}

/// Whether a request that an endpoint closed upon may be sent to another: nothing of it left, or the route allows it for
/// its method and all of it is still here.
fn may_go_elsewhere(relay: &Relay<'_>, forward: &Forward) -> bool {
    let retry = &forward.policy().retry;
    is_still_ours(relay, forward, retry.non_idempotent || (retry.idempotent && forward.idempotent))
}

/// Whether nothing of a request left, or, where sending it twice does no harm, all of it is still here. A head of HTTP/2
/// has left with the opening of its stream.
fn is_still_ours(relay: &Relay<'_>, forward: &Forward, harmless: bool) -> bool {
    let up = &relay.scratch.up;
    let untouched = forward.h2_head.is_none() && up.is_untouched();
    relay.scratch.reply.is_empty() && (untouched || (harmless && up.is_replayable()))
}

/// Reads the response head and writes it for the client.
fn read_reply(
    relay: &mut Relay<'_>,
    worker: &Worker,
    asked: Asked,
    head: &Head,
    upgrade: Option<&Wanted>,
    record: &mut Record,
) -> Result<Reply, Bad> {
    let mut fields = head::no_fields();
    let Scratch { down, reply, .. } = &mut *relay.scratch;
    let (response, bytes) = match head {
        Head::Bytes(bytes) => {
            let head = reply.filled().get(..*bytes).unwrap_or_default();
            (response::parse(head, &mut fields, asked.head)?, *bytes)
        }
        Head::Parts(parts, follows) => (response::of_h2(parts, *follows, asked.head, &mut fields)?, 0),
    };
    if response.status == 101 {
        let agreed = upgrade.is_some_and(|wanted| wanted.is_met_by(&response));
        return if agreed { Ok(Reply::Switch) } else { Err(Bad::Switch) };
    }
    let outcome = pass_head(&response, relay.client, down, asked, &worker.clock.date(), record)?;
    if let (Head::Parts(..), Reply::Final { .. }) = (head, &outcome)
        && response.length != Length::None
    {
        // The stream ends it, whatever length is stated; `h2` sees to it that the two are the same.
        let framing = down.framing();
        down.begin(Length::UntilClose, framing);
    }
    relay.consume_head(bytes);
    Ok(outcome)
}

/// Passes a switch of protocols on, once the whole request was sent: what the client sends after it, and no earlier, is
/// of the new protocol (RFC 9110 section 7.8).
async fn switch(relay: &mut Relay<'_>, head: &Head, record: &mut Record) -> Conversation {
    if let Err(failure) = poll_fn(|cx| relay.poll_request_end(cx)).await {
        return Conversation::Failed(failure);
    }
    match write_switch(relay, head) {
        Ok(()) => {
            record.status = if relay.client.stream().is_some() { 200 } else { 101 };
            Conversation::Switched
        }
        Err(bad) => Conversation::Failed(Failure::UpstreamHead(bad)),
    }
}

fn write_switch(relay: &mut Relay<'_>, head: &Head) -> Result<(), Bad> {
    // HTTP/2 has no such status (RFC 9113 section 8.6).
    let Head::Bytes(bytes) = head else { return Err(Bad::Switch) };
    let mut fields = head::no_fields();
    let Scratch { down, reply, .. } = &mut *relay.scratch;
    let response = response::parse(reply.filled().get(..*bytes).unwrap_or_default(), &mut fields, false)?;
    match relay.client.stream() {
        // A client that is gone is noticed with the next byte.
        Some(stream) => drop(stream.respond(respond::h2_switch(&response), false)),
        None => respond::write_switch(down.out.bytes(), &response),
    }
    relay.consume_head(*bytes);
    Ok(())
}

/// Writes a response head for the client, and states the body that follows.
fn pass_head(
    response: &Response<'_, '_>,
    client: &mut Client,
    down: &mut Flow,
    asked: Asked,
    date: &[u8; 29],
    record: &mut Record,
) -> Result<Reply, Bad> {
    match response.status {
        100 => Ok(Reply::Interim),
        102..200 => {
            match (client.stream(), asked.version) {
                // A client that is gone is noticed with the next byte.
                (Some(stream), _) => drop(stream.inform(respond::h2_interim(response))),
                (None, Version::Http11) => respond::write_interim(down.out.bytes(), response),
                (None, _) => {}
            }
            Ok(Reply::Interim)
        }
        200..300 if asked.connect => Err(Bad::Switch),
        status => {
            record.status = status;
            let passed = match client.stream() {
                Some(stream) => {
                    let head = respond::h2_head(response, asked, date);
                    // As above.
                    let _ = stream.respond(head, response.length == Length::None);
                    Passed { framing: Framing::Raw, keep_alive: true }
                }
                None => respond::write_head(down.out.bytes(), response, asked, date),
            };
            down.begin(response.length, passed.framing);
            Ok(Reply::Final { reusable: response.keep_alive, keep_alive: passed.keep_alive })
        }
    }
}
