//! Configuration as valid types: made once, before a socket is opened. Every limit has a name, a unit and a default.
//!
//! Goes in: what [`crate::cli`] read. Comes out: a [`Config`] that later code need not doubt.

mod admission;
mod report;

pub use admission::{Admission, REVIEW_BYTES_MAX};
pub use report::{NamespacedName, Report};

use ipnet::IpNet;
use lb_core::balance::Circuit;
use lb_core::model::Policy;
use serde::Serialize;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Everything `sluice run` was told.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// Where objects come from.
    pub source: Source,
    /// Where plain HTTP is served.
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub https: Vec<SocketAddr>,
    /// Whether `sk_lookup` brings connections to our listeners.
    pub steering: SteeringMode,
    /// Worker threads, one runtime each.
    pub workers: NonZeroUsize,
    /// Directory under a bpffs for pinned maps and links.
    pub pin_dir: PathBuf,
    /// Directory for the control socket and the lock.
    pub run_dir: PathBuf,
    /// Where `/healthz`, `/readyz`, `/metrics` and the dashboard are served.
    pub admin: SocketAddr,
    /// Form of the access log, written to standard output.
    pub access_log: AccessLogFormat,
    /// How long everything goes on after SIGTERM, but for readiness, milliseconds: the time that others take to notice.
    pub shutdown_delay_ms: u64,
    /// How long in-flight requests may take after that, milliseconds.
    pub drain_ms_max: u64,
    /// How objects are read.
    pub objects: Objects,
    /// Bounds of the request path.
    pub limits: Limits,
    /// TLS that ends here.
    pub tls: Tls,
    /// Peers whose connections begin with a PROXY protocol header (v1 or v2), and whom it is believed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Connections that the kernel carries.
    pub splice: Splice,
    /// What is written into the API of a cluster.
    pub report: Report,
    /// The validating webhook; `None`: there is none.
    pub admission: Option<Admission>,
}

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A directory of YAML manifests.
    Directory(PathBuf),
    /// The API of a Kubernetes cluster.
    Cluster(Cluster),
}

/// The API of a Kubernetes cluster, and what of it is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// How to get there; `None`: the service account of the Pod.
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// A label selector for namespaces.
    pub namespace_selector: Option<String>,
}

/// Connections that the kernel carries once they need no more routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Splice {
    /// Whether it is wanted.
    pub mode: SpliceMode,
    /// Interfaces that clients and endpoints are reached by.
    pub interfaces: SpliceInterfaces,
    /// Source ports towards endpoints, for this alone.
    pub ports: RangeInclusive<u16>,
    /// A connection that nothing passes by is reset after this time, milliseconds.
    pub idle_ms_max: u64,
    /// A connection whose endpoint takes no more requests is reset after this time, milliseconds.
    pub drain_ms_max: u64,
    /// Upgraded connections too.
    pub upgrades: bool,
    /// Largest segment that clients are asked to send, bytes; `None`: what their interface takes.
    pub mss: Option<u16>,
    /// In the network driver.
    pub xdp: Xdp,
}

/// Whether the kernel carries connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SpliceMode {
    /// When the kernel and our privileges allow it, else userspace does, and says so once.
    Auto,
    /// Never.
    Off,
    /// Or do not start.
    Required,
}

/// Interfaces, by name. A name that ends with `*` stands for all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpliceInterfaces {
    /// Every Ethernet interface but these.
    Auto {
        /// Names.
        except: Vec<String>,
    },
    /// These.
    Named(Vec<String>),
}

/// Whether packets are translated in the network driver (XDP) already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// No: in tc.
    Off,
    /// In drivers that can redirect frames; in tc elsewhere.
    Native,
}

impl Default for Splice {
    fn default() -> Self {
        Self {
            mode: SpliceMode::Auto,
            interfaces: SpliceInterfaces::Auto { except: Vec::new() },
            ports: 20_000..=29_999,
            idle_ms_max: 3_600_000,
            drain_ms_max: 300_000,
            upgrades: true,
            mss: None,
            xdp: Xdp::Off,
        }
    }
}

/// TLS that ends here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Lowest version.
    pub version_min: TlsVersion,
    /// Names of cipher suites (IANA), in order of preference; empty: all that the library holds safe.
    pub ciphers: Vec<String>,
    /// `Strict-Transport-Security` on responses over TLS to hosts with a certificate (RFC 6797); `None`: not sent.
    pub hsts: Option<Hsts>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[value(name = "1.3")]
    Tls13,
}

/// `Strict-Transport-Security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hsts {
    /// `max-age`, seconds.
    pub max_age_s: u64,
    /// `includeSubDomains`.
    pub subdomains: bool,
    /// `preload`.
    pub preload: bool,
}

impl Default for Tls {
    /// TLS 1.2 and the HSTS of ingress-nginx.
    fn default() -> Self {
        let hsts = Hsts { max_age_s: 31_536_000, subdomains: true, preload: false };
        Self { version_min: TlsVersion::Tls12, ciphers: Vec::new(), hsts: Some(hsts) }
    }
}

/// Whether `sk_lookup` brings connections to our listeners, or ordinary binds do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SteeringMode {
    /// Steer when the kernel and our privileges allow it, else bind, and say so once.
    Auto,
    /// Always bind.
    Off,
    /// Steer, or do not start.
    Required,
}

