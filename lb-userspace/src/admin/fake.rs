//! For tests of administration: an agent that has one fault, and carries one connection in the kernel or none.

use super::{Inspect, ListenerView, Readiness, SpliceStatus, Spliced, Status, SteeringStatus, Which};
use crate::config::{SpliceMode, SteeringMode};
use crate::publish::Published;
use crate::telemetry::handoffs::Step;
use crate::telemetry::{Counters, Feeds, Handoffs, ReportView, SourceView, Written};
use lb_core::Problem;
use lb_core::handoff::Carried;
use lb_core::handoff::FlowView;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::Severity;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The agent.
pub struct Fake {
    /// One set for each worker.
    pub counters: Vec<Arc<Counters>>,
    /// Whether the kernel carries connections.
    pub carries: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self { counters: vec![Arc::default()], carries: true }
    }
}

impl Inspect for Fake {
    fn published(&self) -> Arc<Published> {
        Arc::default()
    }

    fn problems(&self) -> Arc<Vec<Problem>> {
        let object = ObjectRef::new(Kind::Ingress, "n", "i");
        let (field, message, remedy) = (String::new(), String::new(), String::new());
        let (severity, reason, place) = (Severity::Fault, "Sample", None);
        Arc::new(vec![Problem { severity, object, field, reason, message, remedy, place }])
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    fn status(&self) -> Status {
        let steering = SteeringStatus {
            mode: SteeringMode::Off,
            active: false,
            reason: String::new(),
            kernel: serde_json::Value::Null,
        };
        let splicing = SpliceStatus {
            mode: SpliceMode::Auto,
            active: self.carries,
            reason: "for a test".to_owned(),
            kernel: serde_json::Value::Null,
        };
        Status {
            version: "0",
            pid: 1,
            readiness: Readiness::Ready,
            started: String::new(),
            uptime_s: 0,
            snapshot: 7,
            snapshot_time: None,
            source: String::new(),
            contact: None,
            reports: None,
            objects: 0,
            hosts: 0,
            routes: 0,
            services: 0,
            endpoints: 0,
            certificates: 0,
            faults: 0,
            notes: 0,
            workers: self.counters.len(),
            connections_active: 0,
            requests: 0,
            steering,
            splicing,
            node: serde_json::json!([{"name": "kernel", "state": "ok"}]),
        }
    }

    fn reports(&self) -> Option<ReportView> {
        let writes = vec![Written { subject: "status", outcome: "done", count: 3 }];
        Some(ReportView { leader: true, writes, ..ReportView::default() })
    }

    /// One feed that is not heard of any more.
    fn source(&self) -> Option<SourceView> {
        let (feeds, now) = (Arc::new(Feeds::default()), Instant::now());
        let feed = feeds.open("Service", "Service".to_owned(), now);
        feed.heard(now);
        feed.event();
        feed.failed("broken", Some("for a test".to_owned()));
        Some(feeds.view(now + Duration::from_secs(90)))
    }

    fn listeners(&self) -> Vec<ListenerView> {
        Vec::new()
    }

    fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    fn lookups(&self) -> Vec<(&'static str, u64)> {
        vec![("steered", 3)]
    }

    fn flows(&self) -> Vec<FlowView> {
        let carried = Carried {
            bytes_up: 1_000,
            bytes_down: 2_000,
            packets_up: 5,
            packets_down: 6,
            status: Some(200),
            ending: None,
        };
        let flow = FlowView {
            id: 7,
            client: ([192, 0, 2, 1], 1_025).into(),
            local: ([192, 0, 2, 2], 80).into(),
            source: ([10, 0, 0, 1], 20_000).into(),
            backend: ([10, 0, 0, 2], 8_080).into(),
            service: Some("n/s:80".to_owned()),
            carried,
            age_ms: 4_000,
            idle_ms: 30,
            state: "active",
        };
        if self.carries { vec![flow] } else { Vec::new() }
    }

    /// Has the one with number 7.
    fn reset_flows(&self, which: &Which) -> Option<usize> {
        self.carries.then_some(usize::from(matches!(which, Which::All | Which::Id(7))))
    }

    fn spliced(&self) -> Option<Spliced> {
        let handoffs = Handoffs::default();
        handoffs.time(Step::Begin, || ());
        let handoffs = handoffs.all();
        let spliced =
            Spliced { pairs: 1, bytes_up: 1_000, bytes_down: 2_000, late: 0, packets: vec![("up", 5)], handoffs };
        self.carries.then_some(spliced)
    }

    fn log_lines_dropped(&self) -> u64 {
        0
    }
}
