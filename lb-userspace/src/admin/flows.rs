//! Flows: pairs of connections that the kernel carries, as administration sees and ends them.
//!
//! Goes in: the trait [`Flows`], implemented in `app` with the kernel's room. Comes out: rows, sums, and the number of
//! those that were reset.

use crate::telemetry::StepTimes;
use lb_core::handoff::FlowView;
use std::net::{IpAddr, SocketAddr};

/// Whoever looks after pairs that the kernel carries.
pub trait Flows: Send + Sync + 'static {
    /// All of them.
    fn flows(&self) -> Vec<FlowView>;
    /// Resets both ends of some; answers how many.
    fn reset(&self, which: &Which) -> usize;
    /// What it has come to since the agent started.
    fn spliced(&self) -> Spliced;
}

/// What all pairs have come to.
#[derive(Debug, Clone, Default)]
pub struct Spliced {
    /// Pairs that the kernel carries now.
    pub pairs: u64,
    /// Bytes of payload from clients to endpoints, of pairs that live or are over.
    pub bytes_up: u64,
    /// Bytes of payload from endpoints to clients.
    pub bytes_down: u64,
    /// Pairs in whose hand-off a byte came to our sockets past the programs: its sender repeated it.
    pub late: u64,
    /// Packets by outcome.
    pub packets: Vec<(&'static str, u64)>,
    /// How long hand-offs took.
    pub handoffs: Vec<StepTimes>,
}

/// Which pairs are to be reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// The one with this number.
    Id(u32),
    /// Those of a client.
    Client(IpAddr),
    /// Those to an endpoint.
    Backend(SocketAddr),
}

impl Which {
    /// Reads `all`, `id=N`, `client=IP` or `backend=ADDR:PORT`, unescaped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('=') {
            None => (text == "all").then_some(Self::All),
            Some(("id", id)) => id.parse().ok().map(Self::Id),
            Some(("client", client)) => client.parse().ok().map(Self::Client),
            Some(("backend", backend)) => backend.parse().ok().map(Self::Backend),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        let check = |text: &str, want: Option<Which>| assert_eq!(Which::parse(text), want, "{text}");
        check("all", Some(Which::All));
        check("id=7", Some(Which::Id(7)));
        check("client=192.0.2.1", Some(Which::Client([192, 0, 2, 1].into())));
        check("backend=[::1]:80", Some(Which::Backend("[::1]:80".parse().expect("an address"))));
        for bad in ["", "all=1", "id=", "id=-1", "client=a", "backend=192.0.2.1", "service=a/b:80"] {
            check(bad, None);
        }
    }
}