/// Form of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
    /// None.
    Off,
}

/// What paths mean where the Ingress specification and ingress-nginx differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassMode {
    /// What the specification says; expressions are the business of the Ingress that asks for them.
    Spec,
    /// What ingress-nginx does.
    Nginx,
}

/// How objects are read and which of them are ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objects {
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller_class: String,
    /// Names that the annotation `kubernetes.io/ingress.class` may have besides those of our IngressClasses.
    pub ingress_classes: Vec<String>,
    /// Serve Ingresses that name no class.
    pub without_class: bool,
    /// What paths mean, where no IngressClass says it.
    pub class_mode: ClassMode,
    /// What a route has where its annotations do not say otherwise.
    pub defaults: Policy,
    /// Name of the node this agent runs on; chooses endpoints by topology.
    pub node: Option<String>,
    /// Zone of that node; read from its Node object when empty.
    pub zone: Option<String>,
    /// `ExternalName` Services; `None`: they are refused.
    pub external_names: Option<ExternalNames>,
    /// Largest file that is read, bytes. A Kubernetes object is at most 1.5 MB (etcd); a file may hold many.
    pub file_bytes_max: u64,
    /// Most files that are read.
    pub files_max: usize,
    /// Most objects that are kept: 10,000 Ingresses with their Services and slices, several times over.
    pub objects_max: usize,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            controller_class: "sluice.dev/ingress".to_owned(),
            ingress_classes: vec!["sluice".to_owned()],
            without_class: true,
            class_mode: ClassMode::Spec,
            defaults: Policy::default(),
            node: None,
            zone: None,
            external_names: None,
            file_bytes_max: 16 * 1024 * 1024,
            files_max: 20_000,
            objects_max: 200_000,
        }
    }
}

/// What `ExternalName` Services may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExternalNames {
    /// Networks that their names must not lead to, beside those that are never allowed.
    pub deny: Vec<IpNet>,
}

/// Bounds of the request path. Times are milliseconds, sizes bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Limits {
    /// Concurrent client connections of all workers; more are closed at once.
    pub connections_max: usize,
    /// Request head; more is answered 431.
    pub head_bytes_max: usize,
    /// Header fields of a request; more is answered 431.
    pub head_fields_max: usize,
    /// Request target; more is answered 414.
    pub target_bytes_max: usize,
    /// Response head of a backend; more is answered 502.
    pub response_head_bytes_max: usize,
    /// From the first byte of a request head to its last; then 408.
    pub head_ms_max: u64,
    /// Keep-alive connection without a request.
    pub idle_ms_max: u64,
    /// TLS handshake.
    pub handshake_ms_max: u64,
    /// Between two reads of a request body.
    pub body_idle_ms_max: u64,
    /// Between two writes to a client that does not read.
    pub write_idle_ms_max: u64,
    /// Idle upstream connections kept for one endpoint by one worker.
    pub pool_idle_max: usize,
    /// How long an idle upstream connection is kept.
    pub pool_idle_ms_max: u64,
    /// Requests in work on one endpoint, over all workers; more are answered 503. [`Circuit`] has the arithmetic.
    pub endpoint_requests_max: u32,
    /// Requests that wait for a connection to one endpoint, over all workers; more are answered 503.
    pub endpoint_pending_max: u32,
    /// Requests in work on one service, over all workers; more are answered 503.
    pub service_requests_max: u32,
    /// Requests that wait for a connection to any endpoint of one service, over all workers; more are answered 503.
    pub service_pending_max: u32,
    /// Requests on one client connection, then it is closed (memory of long-lived clients is released).
    pub requests_per_connection_max: u64,
    /// Concurrent streams of one HTTP/2 connection. Each may make us hold 140 KB, so 100 of them and the receive window
    /// of the connection stay below 16 MB.
    pub streams_max: u32,
    /// Frames on one HTTP/2 connection that carry no content (SETTINGS, PING, RST_STREAM, PRIORITY, WINDOW_UPDATE beyond
    /// need, empty DATA and HEADERS), in one second; more end it with ENHANCE_YOUR_CALM.
    pub h2_control_frames_per_s_max: u32,
}

impl Limits {
    /// Those of requests on endpoints and services.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        let Self { endpoint_requests_max, endpoint_pending_max, service_requests_max, service_pending_max, .. } = *self;
        Circuit { endpoint_requests_max, endpoint_pending_max, service_requests_max, service_pending_max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let circuit = Circuit::default();
        Self {
            connections_max: 65_536,
            head_bytes_max: 32 * 1024,
            head_fields_max: 100,
            target_bytes_max: 8 * 1024,
            response_head_bytes_max: 64 * 1024,
            head_ms_max: 10_000,
            idle_ms_max: 75_000,
            handshake_ms_max: 10_000,
            body_idle_ms_max: 60_000,
            write_idle_ms_max: 60_000,
            pool_idle_max: 320,
            pool_idle_ms_max: 60_000,
            endpoint_requests_max: circuit.endpoint_requests_max,
            endpoint_pending_max: circuit.endpoint_pending_max,
            service_requests_max: circuit.service_requests_max,
            service_pending_max: circuit.service_pending_max,
            requests_per_connection_max: 1_000_000,
            streams_max: 100,
            h2_control_frames_per_s_max: 1_000,
        }
    }
}
