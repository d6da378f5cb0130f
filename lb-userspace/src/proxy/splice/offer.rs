//! Which connections are offered to the kernel: what of a request and its route speaks for it, and what against it.
//!
//! Goes in: a request that was planned. Comes out: an [`Offer`], or the reason why there is none, which is counted. Does not
//! ask the kernel: that is [`super::pass`].

use crate::proxy::body::Length;
use crate::proxy::client::Client;
use crate::proxy::connection::Connection;
use crate::proxy::flow::Scratch;
use crate::proxy::head::Version;
use crate::proxy::plan::Forward;
use crate::telemetry::connections::{Unfit, Why};
use lb_core::class::{Class, Reason};
use lb_core::handoff::{Answer, Apart};
use lb_core::model::upstream::Protocol;

/// A connection that the kernel may carry once its request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What the endpoint must answer.
    pub answer: Answer,
    /// What it is counted as when the kernel takes it.
    pub reason: Reason,
    /// Whether its class is not counted yet.
    pub counts: bool,
    /// Bytes that are sent after those that [`super::pass::dial`] writes.
    pub request_bytes: u32,
}

/// The offer of the connection of a request whose head waits in `scratch.up`. Requests after the first are offered only
/// where they switch protocols.
pub fn of(conn: &Connection, forward: &Forward, scratch: &Scratch) -> Option<Offer> {
    let counts = conn.requests == 1;
    // Streams of HTTP/2 count no requests: their connection was counted at its preface.
    if !counts && (forward.upgrade.is_none() || conn.requests == 0) {
        return None;
    }
    let offered = weigh(conn, forward, scratch);
    if let (Err(why), true) = (offered, counts) {
        conn.worker.counters.connections.count(why);
    }
    offered.ok().map(|offer| Offer { counts, ..offer })
}

fn weigh(conn: &Connection, forward: &Forward, scratch: &Scratch) -> Result<Offer, Why> {
    let class = forward.class();
    if !matches!(conn.client, Client::Plain(_)) {
        return Err(Why::Class(Reason::TlsTerminatedHere));
    }
    if class.class != Class::Spliced {
        return Err(Why::Class(class.reason));
    }
    let ledger = conn.worker.splicing.as_ref().ok_or(Why::Apart(Apart::Unavailable))?;
    let switches = forward.upgrade.is_some();
    let answer = if switches { Answer::Switch } else { Answer::Any };
    unfit(conn, forward, ledger.splicing.upgrades).map_err(Why::Unfit)?;
    let body_bytes = body_bytes(conn.input.filled().len(), forward.length, switches).map_err(Why::Unfit)?;
    let request_bytes = scratch.up.out.unsent().saturating_add(body_bytes);
    let request_bytes = u32::try_from(request_bytes).map_err(|_| Why::Unfit(Unfit::Body))?;
    Ok(Offer { answer, reason: class.reason, counts: false, request_bytes })
}

fn unfit(conn: &Connection, forward: &Forward, upgrades: bool) -> Result<(), Unfit> {
    let switches = forward.upgrade.is_some();
    let plain = forward.upstream().tls.is_none() && forward.upstream().protocol == Protocol::Http1;
    let may_go_on = forward.asked.keep_alive && conn.may_go_on();
    let obstacles = [
        (switches && !upgrades, Unfit::Upgrade),
        (forward.asked.version != Version::Http11, Unfit::Version),
        (!plain, Unfit::Endpoint),
        (forward.expects_continue, Unfit::Expect),
        // An endpoint would keep the connection, and who asked for its end would wait for it.
        (!switches && !may_go_on, Unfit::Close),
    ];
    obstacles.iter().find(|(there, _)| *there).map_or(Ok(()), |(_, unfit)| Err(*unfit))
}

/// The size of a body that is here as a whole, with nothing behind it.
fn body_bytes(here: usize, length: Length, switches: bool) -> Result<usize, Unfit> {
    let wanted = match length {
        Length::None => 0,
        Length::Sized(size) if !switches => usize::try_from(size).unwrap_or(usize::MAX),
        Length::Sized(_) | Length::Chunked | Length::UntilClose => return Err(Unfit::Body),
    };
    match here {
        _ if here < wanted => Err(Unfit::Body),
        _ if here > wanted => Err(Unfit::Pipelined),
        _ => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_here_as_a_whole_and_nothing_behind_it() {
        let check = |here, length, switches, want| assert_eq!(body_bytes(here, length, switches), want, "{length:?}");
        check(0, Length::None, false, Ok(0));
        check(0, Length::None, true, Ok(0));
        check(1, Length::None, false, Err(Unfit::Pipelined));
        check(1, Length::None, true, Err(Unfit::Pipelined));
        check(5, Length::Sized(5), false, Ok(5));
        check(4, Length::Sized(5), false, Err(Unfit::Body));
        check(6, Length::Sized(5), false, Err(Unfit::Pipelined));
        check(5, Length::Sized(5), true, Err(Unfit::Body));
        check(5, Length::Sized(u64::MAX), false, Err(Unfit::Body));
        check(5, Length::Chunked, false, Err(Unfit::Body));
    }
}
