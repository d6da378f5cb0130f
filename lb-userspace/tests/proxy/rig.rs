//! What the tests share: a running proxy, backends, and a client that reads responses strictly.
//!
//! Does not use the proxy's own parsers: a fault in them must not hide itself.

mod backend;
mod client;
mod memory;

pub use backend::{Backend, Seen};
pub use client::{Client, Response, field, read_body, read_head};
pub use memory::{measures_memory, resident};

use lb_core::Snapshot;
use lb_core::model::{
    Endpoint, HostPattern, Kind, ObjectRef, Origin, PathMatch, Policy, Service, ServiceId, ServiceKey,
};
use lb_core::route::{Builder, RouteTable, plain_route};
use lb_userspace::config::{AccessLogFormat, Limits, Tls};
use lb_userspace::proxy::{self, BindMode, Keys, Protocol, Proxy, Setup, Splicing};
use lb_userspace::publish::Publisher;
use lb_userspace::telemetry::{AccessLog, Counters};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running proxy with one worker, unless said otherwise.
pub struct Rig {
    pub proxy: Option<Proxy>,
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// Of the first worker.
    pub counters: Arc<Counters>,
    /// Of all workers.
    pub workers: Vec<Arc<Counters>>,
    pub publisher: Arc<Publisher>,
    pub keys: Arc<Keys>,
}

/// What faces clients.
pub struct Edge {
    pub limits: Limits,
    pub tls: Tls,
    pub proxy_protocol_from: Vec<ipnet::IpNet>,
    pub workers: usize,
    pub splicing: Option<Splicing>,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: Tls::default(),
            proxy_protocol_from: Vec::new(),
            workers: 1,
            splicing: None,
        }
    }
}

impl Rig {
    /// Everything goes to these endpoints, in turn.
    pub fn start(endpoints: &[SocketAddr]) -> Self {
        Self::with(Limits::default(), snapshot(endpoints))
    }

    pub fn limited(endpoints: &[SocketAddr], limit: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        limit(&mut limits);
        Self::with(limits, snapshot(endpoints))
    }

    pub fn with(limits: Limits, snapshot: Snapshot) -> Self {
        Self::edged(Edge { limits, ..Edge::default() }, snapshot)
    }

    /// With everything that can be set of what faces clients.
    pub fn edged(edge: Edge, snapshot: Snapshot) -> Self {
        let workers = NonZeroUsize::new(edge.workers).expect("a worker");
        let (publisher, keys) = (Arc::new(Publisher::default()), Keys::new().expect("keys"));
        keys.prepare(&snapshot);
        publisher.publish(snapshot);
        let bind = |protocol| {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            proxy::bind(any, protocol, workers, BindMode::Direct).expect("bound")
        };
        let listeners = vec![bind(Protocol::Http), bind(Protocol::Https)];
        let (http, https) = (listeners[0].bound(), listeners[1].bound());
        let counters: Vec<Arc<Counters>> = (0..edge.workers).map(|_| Arc::default()).collect();
        let setup = Setup {
            limits: edge.limits,
            tls: edge.tls,
            proxy_protocol_from: edge.proxy_protocol_from,
            publisher: publisher.clone(),
            keys: keys.clone(),
            listeners,
            counters: counters.clone(),
            access_log: AccessLog::start(AccessLogFormat::Off),
            splicing: edge.splicing,
        };
        let proxy = Some(Proxy::start(setup).expect("started"));
        Self { proxy, http, https, counters: counters[0].clone(), workers: counters, publisher, keys }
    }

    /// A connection to the plain listener.
    pub fn connect(&self) -> Client<TcpStream> {
        Client::new(dial(self.http))
    }

    /// Sends a request on a connection of its own and reads the response.
    pub fn ask(&self, request: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(request);
        client.response()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            let _ = proxy.drain(Duration::ZERO);
        }
    }
}

pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

pub fn origin() -> Origin {
    Origin { ingress: Arc::new(ObjectRef::new(Kind::Ingress, "n", "i")), rule: Some(0), path: Some(0) }
}

pub fn service(endpoints: &[SocketAddr]) -> Arc<Service> {
    let endpoint =
        |address: &SocketAddr| Endpoint { address: *address, pod: None, node: None, zone: None, terminating: false };
    let key = ServiceKey { namespace: "n".into(), name: "s".into(), port: "80".into() };
    Arc::new(Service { key, endpoints: endpoints.iter().map(endpoint).collect(), note: String::new() })
}

/// A table whose only route is `/` of every host, to service 0, after `change`.
pub fn routes(change: impl FnOnce(&mut lb_core::model::Route)) -> RouteTable {
    let mut builder = Builder::default();
    let target = lb_core::model::route::Target::Service(ServiceId(0));
    let mut route = plain_route(HostPattern::Any, PathMatch::prefix("/").expect("path"), origin(), target);
    // Large bodies are what many tests are about.
    route.policy = Policy { body_bytes_max: None, ..Policy::default() }.into();
    change(&mut route);
    builder.rule(route).expect("first");
    builder.build()
}

pub fn snapshot(endpoints: &[SocketAddr]) -> Snapshot {
    Snapshot { routes: routes(|_| {}), services: vec![service(endpoints)], ..Snapshot::default() }
}

/// A response with a length.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

/// In chunks of `size` bytes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Bytes that no shift or swap leaves equal.
pub fn noise(size: usize) -> Vec<u8> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

/// Waits until something is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
