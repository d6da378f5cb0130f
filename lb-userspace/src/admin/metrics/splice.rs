//! Metrics of connections that the kernel carries.

use super::Encoder;
use crate::admin::flows::Spliced;
use crate::telemetry::StepTimes;
use crate::telemetry::handoffs::BOUNDS_US;
use prometheus_client::encoding::NoLabelSet;
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
    let help = "Connections in whose hand-off a byte came to the agent past the programs: its sender repeated it.";
    out.counter("splice_late", help, spliced.late)?;
    let packets = spliced.packets.into_iter().map(|(outcome, n)| (outcome.to_owned(), n));
    let help = "Packets at the programs that carry connections, by outcome.";
    out.family(MetricType::Counter, "splice_packets", help, "outcome", packets)?;
    let help =
        "What userspace does for a hand-off, by step, without the dialling of the endpoint and its answer, in seconds.";
    let mut metric = out.0.encode_descriptor("handoff_duration_seconds", help, None, MetricType::Histogram)?;
    for StepTimes { step, counts, sum } in &spliced.handoffs {
        let bounds = BOUNDS_US.iter().map(|us| super::seconds(*us)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let labels = [("step", *step)];
        let encoder = &mut metric.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), counts.iter().sum(), &buckets, None)?;
    }
    Ok(())
}
