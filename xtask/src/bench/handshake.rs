//! TLS 1.3 handshakes against nginx: full ones by `h2load` (it never resumes), resumed ones by `wrk` (its OpenSSL keeps
//! the session of a connection that it opens again).
//!
//! Goes in: seconds of load. Comes out: handshakes per second and the processor time of each. Each handshake carries
//! one request, so that a handshake counts only when the connection works. The peer is nginx.

use super::Bench;
use super::lab::{CLIENT_CPUS, Room};
use super::load::{Done, Wrk, ensure_bodies, full_handshakes, wrk};
use super::measure::{Goal, Metric};
use super::peer::{Kind, PLAIN, Peer, Setup};
use super::rate::{Costs, priced};
use super::scenario::SMALL_BODY;
use anyhow::{Context, Result, ensure};

/// Handshakes of a second of load that is asked for: about what a proxy does with its part of a core.
const FULL_PER_SECOND: u64 = 500;

const CONTENDERS: &[Kind] = &[Kind::Nginx, Kind::Sluice];

/// Full handshakes.
pub fn full(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    let count = u32::try_from(bench.seconds * FULL_PER_SECOND).context("too many seconds")?;
    run(bench, scenario, Goal::Ratio(1.0), |peer| full_handshakes(&bench.lab, peer.kind.host(), count))
}

/// Resumed handshakes. Each of `wrk`'s connections begins with a full one: 32 of thousands.
pub fn resumed(bench: &Bench, scenario: &'static str) -> Result<Vec<Metric>> {
    run(bench, scenario, Goal::Ratio(1.2), |peer| {
        ensure_resumes(bench, peer)?;
        let url = peer.url("https", "/");
        wrk(&bench.lab, &Wrk { url: &url, connections: 32, close: true, seconds: bench.seconds, cpus: CLIENT_CPUS })
    })
}

fn run(bench: &Bench, scenario: &'static str, goal: Goal, load: impl Fn(&Peer) -> Result<Done>) -> Result<Vec<Metric>> {
    let mut peers = Vec::new();
    for kind in bench.kinds(CONTENDERS) {
        peers.push(Peer::start(bench, kind, Setup { share: bench.share, ..PLAIN })?);
    }
    for peer in &peers {
        peer.warm_up(bench, "https")?;
    }
    let mut costs = Costs::without_direct(scenario, "handshakes", "handshakes/s", goal);
    for round in 1..=bench.rounds {
        for peer in &mut peers {
            let cost = priced(bench, peer, || load(peer))?;
            peer.ensure_running()?;
            ensure_bodies(&cost.done, SMALL_BODY).with_context(|| peer.kind.name())?;
            costs.push(peer, &cost, &mut None)?;
        }
        println!("  round {round} of {}: {}", bench.rounds, costs.last_round());
    }
    Ok(costs.into_metrics(bench))
}

/// Shows that a session is really resumed, and with TLS 1.3; otherwise the figure would be one of full handshakes.
fn ensure_resumes(bench: &Bench, peer: &Peer) -> Result<()> {
    let session = peer.dir().join("session.pem");
    let ask = |option: &str| -> Result<String> {
        let mut command = bench.lab.command(Room::Client, CLIENT_CPUS, "sh");
        // The ticket follows the handshake (RFC 8446 section 4.6.1), so the client stays for an answer.
        let script = format!(
            "(printf 'GET / HTTP/1.1\\r\\nHost: {0}\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.2) | \
             openssl s_client -tls1_3 -connect {1}:443 -servername {0} {option} {2}",
            peer.kind.host(),
            peer.kind.address(),
            session.display()
        );
        let output = command.arg("-c").arg(script).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ask("-sess_out")?;
    ensure!(session.exists(), "{} gives no session ticket", peer.kind.name());
    let second = ask("-sess_in")?;
    ensure!(second.contains("Reused, TLSv1.3"), "{} does not resume its session", peer.kind.name());
    Ok(())
}
