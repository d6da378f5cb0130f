//! Messages over a WebSocket: 128 bytes there and back, one after the other on one connection.
//!
//! Goes in: seconds of each stretch. Comes out: median and 99th percentile. The peer is nginx, and the bare way to the
//! server is beside both: what is above it is the contender's.

use super::Bench;
use super::carried::{metrics, value};
use super::echo;
use super::lab::CLIENT_CPUS;
use super::measure::{Better, Goal, Metric};
use super::peer::{CARRIED, Kind, Peer, WEBSOCKET_HOST};
use anyhow::{Context, Result, ensure};

/// Contenders in the order of a round.
pub const CONTENDERS: &[Kind] = &[Kind::Direct, Kind::Nginx, Kind::Sluice];

/// What Sluice counts when it hands a WebSocket over.
const HANDED_OVER: &str = "sluice_connections_total{class=\"spliced\",reason=\"upgrade\"}";

/// Measures it in interleaved rounds.
pub fn run(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let metric = |name| Metric::new(scenario, name, "µs", Better::Lower, Some(Goal::Ratio(1.5)));
    let (mut p50, mut p99) = (metric("p50"), metric("p99"));
    let mut server = echo::start(&bench.lab, CLIENT_CPUS)?;
    server.move_to("1")?;
    let mut peers = Vec::new();
    for kind in bench.kinds(CONTENDERS) {
        peers.push(Peer::start(bench, kind, CARRIED)?);
    }
    for _ in 0..bench.rounds {
        for peer in &mut peers {
            let before = handed_over(bench, peer)?;
            let times = echo::measure(&bench.lab, &target(peer.kind), WEBSOCKET_HOST, bench.seconds);
            let (median, last) = times.with_context(|| format!("messages by {}", peer.kind.name()))?;
            ensure!(
                handed_over(bench, peer)? >= before + f64::from(u8::from(peer.kind == Kind::Sluice)),
                "userspace carried the WebSocket"
            );
            peer.ensure_running()?;
            server.ensure_running()?;
            p50.push(peer.kind.name(), median);
            p99.push(peer.kind.name(), last);
        }
    }
    Ok(vec![p50, p99])
}

/// Where WebSockets are opened by way of a contender.
pub fn target(kind: Kind) -> String {
    if kind == Kind::Direct { format!("{}:{}", kind.address(), echo::PORT) } else { kind.target() }
}

/// WebSockets that Sluice handed to the kernel so far; none for other contenders.
pub fn handed_over(bench: &Bench, peer: &Peer) -> Result<f64> {
    if peer.kind == Kind::Sluice { value(&metrics(bench)?, HANDED_OVER) } else { Ok(0.0) }
}
