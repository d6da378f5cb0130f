//! The table of scenarios: name, what is measured, which kind of work, and what is asked of it.
//!
//! Owns: the goals. A new scenario is a row here, and a file where no kind fits.

use super::Bench;
use super::added::{self, Added};
use super::measure::{Goal, Metric};
use super::peer::Kind;
use super::rate::Rate;
use super::{
    api_cold_start, api_propagation, cold_start, flow_memory, handoff, handshake, idle, latency, packet, rate,
    reconfigure, rolling_restart, routes, streams, websocket,
};
use anyhow::Result;

/// A row of the table.
pub struct Scenario {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What is measured, in a line.
    pub what: &'static str,
    work: Work,
}

/// Kinds of work.
enum Work {
    Rate(Rate),
    Latency,
    Streams,
    FullHandshakes,
    ResumedHandshakes,
    Routes,
    Reconfigure,
    ColdStart,
    Added(Added),
    Handoff,
    Packet,
    FlowMemory,
    WebSocket,
    ApiPropagation,
    RollingRestart,
    ApiColdStart,
    Idle { scheme: &'static str, peers: &'static [Kind] },
}

/// Contenders in the order of a round.
pub const EVERYONE: &[Kind] = &[Kind::Direct, Kind::Nginx, Kind::Haproxy, Kind::Sluice];

const PROXIES: &[Kind] = &[Kind::Nginx, Kind::Haproxy, Kind::Sluice];

/// The same with the proxy that is hyper alone, where the issue asks what hyper costs.
const AND_HYPER: &[Kind] = &[Kind::Direct, Kind::Nginx, Kind::Haproxy, Kind::Hyper, Kind::Sluice];

/// Where the issue names one peer.
const AND_NGINX: &[Kind] = &[Kind::Direct, Kind::Nginx, Kind::Sluice];

/// Bytes of the body that the backend answers everywhere but below `/body`.
pub const SMALL_BODY: u64 = 36;

