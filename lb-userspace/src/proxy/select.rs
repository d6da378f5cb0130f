//! Selection: which endpoint a request is tried at, how often, and what balancing learns of it.
//!
//! Goes in: a request that was routed ([`Forward`]), and how its tries went. Comes out: a [`Seat`] at an endpoint for each
//! try, or the answer when there is none. The choice itself is [`lb_core::balance`]; connections are not made here.

use super::head::request::Request;
use super::plan::Forward;
use super::relay::Failure;
use super::respond::Own;
use super::upstream::Unreachable;
use super::worker::{Serving, Worker};
use lb_core::balance::{self, Ask, Occupied, Outcome, Refused, Tried, hash};
use lb_core::model::{Balance, HashKey, ServiceId};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

/// What the log and the client are told when an endpoint closed before it answered.
pub const CLOSED: &str = "the endpoint closed the connection without a whole response head";

/// How often a request is sent again to endpoints that did not look at it: by then they mean it.
const REPEATS_MAX: u8 = 3;

/// The tries of one request. It is part of the waiting task, so what few requests need is in boxes.
#[derive(Debug, Default)]
pub struct Tries {
    tried: Tried,
    again: Option<Box<Seat>>,
    repeats: u8,
    failures: u8,
    /// What the client gets when there is no further try.
    last: Option<Box<Own>>,
}

/// A request in work at an endpoint, from the choice to the end of the response. Dropped, it tells balancing how it went.
#[derive(Debug)]
pub struct Seat {
    worker: Rc<Worker>,
    serving: Rc<Serving>,
    service: ServiceId,
    index: usize,
    /// When it was chosen, where latency matters.
    since: Option<Instant>,
    outcome: Option<Outcome>,
}

/// A request that waits for a connection.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Seat);

impl Tries {
    /// An endpoint for the next try; and whether it must be a new connection.
    ///
    /// # Errors
    /// The answer that the client gets instead.
    pub fn next(&mut self, worker: &Rc<Worker>, forward: &Forward) -> Result<(Seat, bool), Own> {
        if let Some(seat) = self.again.take() {
            return Ok((*seat, true));
        }
        let Some((_, state)) = forward.published.service(forward.service) else {
            return Err(Own::error(503, "unavailable", "the service is not known"));
        };
        let policy = forward.policy();
        if self.failures >= policy.retry.tries_max.max(1) {
            return Err(self.give_up(worker, Refused::Exhausted));
        }
        let ask = Ask {
            balance: &policy.balance,
            key: forward.key,
            random: worker.random(),
            now_ms: worker.clock.now_ms(),
            tried: &self.tried,
            circuit: worker.limits.circuit(),
        };
        let index = balance::choose(state, &ask).map_err(|refused| self.give_up(worker, refused))?;
        let seat = Seat {
            worker: worker.clone(),
            serving: forward.published.clone(),
            service: forward.service,
            index,
            since: (policy.balance == Balance::PeakEwma).then(Instant::now),
            outcome: None,
        };
        if !self.tried.push(index) {
            return Err(self.give_up(worker, Refused::Exhausted));
        }
        if self.failures > 0 {
            if !state.may_retry(worker.clock.now_ms()) {
                worker.counters.retries_refused.add(1);
                return Err(self.give_up(worker, Refused::Exhausted));
            }
            worker.counters.retries.add(1);
        }
        Ok((seat, false))
    }

    /// The connection was dead, or the endpoint did not look at the request, which says nothing of its health: the same
    /// once more, with a new connection.
    pub fn again(&mut self, seat: Seat) {
        if self.repeats == REPEATS_MAX {
            self.failures = u8::MAX;
            self.last = Some(Box::new(closed()));
            return;
        }
        self.repeats += 1;
        self.again = Some(Box::new(seat));
    }

    /// The endpoint took no connection. A crowded one has not failed, and the next one is not a retry.
    pub fn unreachable(&mut self, mut seat: Seat, why: &Unreachable) {
        let own = match why {
            Unreachable::Crowded => return,
            Unreachable::Failed(error) => {
                let (endpoint, service) = (seat.endpoint(), seat.service_name());
                tracing::debug!(%endpoint, service, %error, "endpoint takes no connection");
                Own::error(502, "connect-failed", "no endpoint of the service accepts connections")
            }
            Unreachable::Disagreed(error) => {
                let (endpoint, service) = (seat.endpoint(), seat.service_name());
                tracing::debug!(%endpoint, service, %error, "no agreement with the endpoint on TLS or what is spoken in it");
                Own::error(502, "tls-failed", "no endpoint of the service agrees with us on TLS")
            }
            Unreachable::Slow => {
                Own::error(504, "connect-timeout", "the endpoint did not accept the connection in time")
            }
        };
        seat.outcome = Some(Outcome::Failed);
        self.failed(own);
    }

    /// The endpoint closed the connection before it answered, and the request may be sent to another.
    pub fn lost(&mut self, mut seat: Seat) {
        seat.failed(&Failure::UpstreamClosed);
        self.failed(closed());
    }

    fn failed(&mut self, own: Own) {
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Box::new(own));
    }

    /// The answer: what went wrong last, or why nothing was tried.
    fn give_up(&mut self, worker: &Worker, refused: Refused) -> Own {
        if let Some(own) = self.last.take() {
            return *own;
        }
        match refused {
            Refused::Empty => Own::error(503, "no-endpoint", "no endpoint of the service is ready"),
            Refused::Exhausted | Refused::Overloaded => {
                worker.counters.overloads.add(1);
                Own::error(503, "overloaded", "the service has as many requests in work as it may have")
            }
        }
    }
}

