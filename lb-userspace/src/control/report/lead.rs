//! Leading: asks the API what the [`Elector`] wants to know, and tells the writer until when it may write.
//!
//! Goes in: a client, the name of the Lease (coordination.k8s.io/v1). Comes out: a time in the shared state. Decides
//! nothing.

use super::call::{Refusal, call};
use super::counters::Subject;
use super::elector::{Answer, Ask, Elector, Record, Step, Timing};
use super::outcome::Outcome;
use super::{Shared, wall_us};
use crate::config::NamespacedName;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use std::sync::Arc;
use std::time::Duration;

/// A request for the Lease, with the name that it is for.
struct Door<'a> {
    client: &'a Client,
    lease: &'a NamespacedName,
    time_max: Duration,
}

/// Stands for election until it left.
pub async fn run(shared: Arc<Shared>, client: Client, lease: NamespacedName, timing: Timing) {
    let mut elector = Elector::new(shared.identity.as_str(), timing);
    let door = Door { client: &client, lease: &lease, time_max: Duration::from_millis(timing.renew_ms / 2) };
    let mut failing = false;
    loop {
        if shared.leaves() {
            elector.leave(shared.now_ms());
        }
        match elector.next(shared.now_ms(), fastrand::f64(), wall_us()) {
            Step::Over => break,
            Step::Wait(until_ms) => {
                shared.leads_until(elector.leads_until_ms());
                shared.rest(until_ms, &shared.leave).await;
            }
            Step::Ask(ask) => {
                shared.leads_until(elector.leads_until_ms());
                let (answer, refusal) = door.ask(&ask).await;
                if !matches!(ask, Ask::Read { .. }) {
                    let outcome =
                        refusal.as_ref().map_or(Outcome::Done { version: Box::default(), count: 1 }, Outcome::of);
                    shared.count(|counters| counters.wrote(Subject::Lease, &outcome));
                }
                failing = said(failing, &answer, refusal.as_ref(), &lease);
                elector.take(shared.now_ms(), answer);
                shared.leads_until(elector.leads_until_ms());
            }
        }
    }
    shared.leads_until(None);
}

/// Says once that the Lease cannot be had, and once that it can again.
fn said(failing: bool, answer: &Answer, refusal: Option<&Refusal>, lease: &NamespacedName) -> bool {
    match (failing, answer, refusal) {
        (false, Answer::Failed, Some(refusal)) => {
            tracing::warn!(%lease, %refusal, "cannot read or write the Lease that says who writes to the API");
            true
        }
        (true, Answer::Lease(..) | Answer::Missing | Answer::Conflict, _) => {
            tracing::info!(%lease, "the Lease can be read and written again");
            false
        }
        _ => failing,
    }
}

impl Door<'_> {
    async fn ask(&self, ask: &Ask) -> (Answer, Option<Refusal>) {
        let request = match self.request(ask) {
            Ok(request) => request,
            Err(message) => return (Answer::Failed, Some(Refusal { message, ..Refusal::default() })),
        };
        match call::<Lease>(self.client, request, self.time_max).await {
            Ok(lease) => match lease.metadata.resource_version.clone() {
                Some(version) => (Answer::Lease(record(lease.spec.unwrap_or_default()), version), None),
                None => (Answer::Failed, None),
            },
            Err(refusal) => {
                let answer = match (Outcome::of(&refusal), ask) {
                    (Outcome::Exists | Outcome::Conflict, _) => Answer::Conflict,
                    // A namespace that is missing, too: a Lease cannot be made there.
                    (Outcome::Gone, Ask::Create(_)) => Answer::Failed,
                    (Outcome::Gone, _) => Answer::Missing,
                    _ => Answer::Failed,
                };
                (answer, Some(refusal))
            }
        }
    }

    fn request(&self, ask: &Ask) -> Result<http::Request<Vec<u8>>, String> {
        let request = Request::new(Lease::url_path(&(), Some(&self.lease.namespace)));
        let post = PostParams { field_manager: Some(super::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = match ask {
            Ask::Read { newest: true } => request.get(&self.lease.name, &GetParams::default()),
            // From the API server's memory: there is one such question of every agent every three seconds.
            Ask::Read { newest: false } => request.get(&self.lease.name, &GetParams::any()),
            Ask::Create(record) => {
                let body = serde_json::to_vec(&self.object(record, None)).map_err(|e| e.to_string())?;
                request.create(&post, body)
            }
            // A merge of the version that was read: labels that somebody gave the Lease stay.
            Ask::Replace { record, version } => {
                let patch = Patch::Merge(self.object(record, Some(version.as_str())));
                let params = PatchParams { field_manager: post.field_manager.clone(), ..PatchParams::default() };
                request.patch(&self.lease.name, &params, &patch)
            }
        };
        request.map_err(|e| e.to_string())
    }

    fn object(&self, record: &Record, version: Option<&str>) -> Lease {
        let time = |us: i64| Timestamp::from_microsecond(us).ok().map(MicroTime);
        Lease {
            metadata: ObjectMeta {
                namespace: Some(self.lease.namespace.clone()),
                name: Some(self.lease.name.clone()),
                resource_version: version.map(str::to_owned),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: i32::try_from(record.lease_ms.div_ceil(1_000)).ok(),
                acquire_time: time(record.acquired_us),
                renew_time: time(wall_us()),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(spec: LeaseSpec) -> Record {
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        lease_ms: seconds.saturating_mul(1_000),
        acquired_us: spec.acquire_time.map_or(0, |time| time.0.as_microsecond()),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
