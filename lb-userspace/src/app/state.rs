//! The state of the running agent: takes what translation gives, publishes it, and answers administration.
//!
//! Goes in: translated configuration, changes of readiness. Comes out: [`Inspect`]. Its locks belong to the control
//! path; the request path reads the `Publisher` alone.

use super::splice;
use crate::admin::{Flows, Inspect, ListenerView, Readiness, SpliceStatus, Spliced, Status, SteeringStatus, Which};
use crate::config::{Config, Source};
use crate::control::Translated;
use crate::control::report::{Subject, Teller};
use crate::kernel::Steering;
use crate::proxy::Keys;
use crate::publish::{Published, Publisher};
use crate::telemetry::access_log::rfc3339;
use crate::telemetry::{AccessLog, Counters, Feeds, ReportView, SourceView, Written};
use lb_core::Problem;
use lb_core::handoff::FlowView;
use lb_core::problem::Severity;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

/// What the state is made of.
pub struct Parts {
    pub publisher: Arc<Publisher>,
    pub keys: Arc<Keys>,
    pub counters: Vec<Arc<Counters>>,
    pub access_log: AccessLog,
    /// How a source stands that can be out of reach.
    pub feeds: Option<Arc<Feeds>>,
    /// Set when there is an API to write into.
    pub reports: Arc<OnceLock<Teller>>,
    pub steering: Option<Steering>,
    pub steering_status: SteeringStatus,
    /// Looks after what the kernel carries; `None`: it carries nothing.
    pub splicer: Option<splice::Shared>,
    pub splice_status: SpliceStatus,
    /// What was found of what is needed of this node.
    pub node: serde_json::Value,
}

/// A listening socket with the address that it serves.
pub struct SteeredSocket {
    pub served: SocketAddr,
    pub fd: OwnedFd,
}

pub struct State {
    parts: Shared,
    steering: Mutex<Option<Steering>>,
    configuration: Mutex<Configuration>,
    workers: usize,
    /// A directory, as it is shown; a cluster is known by its feeds.
    directory: String,
    /// Set when they are bound.
    listeners: OnceLock<Vec<ListenerView>>,
    started: (SystemTime, Instant),
}

struct Shared {
    publisher: Arc<Publisher>,
    keys: Arc<Keys>,
    counters: Vec<Arc<Counters>>,
    access_log: AccessLog,
    feeds: Option<Arc<Feeds>>,
    reports: Arc<OnceLock<Teller>>,
    steering_status: SteeringStatus,
    splicer: Option<splice::Shared>,
    splice_status: SpliceStatus,
    node: serde_json::Value,
}

struct Configuration {
    readiness: Readiness,
    problems: Arc<Vec<Problem>>,
    objects: usize,
    changed: Option<SystemTime>,
}

impl State {
    pub fn new(config: &Config, parts: Parts) -> Self {
        let Parts { publisher, keys, counters, access_log, feeds, reports, steering, mut steering_status, .. } = parts;
        let (splicer, splice_status, node) = (parts.splicer, parts.splice_status, parts.node);
        if let Some(steering) = &steering {
            steering_status.kernel = serde_json::to_value(steering.report()).unwrap_or_default();
        }
        Self {
            parts: Shared {
                publisher,
                keys,
                counters,
                access_log,
                feeds,
                reports,
                steering_status,
                splicer,
                splice_status,
                node,
            },
            workers: config.workers.get(),
            steering: Mutex::new(steering),
            configuration: Mutex::new(Configuration {
                readiness: Readiness::Starting,
                problems: Arc::default(),
                objects: 0,
                changed: None,
            }),
            directory: match &config.source {
                Source::Directory(path) => format!("directory {}", path.display()),
                Source::Cluster(_) => String::new(),
            },
            listeners: OnceLock::new(),
            started: (SystemTime::now(), Instant::now()),
        }
    }

    /// As it is now: interfaces come and go, and so does what their drivers can do.
    fn splicing(&self) -> SpliceStatus {
        let mut status = self.parts.splice_status.clone();
        if let Some(splicer) = &self.parts.splicer {
            status.kernel = splicer.report();
        }
        status
    }

    /// Publishes what was translated, and logs the faults that are new.
    pub fn take(&self, read: Translated) {
        self.parts.keys.prepare(&read.snapshot);
        let routes = read.snapshot.routes.len();
        let version = self.parts.publisher.publish(read.snapshot);
        if let Some(splicer) = &self.parts.splicer {
            let published = self.parts.publisher.current();
            splicer.claim(&published);
            splicer.follow(published);
        }
        let faults = read.problems.iter().filter(|p| p.severity == Severity::Fault).count();
        let mut configuration = held(&self.configuration);
        let known: HashSet<&Problem> = configuration.problems.iter().collect();
        for problem in read.problems.iter().filter(|p| !known.contains(p)) {
            match problem.severity {
                Severity::Fault => tracing::warn!("{problem}"),
                Severity::Note => tracing::debug!("{problem}"),
            }
        }
        configuration.problems = Arc::new(read.problems);
        configuration.objects = read.objects;
        configuration.changed = Some(SystemTime::now());
        tracing::info!(version, routes, faults, objects = read.objects, "configuration serves");
    }

    /// How the source stands, when it can be out of reach.
    pub fn feeds(&self) -> Option<Arc<Feeds>> {
        self.parts.feeds.clone()
    }

