//! Writing: does what the desk decides, while we lead.
//!
//! Goes in: a client. Comes out: requests. A status is written by a merge patch of the subresource: `ingress` is an atomic
//! list, so server-side apply would replace it as a whole too, and would besides have to take it by force from whoever
//! wrote it before us; a merge patch carries the `resourceVersion` that it was decided upon instead, so that nobody's newer
//! status is written over. Who wrote it is in `managedFields` either way, by [`FIELD_MANAGER`].

use super::address::Address;
use super::call::{Refusal, call};
use super::desk::{Next, Write};
use super::ledger::{Deed, EventWrite};
use super::note;
use super::outcome::Outcome;
use super::status::StatusWrite;
use super::{FIELD_MANAGER, Shared, wall_us};
use crate::control::object::DEFAULT_NAMESPACE;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::{Request, request};
use kube::{Client, Resource};
use lb_core::model::{Kind, ObjectRef};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A request has an answer by then.
const ANSWER_MS_MAX: u64 = 10_000;

/// `reportingController` of our Events.
pub const CONTROLLER: &str = "sluice.dev/ingress";

/// `action` of our Events: what we did when we found what they say.
const ACTION: &str = "Translate";

/// Longest `reportingInstance`, bytes.
const INSTANCE_BYTES_MAX: usize = 128;

/// Writes until told to stop.
pub async fn run(shared: Arc<Shared>, client: Client) {
    while !shared.stops() {
        let now_ms = shared.now_ms();
        let Some(until_ms) = shared.leads_until_ms().filter(|until| *until > now_ms) else {
            shared.rest(u64::MAX, &shared.wake).await;
            continue;
        };
        let next = shared.desk().next(now_ms);
        match next {
            Next::Wait(at) => shared.rest(at.unwrap_or(u64::MAX), &shared.wake).await,
            Next::Write(write) => {
                let time_max = Duration::from_millis((until_ms - now_ms).min(ANSWER_MS_MAX));
                let outcome = match send(&client, &write, shared.instance(), time_max).await {
                    Ok(written) => done(&written),
                    Err(refusal) if refusal.code == 0 && !shared.leads() => Outcome::Cut,
                    Err(refusal) => {
                        tracing::debug!(%refusal, ?write, "the API did not take a write");
                        Outcome::of(&refusal)
                    }
                };
                shared.desk().done(&write, &outcome, shared.now_ms());
            }
        }
    }
}

async fn send(client: &Client, write: &Write, instance: &str, time_max: Duration) -> Result<Value, Refusal> {
    match write {
        Write::Status(write) => call(client, built(status(write))?, time_max).await,
        Write::Event(write) => {
            let request = match write.deed {
                Deed::Create => create(write, instance),
                Deed::Count(count) => series(write, count),
                Deed::Adopt => {
                    let name = event_name(write);
                    let request = events(&write.object).get(&name, &GetParams::default());
                    let found: Value = call(client, built(request)?, time_max).await?;
                    series(write, done_count(&found).saturating_add(1))
                }
            };
            call(client, built(request)?, time_max).await
        }
    }
}

fn built(request: Result<http::Request<Vec<u8>>, request::Error>) -> Result<http::Request<Vec<u8>>, Refusal> {
    // Of no use to try again: nothing will have changed.
    request.map_err(|error| Refusal { code: 400, message: error.to_string(), ..Refusal::default() })
}

fn done(written: &Value) -> Outcome {
    let version = written["metadata"]["resourceVersion"].as_str().unwrap_or_default().into();
    Outcome::Done { version, count: done_count(written) }
}

fn done_count(event: &Value) -> i32 {
    event["series"]["count"].as_i64().and_then(|count| i32::try_from(count).ok()).unwrap_or(1)
}

fn status(write: &StatusWrite) -> Result<http::Request<Vec<u8>>, request::Error> {
    let entries: Vec<Value> = write.addresses.iter().map(Address::entry).collect();
    let entries = if entries.is_empty() { Value::Null } else { entries.into() };
    let mut patch = json!({ "status": { "loadBalancer": { "ingress": entries } } });
    if let Some(version) = &write.version {
        patch["metadata"] = json!({ "resourceVersion": version });
    }
    let ingresses = Request::new(Ingress::url_path(&(), Some(&write.object.namespace)));
    ingresses.patch_subresource("status", &write.object.name, &patch_params(), &Patch::Merge(patch))
}

fn create(write: &EventWrite, instance: &str) -> Result<http::Request<Vec<u8>>, request::Error> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(&event(write, instance)).map_err(request::Error::SerializeBody)?;
    events(&write.object).create(&params, body)
}

fn series(write: &EventWrite, count: i32) -> Result<http::Request<Vec<u8>>, request::Error> {
    let patch = json!({ "series": { "count": count, "lastObservedTime": now() } });
    events(&write.object).patch(&event_name(write), &patch_params(), &Patch::Merge(patch))
}

fn events(object: &ObjectRef) -> Request {
    Request::new(Event::url_path(&(), Some(event_namespace(object))))
}

/// Events of objects without a namespace are in `default` (validation of events.k8s.io/v1).
fn event_namespace(object: &ObjectRef) -> &str {
    if object.namespace.is_empty() { DEFAULT_NAMESPACE } else { &object.namespace }
}

fn event_name(write: &EventWrite) -> String {
    note::name(&write.object, &write.uid, write.reason, &write.note)
}

fn event(write: &EventWrite, instance: &str) -> Event {
    let object = &write.object;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Event {
        metadata: ObjectMeta {
            namespace: text(event_namespace(object)),
            name: Some(event_name(write)),
            ..ObjectMeta::default()
        },
        event_time: now(),
        regarding: Some(ObjectReference {
            api_version: text(api_version(object.kind)),
            kind: Some(object.kind.to_string()),
            namespace: text(&object.namespace),
            name: text(&object.name),
            uid: text(&write.uid),
            ..ObjectReference::default()
        }),
        type_: text(write.type_.name()),
        reason: text(write.reason),
        note: text(&write.note),
        action: text(ACTION),
        reporting_controller: text(CONTROLLER),
        reporting_instance: text(&instance[..instance.floor_char_boundary(INSTANCE_BYTES_MAX)]),
        ..Event::default()
    }
}

fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io/v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        _ => "v1",
    }
}

fn now() -> Option<MicroTime> {
    Timestamp::from_microsecond(wall_us()).ok().map(MicroTime)
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests;
