//! Metrics of what was written into the API of a cluster.

use super::Encoder;
use crate::telemetry::ReportView;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use std::fmt;

/// Encodes them; `None`: nothing is ever written, and there are none.
pub(super) fn encode(out: &mut Encoder<'_, '_>, report: Option<ReportView>) -> fmt::Result {
    let Some(report) = report else { return Ok(()) };
    let help = "1 for the agent that writes statuses and Events.";
    out.gauge("leader", help, u64::from(report.leader))?;
    out.counter("leader_elections", "How often this agent became the one that writes.", report.elections)?;
    let help = "Writes to the API server, by what was written and what became of it.";
    let mut metric = out.0.encode_descriptor("api_writes", help, None, MetricType::Counter)?;
    for written in &report.writes {
        let labels = [("subject", written.subject), ("outcome", written.outcome)];
        ConstCounter::new(written.count).encode(metric.encode_family(&labels)?)?;
    }
    out.counter("api_writes_throttled", "Waits for the bound on writes to the API server.", report.throttled)?;
    let waiting = [("status", report.statuses_waiting), ("event", report.events_waiting)];
    let waiting = waiting.map(|(subject, count)| (subject.to_owned(), count as u64));
    let help = "Statuses and Events that wait to be written.";
    out.family(MetricType::Gauge, "api_writes_waiting", help, "subject", waiting)?;
    let help = "Problems that have no Event now, because there are too many of one object or of all.";
    out.gauge("events_held_back", help, report.events_held_back as u64)?;
    let help = "Events that were put off because of the bound for one object.";
    out.counter("events_deferred", help, report.events_deferred)
}
