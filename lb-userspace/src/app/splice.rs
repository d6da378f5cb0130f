//! The splicer for the rooms that must not know it: what the proxy and administration ask of it, in their words.
//!
//! Goes in: the configuration. Comes out: a [`Splicer`] that both share, and what became of it. Does not decide anything.

use crate::admin::{Flows, SpliceStatus, Spliced, Which};
use crate::config::{Config, SpliceInterfaces, SpliceMode, Xdp};
use crate::kernel::{
    self, CarrierSetup, Interfaces, Selector, Splicer, SplicerSetup, Unavailable, Unclaimed, canonical,
};
use crate::proxy::{Account, Pending, Splice};
use crate::publish::Published;
use crate::telemetry::Handoffs;
use crate::telemetry::handoffs::Step;
use anyhow::Context;
use lb_core::balance::ServiceState;
use lb_core::handoff::{Answer, Apart, Decision, FlowView, service_number};
use lb_core::model::Service;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task;
use std::time::Duration;

/// The splicer, shared.
#[derive(Debug, Clone)]
pub struct Shared {
    splicer: Arc<Splicer>,
    handoffs: Arc<Handoffs>,
}

/// A pending hand-off whose last step is timed.
#[derive(Debug)]
struct Timed {
    pending: kernel::Pending,
    handoffs: Arc<Handoffs>,
}

/// Opens it as far as it is wanted and possible, and says once what became of it.
pub fn open(config: &Config) -> anyhow::Result<(Option<Shared>, SpliceStatus)> {
    let mode = config.splice.mode;
    let status = |active, reason: String, kernel| SpliceStatus { mode, active, reason, kernel };
    let nothing = serde_json::Value::Null;
    if mode == SpliceMode::Off {
        let reason = "switched off by --splice=off: userspace carries all connections".to_owned();
        return Ok((None, status(false, reason, nothing)));
    }
    match Splicer::open(&setup(config)) {
        Ok(splicer) => {
            let pairs = splicer.flows().len();
            tracing::info!(pairs, "the kernel carries connections that need no more routing");
            let reason = "the kernel carries connections that need no more routing".to_owned();
            let shared = Shared { splicer: Arc::new(splicer), handoffs: Arc::default() };
            Ok((Some(shared), status(true, reason, nothing)))
        }
        Err(locked @ Unavailable::Locked { .. }) => Err(locked).context("cannot start beside another agent"),
        Err(unavailable) if mode == SpliceMode::Required => {
            Err(unavailable).context("--splice=required, and the kernel cannot carry connections")
        }
        Err(unavailable) => {
            tracing::warn!("NOT SPLICING: {unavailable}. Userspace carries all connections.");
            Ok((None, status(false, unavailable.to_string(), nothing)))
        }
    }
}

fn setup(config: &Config) -> SplicerSetup {
    let splice = &config.splice;
    let interfaces = match &splice.interfaces {
        SpliceInterfaces::Auto { except } => Interfaces::Auto { except: except.clone() },
        SpliceInterfaces::Named(names) => Interfaces::Named(names.clone()),
    };
    let carrier =
        CarrierSetup { interfaces, xdp: splice.xdp == Xdp::Native, ..CarrierSetup::new(config.pin_dir.clone()) };
    SplicerSetup {
        ports: splice.ports.clone(),
        idle: Duration::from_millis(splice.idle_ms_max),
        drain: Duration::from_millis(splice.drain_ms_max),
        ..SplicerSetup::new(carrier)
    }
}

impl Shared {
    /// What is in the kernel on our behalf.
    pub fn report(&self) -> serde_json::Value {
        serde_json::to_value(self.splicer.report()).unwrap_or_default()
    }

    /// Pairs to endpoints that are none of a Snapshot's are reset after a time.
    pub fn follow(&self, published: Arc<Published>) {
        self.splicer.endpoints(move |used| {
            let endpoints = published.snapshot.services.iter().flat_map(|service| &service.endpoints);
            let addresses = endpoints.map(|endpoint| canonical(endpoint.address));
            addresses.filter(|address| used.contains(address)).collect()
        });
    }

    /// Gives pairs of an earlier agent their place at their endpoint: at the service that they had, or where there is none of
    /// that name any more, at one that has their endpoint. A pair without any waits for the next Snapshot, or for its end.
    pub fn claim(&self, published: &Published) {
        let unclaimed = self.splicer.unclaimed();
        if unclaimed.is_empty() {
            return;
        }
        let mut by_backend: HashMap<SocketAddr, Vec<&Unclaimed>> = HashMap::new();
        for pair in &unclaimed {
            by_backend.entry(pair.backend).or_default().push(pair);
        }
        // By record: whether the name is the same, and where.
        let mut found: HashMap<u32, (bool, &Unclaimed, &Service, &ServiceState, usize)> = HashMap::new();
        for (service, state) in published.services() {
            for (index, endpoint) in service.endpoints.iter().enumerate() {
                let address = canonical(endpoint.address);
                for pair in by_backend.get(&address).into_iter().flatten() {
                    let is_same = service_number(&service.key.to_string()) == pair.service;
                    if is_same || !found.contains_key(&pair.id) {
                        found.insert(pair.id, (is_same, pair, service, state, index));
                    }
                }
            }
        }
        for (_, pair, service, state, index) in found.into_values() {
            let place = state.occupy(index);
            // Its line of the access log went with its agent.
            self.splicer.claim(pair, service.key.to_string(), Box::new(move |_| drop(place)));
        }
    }

    /// How many connections the kernel carries, now and from now on.
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.splicer.count()
    }
}

impl Splice for Shared {
    fn socket(&self, client: BorrowedFd<'_>, endpoint: SocketAddr) -> Result<TcpStream, Apart> {
        self.handoffs.time(Step::Socket, || self.splicer.socket(client, endpoint))
    }

    fn begin(
        &self,
        client: BorrowedFd<'_>,
        backend: BorrowedFd<'_>,
        request_bytes: u32,
        answer: Answer,
    ) -> Result<Box<dyn Pending>, Apart> {
        let begin = || self.splicer.begin(client, backend, request_bytes, answer);
        let pending = self.handoffs.time(Step::Begin, begin)?;
        Ok(Box::new(Timed { pending, handoffs: self.handoffs.clone() }))
    }
}

impl Pending for Timed {
    fn poll_decision(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Decision> {
        self.pending.poll_decision(cx)
    }

    fn withdraw(&mut self) -> Decision {
        self.pending.withdraw()
    }

    fn surrender(self: Box<Self>, client: OwnedFd, backend: OwnedFd, account: Box<dyn Account>) {
        let service = account.service().to_owned();
        let close = Box::new(move |carried| account.close(carried));
        let Self { pending, handoffs } = *self;
        handoffs.time(Step::Surrender, || pending.surrender(client, backend, service, close));
    }
}

impl Flows for Shared {
    fn flows(&self) -> Vec<FlowView> {
        self.splicer.flows()
    }

    fn reset(&self, which: &Which) -> usize {
        self.splicer.reset(match which {
            Which::All => Selector::All,
            Which::Id(id) => Selector::Id(*id),
            Which::Client(ip) => Selector::Client(*ip),
            Which::Backend(address) => Selector::Backend(*address),
        })
    }

    fn spliced(&self) -> Spliced {
        let splicing = self.splicer.splicing();
        Spliced {
            pairs: splicing.pairs as u64,
            bytes_up: splicing.carried.bytes_up,
            bytes_down: splicing.carried.bytes_down,
            late: splicing.late,
            packets: self.splicer.counters(),
            handoffs: self.handoffs.all(),
        }
    }
}
