//! TLS that passes through: a connection goes to an endpoint as it is, chosen by the server name alone.
//!
//! Goes in: a connection whose ClientHello was taken off it. Comes out: a line of the access log; meanwhile the kernel carries
//! it, or userspace does. Does not decrypt, and cannot answer: what fails is closed.

mod look;

pub use look::{Seen, look};

use super::client::Client;
use super::clock::Deadline;
use super::endpoint::Endpoint;
use super::facts::Arrival;
use super::plan::Forward;
use super::record::Line;
use super::relay::Failure;
use super::select::{Seat, Tries};
use super::splice::handover::Handover;
use super::splice::offer::Offer;
use super::splice::pass::{self, Dial, Dialled, Wait, write_ahead};
use super::tunnel::{self, End};
use super::upstream::{Unreachable, announce, connect};
use super::worker::{Serving, Worker};
use crate::telemetry::connections::Why;
use lb_core::balance::hash;
use lb_core::class::Reason;
use lb_core::handoff::{Answer, Apart};
use lb_core::model::route::Target;
use lb_core::model::{Balance, HashKey, RouteId};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// A connection that passes through.
#[derive(Debug)]
pub struct Passing {
    /// The client's connection, behind its ClientHello.
    pub client: TcpStream,
    /// Where it came from.
    pub arrival: Arrival,
    /// The ClientHello, as it came.
    pub hello: Vec<u8>,
    /// The name in it.
    pub name: String,
    /// Where that leads, in what served when it was looked up.
    pub route: (Rc<Serving>, RouteId),
}

/// Who carries a connection.
enum Settled {
    Kernel(Wait),
    Userspace,
    /// Nobody: the endpoint did not answer.
    Late,
}

/// Carries a connection to its end, or hands it over.
pub async fn serve(worker: Rc<Worker>, deadline: Deadline, passing: Passing) {
    let Passing { client, arrival, hello, name, route } = passing;
    let mut line = Line::new(arrival.peer, "tls", Instant::now(), &worker.log);
    line.passes(&name);
    line.bytes_received = hello.len() as u64;
    let reached = match plan(&worker, route, &name, arrival.peer.ip(), &mut line) {
        Ok(forward) => {
            let reached = reach(&worker, &client, &deadline, &forward, arrival, &hello, &mut line).await;
            reached.map(|reached| (reached, forward.policy().read_idle_ms_max.into()))
        }
        Err(word) => Err(word),
    };
    drop(hello);
    match reached {
        Ok((reached, idle_ms_max)) => carry(&worker, &deadline, client, reached, idle_ms_max, line).await,
        Err(word) => {
            line.error = Some(word);
            line.finish(&worker.counters, &worker.log);
        }
    }
}

/// Where the name leads; or one word for the log.
fn plan(
    worker: &Worker,
    (published, id): (Rc<Serving>, RouteId),
    name: &str,
    client: IpAddr,
    line: &mut Line,
) -> Result<Forward, &'static str> {
    let route = published.snapshot.routes.get(id).ok_or("no-route")?;
    line.routed(route);
    if !route.admits(client.to_canonical()) {
        return Err("source-range");
    }
    let Target::Service(service) = route.target else { return Err("unavailable") };
    if let Some((service, _)) = published.service(service) {
        line.service(&service.key);
    }
    let key = match &route.policy.balance {
        Balance::Hash(HashKey::Host) => hash::hash(name.as_bytes()),
        // Of requests nothing is known.
        Balance::Hash(_) => hash::hash_client(client),
        _ => 0,
    };
    let until_ms = worker.clock.now_ms().saturating_add(route.policy.total_ms_max.into());
    Ok(Forward::of_connection(published, id, service, key, until_ms))
}

/// A connection to an endpoint that has the ClientHello.
async fn reach(
    worker: &Rc<Worker>,
    client: &TcpStream,
    deadline: &Deadline,
    forward: &Forward,
    arrival: Arrival,
    hello: &[u8],
    line: &mut Line,
) -> Result<(Dialled, Seat), &'static str> {
    let announced = forward.upstream().proxy_protocol;
    let announced = announced.map(|version| announce::header(version, arrival.peer, arrival.local));
    let ahead = [&announced.unwrap_or_default()[..], hello].concat();
    let mut offer = offer(worker);
    let mut tries = Tries::default();
    loop {
        let (seat, _) = tries.next(worker, forward).map_err(|own| own.error.unwrap_or("unavailable"))?;
        line.endpoint = Some(seat.endpoint());
        let connect_ms_max = forward.policy().connect_ms_max.into();
        let dial = Dial { worker, client, deadline, seat: &seat, connect_ms_max, ahead: &ahead };
        match open(dial, &mut offer).await {
            Ok(dialled) => return Ok((dialled, seat)),
            Err(unreachable) => tries.unreachable(seat, &unreachable),
        }
    }
}