    /// Where it is told what is written into the API.
    pub fn teller(&self) -> Arc<OnceLock<Teller>> {
        self.parts.reports.clone()
    }

    /// These are bound.
    pub fn listens(&self, listeners: Vec<ListenerView>) {
        // It is called once.
        drop(self.listeners.set(listeners));
    }

    /// Makes the kernel bring connections to these sockets, when it steers.
    pub fn steer(&self, sockets: &[SteeredSocket]) -> anyhow::Result<()> {
        let Some(steering) = &mut *held(&self.steering) else { return Ok(()) };
        let listeners: Vec<_> = sockets.iter().map(|s| (s.served, s.fd.as_fd())).collect();
        let summary = steering.steer(&listeners)?;
        tracing::info!(?summary, "the kernel knows the listeners");
        Ok(())
    }

    /// Stops new connections from coming through the kernel.
    pub fn withdraw(&self) {
        if let Some(steering) = &mut *held(&self.steering)
            && let Err(error) = steering.withdraw()
        {
            tracing::error!(%error, "listeners could not be withdrawn from the kernel");
        }
    }

    pub fn ready(&self) {
        held(&self.configuration).readiness = Readiness::Ready;
        tracing::info!("ready");
    }

    pub fn draining(&self) {
        held(&self.configuration).readiness = Readiness::Draining;
    }
}

impl State {
    /// Connections that the kernel carries.
    fn carried(&self) -> u64 {
        self.parts.splicer.as_ref().map_or(0, |splicer| splicer.count().load(Relaxed) as u64)
    }
}

impl Inspect for State {
    fn published(&self) -> Arc<Published> {
        self.parts.publisher.current()
    }

    fn problems(&self) -> Arc<Vec<Problem>> {
        held(&self.configuration).problems.clone()
    }

    fn readiness(&self) -> Readiness {
        held(&self.configuration).readiness
    }

    fn status(&self) -> Status {
        let (published, contact) = (self.published(), self.source());
        let snapshot = &published.snapshot;
        let configuration = held(&self.configuration);
        let faults = configuration.problems.iter().filter(|p| p.severity == Severity::Fault).count();
        let hosts: HashSet<_> = snapshot.routes.iter().map(|(_, route)| &route.host).collect();
        let sum = |field: fn(&Counters) -> u64| self.parts.counters.iter().map(|c| field(c)).sum();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            readiness: configuration.readiness,
            started: rfc3339(self.started.0),
            uptime_s: self.started.1.elapsed().as_secs(),
            snapshot: snapshot.version,
            snapshot_time: configuration.changed.map(rfc3339),
            source: match &contact {
                Some(contact) => format!("cluster {}", contact.address),
                None => self.directory.clone(),
            },
            contact,
            reports: self.reports(),
            objects: configuration.objects,
            hosts: hosts.len(),
            routes: snapshot.routes.len(),
            services: snapshot.services.len(),
            endpoints: snapshot.services.iter().map(|s| s.endpoints.len()).sum(),
            certificates: snapshot.certificates.entries().len(),
            faults,
            notes: configuration.problems.len() - faults,
            workers: self.workers,
            connections_active: sum(|c| c.connections_active.get()) + self.carried(),
            requests: sum(|c| c.requests.get()),
            steering: self.parts.steering_status.clone(),
            splicing: self.splicing(),
            node: self.parts.node.clone(),
        }
    }

    fn source(&self) -> Option<SourceView> {
        Some(self.parts.feeds.as_ref()?.view(Instant::now()))
    }

    fn reports(&self) -> Option<ReportView> {
        let counters = self.parts.reports.get()?.counters();
        let writes = counters.writes.iter();
        let written = |((subject, outcome), count): (&(Subject, &'static str), &u64)| Written {
            subject: subject.name(),
            outcome,
            count: *count,
        };
        Some(ReportView {
            leader: counters.leader,
            elections: counters.elections,
            writes: writes.map(written).collect(),
            statuses_waiting: counters.statuses_waiting,
            events_waiting: counters.events_waiting,
            events_held_back: counters.events_held_back,
            events_deferred: counters.events_deferred,
            throttled: counters.throttled,
        })
    }

    fn listeners(&self) -> Vec<ListenerView> {
        self.listeners.get().cloned().unwrap_or_default()
    }

    fn counters(&self) -> &[Arc<Counters>] {
        &self.parts.counters
    }

    fn lookups(&self) -> Vec<(&'static str, u64)> {
        let steering = held(&self.steering);
        let counted = steering.as_ref().map(Steering::counters).transpose();
        counted
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the kernel's counters cannot be read");
                None
            })
            .unwrap_or_default()
    }

    fn flows(&self) -> Vec<FlowView> {
        self.parts.splicer.as_ref().map(|flows| flows.flows()).unwrap_or_default()
    }

    fn reset_flows(&self, which: &Which) -> Option<usize> {
        let count = self.parts.splicer.as_ref()?.reset(which);
        tracing::info!(?which, count, "connections that the kernel carried were reset");
        Some(count)
    }

    fn spliced(&self) -> Option<Spliced> {
        self.parts.splicer.as_ref().map(|flows| flows.spliced())
    }

    fn log_lines_dropped(&self) -> u64 {
        self.parts.access_log.dropped()
    }
}

/// A lock whose holder cannot leave it half changed: what a panicking thread left is still whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
