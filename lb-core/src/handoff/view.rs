//! A carried pair, for people and scripts.
//!
//! Owns: the shape of a row of `sluice flows`. Goes in: nothing. Comes out: a type that serialises. Does not do: filling it.

use super::Carried;
use serde::Serialize;
use std::net::SocketAddr;

/// A pair that the kernel carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowView {
    /// Its number, while it lives.
    pub id: u32,
    /// The client.
    pub client: SocketAddr,
    /// Where the client connected to.
    pub local: SocketAddr,
    /// Where the endpoint sees the connection come from.
    pub source: SocketAddr,
    /// The endpoint.
    pub backend: SocketAddr,
    /// Its service, `namespace/name:port`; none for a pair of an earlier agent.
    pub service: Option<String>,
    /// How much was carried so far.
    #[serde(flatten)]
    pub carried: Carried,
    /// Time since the hand-off, milliseconds.
    pub age_ms: u64,
    /// Time since the last packet, milliseconds.
    pub idle_ms: u64,
    /// `active` or `closing`.
    pub state: &'static str,
}