/// Every connection that passes through is offered.
fn offer(worker: &Worker) -> Option<Offer> {
    if worker.splicing.is_none() {
        worker.counters.connections.count(Why::Apart(Apart::Unavailable));
        return None;
    }
    Some(Offer { answer: Answer::Any, reason: Reason::Passthrough, counts: true, request_bytes: 0 })
}

async fn open(dial: Dial<'_>, offer: &mut Option<Offer>) -> Result<Dialled, Unreachable> {
    if let Some(dialled) = pass::dial(dial, offer).await? {
        return Ok(dialled);
    }
    let Dial { worker, deadline, seat, connect_ms_max, ahead, .. } = dial;
    let _waiting = seat.wait().ok_or(Unreachable::Crowded)?;
    let mut tcp = connect::dial(seat.endpoint(), None, connect_ms_max, deadline, &worker.counters).await?;
    write_ahead(&mut tcp, ahead, deadline).await?;
    Ok(Dialled { tcp, wait: None })
}

async fn carry(
    worker: &Rc<Worker>,
    deadline: &Deadline,
    mut client: TcpStream,
    (dialled, mut seat): (Dialled, Seat),
    idle_ms_max: u64,
    mut line: Line,
) {
    let Dialled { mut tcp, wait } = dialled;
    deadline.set(idle_ms_max);
    match settle(worker, deadline, (&client, &tcp), wait).await {
        Settled::Kernel(wait) => {
            if let Some(mut handover) = Handover::new(wait, Endpoint::Tcp(tcp), seat, worker) {
                handover.line = Some(line);
                handover.complete(Client::Plain(client));
            }
            return;
        }
        Settled::Late => {
            seat.failed(&Failure::UpstreamSlow);
            line.error = Some(Failure::UpstreamSlow.word());
            return line.finish(&worker.counters, &worker.log);
        }
        Settled::Userspace => {}
    }
    // It may live for days, and holds no Snapshot.
    let _place = seat.occupied();
    let ahead = Default::default();
    let passed = tunnel::join(&mut client, &mut tcp, ahead, &worker.buffers, deadline, idle_ms_max).await;
    line.bytes_received += passed.up;
    line.bytes_sent += passed.down;
    line.error = passed.end.word();
    let cut = match passed.end {
        End::Client => Some(&tcp),
        End::Endpoint => Some(&client),
        End::Both | End::Idle => None,
    };
    // An error means that the connection is gone already, which is what is wanted.
    let _ = cut.map(TcpStream::set_zero_linger);
    line.finish(&worker.counters, &worker.log);
}

/// Waits until it is decided who carries a connection. Whatever comes to our sockets, and the time limit, ask for it back.
async fn settle(
    worker: &Worker,
    deadline: &Deadline,
    (client, endpoint): (&TcpStream, &TcpStream),
    mut wait: Option<Wait>,
) -> Settled {
    poll_fn(|cx| {
        if let Poll::Ready(carried) = pass::poll_decision(&mut wait, worker, cx) {
            return Poll::Ready(carried.map_or(Settled::Userspace, Settled::Kernel));
        }
        let stirs = stirs(client, cx) | stirs(endpoint, cx);
        if !stirs && !deadline.poll(cx) {
            return Poll::Pending;
        }
        Poll::Ready(match pass::withdraw(&mut wait, worker) {
            Some(carried) => Settled::Kernel(carried),
            None if stirs => Settled::Userspace,
            None => Settled::Late,
        })
    })
    .await
}

/// Whether bytes have come, or the end.
fn stirs(tcp: &TcpStream, cx: &mut Context<'_>) -> bool {
    tcp.poll_peek(cx, &mut ReadBuf::new(&mut [0; 1])).is_ready()
}
