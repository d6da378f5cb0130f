//! Reporting: what we write into the API. Status of Ingresses, Events, and the Lease that says who writes them.
//!
//! Goes in: every state of the configuration, with its Problems. Comes out: writes, by the leader alone, within a bound.
//! Decisions ([`elector`], [`status`], [`ledger`], [`desk`]) are pure and take the time as an argument; [`lead`] and
//! [`write`](mod@write) do what they say. Never touches what is not ours, and never keeps anybody waiting.

pub mod address;
pub mod bucket;
mod call;
pub mod counters;
pub mod desk;
pub mod elector;
mod lead;
pub mod ledger;
pub mod note;
pub mod outcome;
pub mod status;
mod write;

pub use counters::{Counters, Subject};

use super::store::Store;
use crate::config::{self, NamespacedName};
use crate::epoch::Epoch;
use desk::Desk;
use lb_core::Problem;
use lb_core::model::ObjectRef;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Who wrote a field, in `managedFields`.
pub const FIELD_MANAGER: &str = "sluice";

/// How long other addresses of nodes must last, milliseconds: longer than an agent takes to start.
const SETTLE_MS: u64 = 30_000;

/// How often a leaving agent looks whether it may go, milliseconds.
const LEAVE_MS: u64 = 50;

/// What reporting is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is written.
    pub report: config::Report,
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller_class: String,
    /// Name of the node that we run on.
    pub node: Option<String>,
    /// Times of the Lease.
    pub timing: elector::Timing,
    /// Times of Events.
    pub times: ledger::Times,
    /// How long other addresses of nodes must last, milliseconds.
    pub settle_ms: u64,
}

impl Settings {
    /// With the times of production.
    #[must_use]
    pub fn new(report: config::Report, objects: &config::Objects) -> Self {
        Self {
            report,
            controller_class: objects.controller_class.clone(),
            node: objects.node.clone(),
            timing: elector::Timing::default(),
            times: ledger::Times::default(),
            settle_ms: SETTLE_MS,
        }
    }

    /// Our name in Events and in the Lease.
    fn instance(&self) -> String {
        let name = self.report.pod.clone().or_else(|| self.node.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| "sluice".to_owned())
    }
}

/// A state of the configuration.
#[derive(Debug)]
pub struct State<'a> {
    /// All objects; Ingresses with their `status` and `metadata.resourceVersion`.
    pub store: &'a Store,
    /// The Ingresses that are ours and serve.
    pub served: Vec<Arc<ObjectRef>>,
    /// What their owners should know, Faults first.
    pub problems: &'a [Problem],
    /// Whether the store is whole. While it is not, nothing is concluded from it.
    pub ready: bool,
}

/// Writes into the API. Dropping it stops it at once and gives nothing back; [`Reporter::leave`] does.
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// What the tasks share.
#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    epoch: Epoch,
    /// Until when we lead; 0: not at all.
    leads_until_ms: AtomicU64,
    identity: String,
    instance: String,
    leaves: AtomicBool,
    stops: AtomicBool,
    /// For the writer.
    wake: Notify,
    /// For the elector.
    leave: Notify,
}

