//! Metrics of connections that the kernel carries.

use super::Encoder;
use crate::admin::flows::Spliced;
use prometheus_client::metrics::MetricType;
use std::fmt;

/// Encodes them; `None`: the kernel carries none.
pub(super) fn encode(out: &mut Encoder<'_, '_>, spliced: Option<Spliced>) -> fmt::Result {
    let active = u64::from(spliced.is_some());
    out.gauge("splice_active", "1 when the kernel can carry connections.", active)?;
    let spliced = spliced.unwrap_or_default();
    out.gauge("flows", "Connections that the kernel carries.", spliced.pairs)?;
    let bytes = [("up", spliced.bytes_up), ("down", spliced.bytes_down)].map(|(way, n)| (way.to_owned(), n));
    let help = "Bytes of payload that the kernel carried from clients (up) and to them (down).";
    out.family(MetricType::Counter, "splice_bytes", help, "direction", bytes)?;
    let help = "Connections reset because a byte came too late to be carried on by userspace: stays 0.";
    out.counter("splice_late", help, spliced.late)?;
    let packets = spliced.packets.into_iter().map(|(outcome, n)| (outcome.to_owned(), n));
    let help = "Packets at the programs that carry connections, by outcome.";
    out.family(MetricType::Counter, "splice_packets", help, "outcome", packets)
}
