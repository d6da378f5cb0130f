//! What administration asks of the rest of the agent: the trait [`Inspect`] and the values it gives.

use super::flows::{Spliced, Which};
use crate::publish::Published;
use crate::telemetry::{Counters, ReportView, SourceView};
use lb_core::Problem;
use lb_core::handoff::FlowView;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;

/// The agent, as administration sees it. Implemented in `app`.
pub trait Inspect: Send + Sync + 'static {
    /// What serves now.
    fn published(&self) -> Arc<Published>;
    /// Every fault and note of the configuration that was translated last.
    fn problems(&self) -> Arc<Vec<Problem>>;
    /// Whether traffic should come.
    fn readiness(&self) -> Readiness;
    /// The state of the agent.
    fn status(&self) -> Status;
    /// How the source stands; `None`: it is always in reach.
    fn source(&self) -> Option<SourceView>;
    /// What was written into the API of a cluster; `None`: there is none, or it was not reached yet.
    fn reports(&self) -> Option<ReportView>;
    /// Where it listens.
    fn listeners(&self) -> Vec<ListenerView>;
    /// Counters, one set for each worker.
    fn counters(&self) -> &[Arc<Counters>];
    /// Counters of the kernel programs, by outcome; empty when nothing is steered.
    fn lookups(&self) -> Vec<(&'static str, u64)>;
    /// Pairs of connections that the kernel carries.
    fn flows(&self) -> Vec<FlowView>;
    /// Resets both ends of pairs, and answers how many; `None`: the kernel carries none, [`Status::splicing`] says why.
    fn reset_flows(&self, which: &Which) -> Option<usize>;
    /// What pairs that the kernel carries have come to; `None`: it carries none.
    fn spliced(&self) -> Option<Spliced>;
    /// Access-log lines that were dropped.
    fn log_lines_dropped(&self) -> u64;
}

/// Whether traffic should come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// No whole Snapshot serves yet.
    Starting,
    /// A whole Snapshot serves.
    Ready,
    /// SIGTERM came; requests in flight finish.
    Draining,
}

/// The state of the agent.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation; docs/operate.md shows them")]
pub struct Status {
    pub version: &'static str,
    pub pid: u32,
    pub readiness: Readiness,
    /// RFC 3339.
    pub started: String,
    pub uptime_s: u64,
    /// Grows with each configuration that is published.
    pub snapshot: u64,
    /// RFC 3339; when the configuration last changed.
    pub snapshot_time: Option<String>,
    pub source: String,
    /// How it stands; absent for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<SourceView>,
    /// What was written there; absent for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportView>,
    pub objects: usize,
    pub hosts: usize,
    pub routes: usize,
    pub services: usize,
    pub endpoints: usize,
    pub certificates: usize,
    pub faults: usize,
    pub notes: usize,
    pub workers: usize,
    pub connections_active: u64,
    pub requests: u64,
    pub steering: SteeringStatus,
    pub splicing: SpliceStatus,
    /// What was found at the start of what is needed of this node: a list of checks with state and remedy.
    pub node: serde_json::Value,
}

/// Whether the kernel carries connections that need no more routing.
#[derive(Debug, Clone, Serialize)]
pub struct SpliceStatus {
    /// `auto`, `off` or `required`.
    pub mode: crate::config::SpliceMode,
    /// Whether it can.
    pub active: bool,
    /// Why it cannot, or how it does.
    pub reason: String,
    /// What the kernel room reports: interfaces, programs, maps, pins.
    pub kernel: serde_json::Value,
}

/// Whether the kernel brings connections to the listeners.
#[derive(Debug, Clone, Serialize)]
pub struct SteeringStatus {
    /// `auto`, `off` or `required`.
    pub mode: crate::config::SteeringMode,
    /// Whether `sk_lookup` is at work.
    pub active: bool,
    /// Why it is not, or how it is.
    pub reason: String,
    /// What the kernel room reports: programs, links, maps, pins.
    pub kernel: serde_json::Value,
}

/// One address that is served.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerView {
    /// Address that clients use.
    pub served: SocketAddr,
    /// Address that the sockets are bound to.
    pub bound: SocketAddr,
    /// `http` or `https`.
    pub protocol: &'static str,
    /// `sk_lookup` or `bind`.
    pub by: &'static str,
    /// Sockets, one for each worker.
    pub sockets: usize,
}