impl Reporter {
    /// Starts on the current runtime. The client must not try again by itself (`Config::default_retry` off): every attempt
    /// is decided upon, and counted, here.
    #[must_use]
    pub fn start(client: kube::Client, settings: Settings) -> Self {
        let namespace = settings.report.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let lease = NamespacedName { namespace, name: settings.report.lease.clone() };
        let (instance, timing, epoch) = (settings.instance(), settings.timing, Epoch::default());
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(settings, epoch.elapsed_ms())),
            epoch,
            leads_until_ms: AtomicU64::new(0),
            // After a restart it is somebody else: what it said before is not to be relied on.
            identity: format!("{instance}_{:016x}", fastrand::u64(..)),
            instance,
            leaves: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            wake: Notify::new(),
            leave: Notify::new(),
        });
        let leading = tokio::spawn(lead::run(shared.clone(), client.clone(), lease, timing));
        let writing = tokio::spawn(write::run(shared.clone(), client));
        Self { shared, tasks: [leading, writing] }
    }

    /// See [`Teller::tell`].
    pub fn tell(&self, state: State<'_>) {
        self.teller().tell(state);
    }

    /// Tells states, also while [`Self::leave`] is under way.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller(self.shared.clone())
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.teller().counters()
    }

    /// Ends: the last agent that is ready takes its statuses back, unless they are to be kept; then the Lease is given
    /// back, so that the next agent leads at once. No longer than `time_max`. To be called at the end of draining, while
    /// states are told still: only then is it known who else is there.
    pub async fn leave(mut self, time_max: Duration) {
        let until = Instant::now() + time_max;
        self.clear(until).await;
        self.shared.desk().stop();
        self.shared.stops.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        let [leading, writing] = &mut self.tasks;
        // What is under way is awaited first: nothing of us arrives once somebody else leads.
        let left = until.saturating_duration_since(Instant::now());
        let written = tokio::time::timeout(left, writing).await;
        self.shared.leaves.store(true, Ordering::Release);
        self.shared.leave.notify_one();
        let left = until.saturating_duration_since(Instant::now());
        let released = tokio::time::timeout(left, leading).await;
        if written.is_err() || released.is_err() {
            tracing::warn!("left without giving the Lease back: the API did not answer in time");
        }
    }

    async fn clear(&self, until: Instant) {
        let shared = &self.shared;
        if shared.desk().keeps_status() {
            return;
        }
        let mut clearing = false;
        loop {
            if shared.desk().others_are_ready() {
                return;
            }
            // The last one may not be the leader yet: whoever was left a moment ago.
            if shared.leads() && !clearing {
                clearing = true;
                shared.desk().clear(shared.now_ms());
                shared.wake.notify_one();
            }
            let waiting = shared.desk().statuses_waiting();
            if clearing && waiting == 0 {
                return;
            }
            if Instant::now() + Duration::from_millis(2 * LEAVE_MS) > until {
                tracing::warn!(waiting, "left before all statuses were taken back");
                return;
            }
            tokio::time::sleep(Duration::from_millis(LEAVE_MS)).await;
        }
    }
}

/// Tells a [`Reporter`] the states of the configuration.
#[derive(Debug, Clone)]
pub struct Teller(Arc<Shared>);

impl Teller {
    /// Takes a state: to be called after every translation. Looks at what changed since the last time, and waits for
    /// nothing but another such look.
    pub fn tell(&self, state: State<'_>) {
        let now_ms = self.0.now_ms();
        self.0.desk().tell(state, now_ms);
        self.0.wake.notify_one();
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { leader: self.0.leads(), ..self.0.desk().counters() }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed_ms()
    }

    fn instance(&self) -> &str {
        &self.instance
    }

    fn leads_until_ms(&self) -> Option<u64> {
        Some(self.leads_until_ms.load(Ordering::Acquire)).filter(|until| *until > 0)
    }

    fn leads(&self) -> bool {
        self.leads_until_ms().is_some_and(|until| self.now_ms() < until)
    }

    /// Until when we lead is another now.
    fn leads_until(&self, until_ms: Option<u64>) {
        let before = self.leads_until_ms.swap(until_ms.unwrap_or(0), Ordering::AcqRel);
        match (before > 0, until_ms.is_some()) {
            (false, true) => {
                tracing::info!(identity = %self.identity, "leads: this agent writes status and Events");
                self.count(|counters| counters.elections += 1);
                self.wake.notify_one();
            }
            (true, false) => tracing::info!(identity = %self.identity, "leads no more"),
            _ => {}
        }
    }

    fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }

    fn stops(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    fn count(&self, count: impl FnOnce(&mut Counters)) {
        self.desk().count(count);
    }

    /// Rests until that time, or until somebody knocks.
    async fn rest(&self, until_ms: u64, knock: &Notify) {
        // A day is as good as for ever.
        let rest = Duration::from_millis(until_ms.saturating_sub(self.now_ms()).clamp(1, 86_400_000));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = knock.notified() => {}
        }
    }
}

/// Microseconds since 1970. Written for people to read, never compared.
fn wall_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