impl Seat {
    /// Where it is. It is looked up, not kept: each waiting request would be 32 bytes larger.
    pub fn endpoint(&self) -> SocketAddr {
        let service = self.serving.service(self.service).and_then(|(service, _)| service.endpoints.get(self.index));
        service.expect("a seat is at an endpoint of its Snapshot").address
    }

    /// For people.
    pub fn service_name(&self) -> String {
        self.serving.service(self.service).map(|(service, _)| service.key.to_string()).unwrap_or_default()
    }

    /// Counts the request as waiting for a connection; `None` when too many are.
    pub fn wait(&self) -> Option<Waiting<'_>> {
        let (_, state) = self.serving.service(self.service)?;
        // Not then_some: that would make one in any case, and drop it.
        state.enter_pending(self.index, &self.worker.limits.circuit()).then(|| Waiting(self))
    }

    /// Only the place at the endpoint, for what outlives the Snapshot by far.
    pub fn occupied(mut self) -> Option<Occupied> {
        let (_, state) = self.serving.service(self.service)?;
        let occupied = state.occupied(self.index);
        state.report(self.index, Outcome::Answered, self.worker.clock.now_ms());
        // The place is left by what was taken, not by this.
        self.index = usize::MAX;
        occupied
    }

    /// The head of a response came.
    pub fn answered(&mut self, status: u16) {
        if matches!(status, 502..=504) {
            self.outcome = Some(Outcome::Failed);
            return;
        }
        self.outcome = Some(Outcome::Answered);
        if let Some(since) = self.since.take()
            && let Some((_, state)) = self.serving.service(self.service)
        {
            let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            state.observe(self.index, us, self.worker.clock.exact_ms());
        }
    }

    /// The exchange failed. What the client did, or asked for, says nothing of the endpoint.
    pub fn failed(&mut self, failure: &Failure) {
        match failure {
            Failure::UpstreamClosed | Failure::UpstreamSlow | Failure::UpstreamHead(_) | Failure::UpstreamBody(_) => {
                self.outcome = Some(Outcome::Failed)
            }
            Failure::UpstreamUntouched
            | Failure::Late
            | Failure::ClientGone
            | Failure::ClientSlow
            | Failure::ClientStalled
            | Failure::RequestBody(_) => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((service, state)) = self.serving.service(self.service) else { return };
        state.leave(self.index);
        let Some(outcome) = self.outcome else { return };
        if state.report(self.index, outcome, self.worker.clock.now_ms()) {
            self.worker.counters.ejections.add(1);
            tracing::info!(endpoint = %self.endpoint(), service = %service.key, "endpoint ejected: it failed several times in a row");
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((_, state)) = self.0.serving.service(self.0.service) {
            state.leave_pending(self.0.index);
        }
    }
}

fn closed() -> Own {
    Own::error(502, Failure::UpstreamClosed.word(), CLOSED)
}

/// What of a request decides by consistent hashing; the client's address where the request has no such field or cookie.
/// 0 where nothing is hashed.
pub fn key(balance: &Balance, request: &Request<'_, '_>, host: &str, client: IpAddr) -> u64 {
    let Balance::Hash(key) = balance else { return 0 };
    let field = |name: &str| request.fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value);
    let hashed = match key {
        HashKey::Client => None,
        HashKey::Target => Some(request.target.as_bytes()),
        HashKey::Host => Some(host.as_bytes()),
        HashKey::Header(name) => field(name),
        HashKey::Cookie(name) => {
            let fields = request.fields.iter().filter(|f| f.name.eq_ignore_ascii_case("cookie"));
            fields.filter_map(|f| cookie(f.value, name.as_bytes())).next()
        }
    };
    hashed.map_or_else(|| hash::hash_client(client), hash::hash)
}

/// The value of a cookie (RFC 6265 section 4.2.1).
fn cookie<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pairs = field.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"=")).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::proxy::head::{self, request};

    #[test]
    fn keys_are_of_what_is_named_and_else_of_the_client() {
        let client = IpAddr::from([192, 0, 2, 1]);
        let check = |fields: &str, hashed: HashKey, want: Option<&str>| {
            let text = format!("GET /a?b HTTP/1.1\r\nHost: h.test\r\n{fields}\r\n");
            let mut room = head::no_fields();
            let request = request::parse(text.as_bytes(), &mut room, &Limits::default()).expect("a request");
            let want = want.map_or(hash::hash_client(client), |text| hash::hash(text.as_bytes()));
            assert_eq!(key(&Balance::Hash(hashed.clone()), &request, "h.test", client), want, "{hashed:?} of {fields}");
            assert_eq!(key(&Balance::RoundRobin, &request, "h.test", client), 0);
        };
        check("", HashKey::Client, None);
        check("", HashKey::Target, Some("/a?b"));
        check("", HashKey::Host, Some("h.test"));
        check("X-User: one\r\nx-user: two\r\n", HashKey::Header("x-user".into()), Some("one"));
        check("", HashKey::Header("x-user".into()), None);
        check("Cookie: a=1; id=7;b=2\r\n", HashKey::Cookie("id".into()), Some("7"));
        check("Cookie: a=1\r\nCookie: id=x=y\r\n", HashKey::Cookie("id".into()), Some("x=y"));
        check("Cookie: aid=1; ID=2; id\r\n", HashKey::Cookie("id".into()), None);
    }
}
