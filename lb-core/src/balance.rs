//! Balancing: which endpoint of a service takes the next request.
//!
//! Goes in: the [`ServiceState`] that all workers share and what is asked ([`Ask`]): time and randomness are arguments.
//! Comes out: the index of an endpoint on which the request is counted from now on, or [`Refused`].
//! Lock-free: round robin costs two relaxed additions to choose, and two subtractions when the request is over.

pub mod budget;
pub mod circuit;
pub mod ejection;
pub mod endpoint;
pub mod hash;
pub mod latency;
mod round_robin;
pub mod slow_start;
pub mod state;
pub mod tried;
mod two_choices;

pub use circuit::Circuit;
pub use endpoint::{EndpointState, EndpointView};
pub use state::{Occupied, Outcome, ServiceState};
pub use tried::Tried;

use crate::model::Balance;
use slow_start::WEIGHT_MAX;

/// What is asked for one try of one request.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// How the route wants it.
    pub balance: &'a Balance,
    /// [`hash::hash`] of what the route hashes; nothing else looks at it.
    pub key: u64,
    /// Random bits.
    pub random: u64,
    /// Milliseconds since the epoch that all users of the state share.
    pub now_ms: u64,
    /// Endpoints that this request has been to.
    pub tried: &'a Tried,
    /// Bounds.
    pub circuit: Circuit,
}

/// Why no endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The service has none.
    Empty,
    /// The request has been to all of them.
    Exhausted,
    /// The service, or each endpoint that is left, has as many requests in work as the [`Circuit`] allows.
    Overloaded,
}

/// Chooses an endpoint and counts a request in work on it: the caller calls [`ServiceState::leave`] once when it is over.
///
/// Ejected endpoints are left out while another is left, and so are, for ever, those that the request has been to.
///
/// # Errors
/// [`Refused`]; nothing is counted then.
pub fn choose(state: &ServiceState, ask: &Ask<'_>) -> Result<usize, Refused> {
    if state.endpoints().is_empty() {
        return Err(Refused::Empty);
    }
    let turn = state.enter(ask.circuit.service_requests_max).ok_or(Refused::Overloaded)?;
    let preferred = match ask.balance {
        Balance::RoundRobin => round_robin::pick(state, ask, turn),
        Balance::LeastRequests => two_choices::pick(state, ask, EndpointState::requests_cost),
        Balance::PeakEwma => two_choices::pick(state, ask, |endpoint| endpoint.latency_cost(ask.now_ms)),
        Balance::Hash(_) => hash::pick(state, ask),
    };
    preferred.or_else(|| first_open(state, ask, turn)).ok_or_else(|| {
        state.leave_service();
        let untried = (0..state.endpoints().len()).any(|index| !ask.tried.contains(index));
        if untried { Refused::Overloaded } else { Refused::Exhausted }
    })
}

/// Whether an endpoint may be chosen while a better one may be left.
fn is_open(state: &ServiceState, ask: &Ask<'_>, index: usize) -> bool {
    !ask.tried.contains(index) && state.endpoints().get(index).is_some_and(|e| !e.is_ejected(ask.now_ms))
}

/// Whether an endpoint takes part this time: one that starts slowly does so as often as its weight says.
fn is_warm(state: &ServiceState, ask: &Ask<'_>, index: usize) -> bool {
    state.endpoints().get(index).is_some_and(|endpoint| {
        let weight = endpoint.weight(ask.now_ms);
        weight == WEIGHT_MAX || ask.random % WEIGHT_MAX < weight
    })
}

/// Counts a request on an endpoint, unless it has as many as it may have.
fn enter(state: &ServiceState, ask: &Ask<'_>, index: usize) -> Option<usize> {
    let endpoint = state.endpoints().get(index)?;
    endpoint.enter(ask.circuit.endpoint_requests_max).then_some(index)
}

/// The last resort: any that is left, an ejected one only if no other is.
fn first_open(state: &ServiceState, ask: &Ask<'_>, turn: u32) -> Option<usize> {
    let count = state.endpoints().len();
    let all = || (0..count).map(|step| (turn as usize % count + step) % count);
    all()
        .filter(|index| is_open(state, ask, *index))
        .find_map(|index| enter(state, ask, index))
        .or_else(|| all().filter(|index| !ask.tried.contains(*index)).find_map(|index| enter(state, ask, index)))
}

#[cfg(test)]
mod tests;
