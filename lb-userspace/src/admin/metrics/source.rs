//! Metrics of a source that can be out of reach.

use super::Encoder;
use crate::telemetry::SourceView;
use crate::telemetry::source::KindView;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use std::fmt;

/// Encodes them; `None`: the source is always in reach, and there are none.
pub(super) fn encode(out: &mut Encoder<'_, '_>, source: Option<SourceView>) -> fmt::Result {
    let Some(source) = source else { return Ok(()) };
    let mut by_kind = |kind, name, help, value: fn(&KindView) -> u64| {
        let values = source.kinds.iter().map(|view| (view.kind.to_owned(), value(view)));
        out.family(kind, name, help, "kind", values)
    };
    let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
    let help = "Seconds since the API server was last heard of about a kind: bookmarks come every minute.";
    by_kind(gauge, "source_age_seconds", help, |view| view.age_s)?;
    by_kind(gauge, "source_watches", "Watches that are wanted.", |view| view.feeds as u64)?;
    by_kind(gauge, "source_watches_open", "Watches that the API server answers.", |view| view.open as u64)?;
    by_kind(counter, "source_events", "Changes that watches told.", |view| view.events)?;
    by_kind(counter, "source_relists", "How often all objects were read again.", |view| view.relists)?;
    let help = "Requests to the API server, watches and objects that failed, by reason.";
    let mut metric = out.0.encode_descriptor("source_errors", help, None, counter)?;
    for view in &source.kinds {
        for (reason, count) in &view.errors {
            let labels = [("kind", view.kind), ("reason", *reason)];
            ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
