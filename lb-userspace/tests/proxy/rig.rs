//! What the tests share: a running proxy, backends, and a client that reads responses strictly.
//!
//! Does not use the proxy's own parsers: a fault in them must not hide itself.

use lb_core::Snapshot;
use lb_core::model::{
    Endpoint, HostPattern, Kind, ObjectRef, Origin, PathMatch, Policy, Service, ServiceId, ServiceKey,
};
use lb_core::route::{Builder, RouteTable, plain_route};
use lb_userspace::config::{AccessLogFormat, Limits, Tls};
use lb_userspace::proxy::{self, BindMode, Keys, Protocol, Proxy, Setup, Splicing};
use lb_userspace::publish::Publisher;
use lb_userspace::telemetry::{AccessLog, Counters};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
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

/// A client that reads what it is sent, by the book.
pub struct Client<S: Read + Write> {
    pub stream: BufReader<S>,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("sent");
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
        self.response()
    }

    pub fn response(&mut self) -> Response {
        self.response_to(false)
    }

    /// Reads one response; `head`: to a HEAD request.
    pub fn response_to(&mut self, head: bool) -> Response {
        let text = read_head(&mut self.stream).expect("a response head");
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let body = if head || status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else {
            read_body(&mut self.stream, &text, true).expect("a whole body")
        };
        Response { status, head: text, body }
    }

    /// Whether the other side closes now, without another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
        }
    }
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().filter_map(|line| line.split_once(':')).filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value.trim());
    assert!(found.next().is_none(), "{name} twice in {head}");
    first
}

/// The head with its empty line; `None` when the stream ends before it.
pub fn read_head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        match stream.read_line(&mut head) {
            Ok(n) if n > 0 => {}
            _ => return None,
        }
        assert!(head.ends_with("\r\n"), "a line without CRLF: {head:?}");
        if head.len() - before == 2 {
            return Some(head);
        }
    }
}

/// The body that the head announces; `None` when it is cut.
pub fn read_body(stream: &mut impl BufRead, head: &str, until_close: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if field(head, "transfer-encoding").is_some() {
        assert_eq!(field(head, "content-length"), None, "both lengths in {head}");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let size = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
            if size == 0 {
                // The trailer section, and the empty line after it.
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
                }
                return Some(body);
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            assert!(chunk.ends_with(b"\r\n"), "chunk without CRLF");
            body.extend_from_slice(&chunk[..size]);
        }
    }
    if let Some(length) = field(head, "content-length") {
        body.resize(length.parse().expect("a number"), 0);
        stream.read_exact(&mut body).ok()?;
    } else if until_close {
        stream.read_to_end(&mut body).ok()?;
    }
    Some(body)
}

/// A request as a backend saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).expect("a target")
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// A backend on threads of its own.
pub struct Backend {
    pub address: SocketAddr,
    /// The requests it has read, in order.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// The connections it has accepted.
    pub connections: Arc<Mutex<usize>>,
}

impl Backend {
    /// Gives each connection to `serve`, with its number from 0.
    pub fn raw(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("address");
        let (connections, serve) = (Arc::new(Mutex::new(0)), Arc::new(serve));
        let count = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = {
                    let mut count = count.lock().expect("lock");
                    *count += 1;
                    *count - 1
                };
                let _ = stream.set_nodelay(true);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream, number));
            }
        });
        Self { address, seen: Arc::default(), connections }
    }

    /// Answers each request with the bytes that `answer` makes of it, and keeps the connection.
    pub fn http(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = seen.clone();
        let backend = Self::raw(move |stream, _| {
            let mut stream = BufReader::new(stream);
            while let Some(head) = read_head(&mut stream) {
                let Some(body) = read_body(&mut stream, &head, false) else { return };
                let request = Seen { head, body };
                let response = answer(&request);
                log.lock().expect("lock").push(request);
                if stream.get_mut().write_all(&response).is_err() {
                    return;
                }
            }
        });
        Self { seen, ..backend }
    }

    /// Answers with the target of the request.
    pub fn echo() -> Self {
        Self::http(|seen| ok(seen.path().as_bytes()))
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("lock")
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }
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

/// Names the process that measures: the memory of other tests must not count.
const MEASURING: &str = "SLUICE_TEST_MEASURES_MEMORY";

/// Runs a test again in a process of its own, with as many descriptors as there may be; `false` in that process.
pub fn measures_memory(test: &str) -> bool {
    if std::env::var_os(MEASURING).is_some() {
        return false;
    }
    // Both ends of each connection are descriptors of that process, and shells allow 1,024.
    let raised = r#"ulimit -n "$(ulimit -Hn)" && exec "$0" "$@""#;
    let this = std::env::current_exe().expect("a test binary");
    let status = std::process::Command::new("sh")
        .args(["-c".as_ref(), raised.as_ref(), this.as_os_str()])
        .args(["--exact", test])
        .env(MEASURING, "1")
        .status();
    assert!(status.expect("it ran").success());
    true
}

/// Memory of this process that is in use, bytes.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4_096
}
