//! Metrics of who carries connections: by class and reason, and hand-offs to the kernel that came to nothing.

use super::Encoder;
use crate::telemetry::Counters;
use lb_core::class::Class;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Encodes them.
pub(super) fn encode(out: &mut Encoder<'_, '_>, counters: &[Arc<Counters>]) -> fmt::Result {
    let mut by_reason: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for counters in counters.iter().map(|counters| &counters.connections) {
        counters
            .by_reason()
            .for_each(|(class, reason, n)| *by_reason.entry((Class::name(class), reason)).or_default() += n);
        counters.refused().for_each(|(reason, n)| *refused.entry(reason).or_default() += n);
    }
    let help = "Client connections whose class was decided, by class and reason.";
    let mut metric = out.0.encode_descriptor("connections", help, None, MetricType::Counter)?;
    for ((class, reason), n) in by_reason {
        let labels = [("class", class), ("reason", reason)];
        ConstCounter::new(n).encode(metric.encode_family(&labels)?)?;
    }
    let help = "Hand-offs to the kernel that came to nothing, by reason: userspace carries the connection.";
    let refused = refused.into_iter().map(|(reason, n)| (reason.to_owned(), n));
    out.family(MetricType::Counter, "splice_refused", help, "reason", refused)
}