const KEEP_ALIVE: Rate = Rate {
    path: "/",
    connections: 32,
    close: false,
    workers: 1,
    body: SMALL_BODY,
    bytes: false,
    contenders: EVERYONE,
    goal: Goal::Ratio(1.0),
    carried: None,
};

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "http1-keepalive",
        what: "GET of 36 bytes, 32 kept connections, one worker",
        work: Work::Rate(Rate { contenders: AND_HYPER, ..KEEP_ALIVE }),
    },
    Scenario {
        name: "http1-1k",
        what: "bodies of 1 KiB, 32 kept connections, one worker",
        work: Work::Rate(Rate { path: "/body/1k", body: 1 << 10, bytes: true, ..KEEP_ALIVE }),
    },
    Scenario {
        name: "http1-100k",
        what: "bodies of 100 KiB, 32 kept connections, one worker",
        work: Work::Rate(Rate {
            path: "/body/100k",
            body: 100 << 10,
            bytes: true,
            contenders: AND_HYPER,
            ..KEEP_ALIVE
        }),
    },
    Scenario {
        name: "http1-10m",
        what: "bodies of 10 MiB, 8 kept connections, one worker",
        work: Work::Rate(Rate { path: "/body/10m", body: 10 << 20, connections: 8, bytes: true, ..KEEP_ALIVE }),
    },
    Scenario {
        name: "http1-newconn",
        what: "GET of 36 bytes, a client connection for each request, one worker",
        work: Work::Rate(Rate { close: true, contenders: AND_HYPER, ..KEEP_ALIVE }),
    },
    Scenario {
        name: "http1-two-workers",
        what: "GET of 36 bytes, 64 kept connections, two workers",
        work: Work::Rate(Rate { connections: 64, workers: 2, ..KEEP_ALIVE }),
    },
    Scenario {
        name: "latency-half-load",
        what: "open loop at half of nginx's maximum, 32 kept connections, one worker",
        work: Work::Latency,
    },
    Scenario {
        name: "tls13-full",
        what: "full TLS 1.3 handshakes with one request each, ECDSA P-256, X25519, one worker",
        work: Work::FullHandshakes,
    },
    Scenario {
        name: "tls13-resumed",
        what: "resumed TLS 1.3 handshakes with one request each, one worker",
        work: Work::ResumedHandshakes,
    },
    Scenario {
        name: "h2-tls",
        what: "GET of 36 bytes over HTTP/2 and TLS 1.3, 16 kept connections with 10 streams each, one worker",
        work: Work::Streams,
    },
    Scenario {
        name: "routes-10000",
        what: "http1-keepalive of Sluice with 10,000 routes against one route",
        work: Work::Routes,
    },
    Scenario {
        name: "splice-keepalive",
        what: "GET of 36 bytes, 32 kept connections that the kernel carries after their first request; client and backend with \
               a core each, no quota",
        work: Work::Rate(Rate { goal: Goal::Ratio(1.8), carried: Some(1.0), ..KEEP_ALIVE }),
    },
    Scenario {
        name: "splice-cpu",
        what: "what the same adds to the machine's processor time for each request",
        work: Work::Added(Added::Requests),
    },
    Scenario {
        name: "splice-10m",
        what: "bodies of 10 MiB, 8 kept connections that the kernel carries after their first request; client and backend with \
               a core each, no quota",
        work: Work::Rate(Rate {
            path: "/body/10m",
            body: 10 << 20,
            connections: 8,
            bytes: true,
            contenders: AND_NGINX,
            goal: Goal::Ratio(2.5),
            carried: Some(0.9),
            ..KEEP_ALIVE
        }),
    },
    Scenario {
        name: "passthrough-cpu",
        what: "bodies of 10 MiB by TLS 1.3 that passes through, 8 kept connections: what a GB adds to the machine's processor time",
        work: Work::Added(Added::Passthrough),
    },
    Scenario {
        name: "handoff",
        what: "1,000 connections one after the other, each handed to the kernel with its first request",
        work: Work::Handoff,
    },
    Scenario {
        name: "splice-packet",
        what: "time of the programs for a packet, by the kernel's statistics, in the load of splice-keepalive",
        work: Work::Packet,
    },
    Scenario {
        name: "splice-memory",
        what: "memory of an open WebSocket, 4,000 of them, the kernel's included",
        work: Work::FlowMemory,
    },
    Scenario {
        name: "websocket",
        what: "messages of 128 bytes there and back over a WebSocket, one after the other",
        work: Work::WebSocket,
    },
    Scenario {
        name: "reconfigure",
        what: "one Ingress among 10,000 changes until it is served, 200 times a round (nginx: 10 reloads), under load of \
               1,000 requests/s",
        work: Work::Reconfigure,
    },
    Scenario { name: "cold-start", what: "10,000 Ingresses: start until ready, memory then", work: Work::ColdStart },
    Scenario {
        name: "api-propagation",
        what: "a change in the Kubernetes API until it is served, 10,000 Ingresses and 50,000 endpoints, other slices changing \
               ten times a second",
        work: Work::ApiPropagation,
    },
    Scenario {
        name: "rolling-restart",
        what: "100 endpoints are replaced under 5,000 requests/s; each is closed at once, 50 ms before the API says so",
        work: Work::RollingRestart,
    },
    Scenario {
        name: "api-cold-start",
        what: "10,000 Ingresses and 50,000 endpoints in the Kubernetes API: start until ready, memory then and after the changes \
               of half an hour",
        work: Work::ApiColdStart,
    },
    Scenario {
        name: "idle-plain",
        what: "memory of an idle plain connection, 10,000 of them, one request made on each",
        work: Work::Idle { scheme: "http", peers: PROXIES },
    },
    Scenario {
        name: "idle-tls",
        what: "memory of an idle TLS 1.3 connection, 10,000 of them, one request made on each",
        work: Work::Idle { scheme: "https", peers: PROXIES },
    },
];

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Measures it.
    pub fn run(&self, bench: &Bench) -> Result<Vec<Metric>> {
        match &self.work {
            Work::Rate(rate) => rate::run(bench, self.name, rate),
            Work::Streams => streams::run(bench, self.name),
            Work::Latency => latency::run(bench, self.name),
            Work::FullHandshakes => handshake::full(bench, self.name),
            Work::ResumedHandshakes => handshake::resumed(bench, self.name),
            Work::Routes => routes::run(bench, self.name),
            Work::Reconfigure => reconfigure::run(bench, self.name),
            Work::ColdStart => cold_start::run(bench, self.name),
            Work::Added(added) => added::run(bench, self.name, *added),
            Work::Handoff => handoff::run(bench, self.name),
            Work::Packet => packet::run(bench, self.name),
            Work::FlowMemory => flow_memory::run(bench, self.name),
            Work::WebSocket => websocket::run(bench, self.name),
            Work::ApiPropagation => api_propagation::run(bench, self.name),
            Work::RollingRestart => rolling_restart::run(bench, self.name),
            Work::ApiColdStart => api_cold_start::run(bench, self.name),
            Work::Idle { scheme, peers } => idle::run(bench, self.name, scheme, peers),
        }
    }
}
