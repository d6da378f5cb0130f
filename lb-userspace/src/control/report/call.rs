//! One request to the API, with a bound on time and size.
//!
//! Goes in: a request. Comes out: the object of the answer, or a [`Refusal`] with everything that decides about trying
//! again: kube's own error loses `Retry-After`. Never tries again by itself, so that every attempt is counted.

use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kube::{Client, core::Status};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest answer that is read, bytes: an object has at most 1.5 MB (etcd), and managed fields come on top.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest `Retry-After` that is followed, milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 300_000;

/// The API said no, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// Status code; 0: there was no answer.
    pub code: u16,
    /// `reason` of the Status.
    pub reason: String,
    /// `message` of the Status, or what went wrong.
    pub message: String,
    /// The namespace is being deleted.
    pub terminating: bool,
    /// `Retry-After`, milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    fn unanswered(reason: &str, message: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_owned(), message: message.to_string(), ..Self::default() }
    }
}

/// Asks, and waits no longer than `time_max`.
///
/// # Errors
/// [`Refusal`], for every answer but 2xx, and for none.
pub async fn call<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    time_max: Duration,
) -> Result<T, Refusal> {
    match tokio::time::timeout(time_max, exchange(client, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Refusal::unanswered("Timeout", format_args!("no answer within {} ms", time_max.as_millis()))),
    }
}

async fn exchange<T: DeserializeOwned>(client: &Client, request: http::Request<Vec<u8>>) -> Result<T, Refusal> {
    let answer = client.send(request.map(Body::from)).await.map_err(|e| Refusal::unanswered("Unreachable", e))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|e| Refusal::unanswered("Unreadable", e))?.to_bytes();
    if head.status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| Refusal::unanswered("Unreadable", e));
    }
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
    let in_body = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds)).filter(|s| *s > 0);
    let seconds = head.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after_ms = seconds.or(in_body).map(|s: u64| s.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX));
    let message = super::super::message::bounded(status.message);
    Err(Refusal { code: head.status.as_u16(), reason: status.reason, message, terminating, retry_after_ms })
}
