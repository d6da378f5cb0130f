//! Metrics in the OpenMetrics text format (version 1.0.0), read from counters at the moment of the scrape.
//!
//! Goes in: an [`Inspect`]. Comes out: text. Names begin with `sluice_`; units are seconds and bytes.

mod connections;
mod report;
mod source;
mod splice;

use super::inspect::{Inspect, Readiness, Status};
use crate::telemetry::Counters;
use crate::telemetry::counters::{Counter, DURATION_BOUNDS_US};
use lb_core::problem::Severity;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Encodes all metrics.
#[must_use]
pub fn render(inspect: &Arc<dyn Inspect>) -> String {
    let mut registry = Registry::with_prefix("sluice");
    registry.register_collector(Box::new(Scrape(inspect.clone())));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String does not fail");
    text
}

struct Scrape(Arc<dyn Inspect>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Encoder(&mut encoder);
        self.requests(&mut out)?;
        let spliced = self.0.spliced();
        self.connections(&mut out, spliced.as_ref().map_or(0, |spliced| spliced.pairs))?;
        connections::encode(&mut out, self.0.counters())?;
        splice::encode(&mut out, spliced)?;
        self.upstream(&mut out)?;
        self.balancing(&mut out)?;
        let status = self.0.status();
        self.configuration(&mut out, &status)?;
        source::encode(&mut out, self.0.source())?;
        report::encode(&mut out, self.0.reports())?;
        self.kernel(&mut out, &status)
    }
}

impl Scrape {
    fn sum(&self, field: impl Fn(&Counters) -> &Counter) -> u64 {
        self.0.counters().iter().map(|c| field(c).get()).sum()
    }

    fn requests(&self, out: &mut Encoder<'_, '_>) -> fmt::Result {
        out.counter("requests", "Requests whose head was read, malformed ones included.", self.sum(|c| &c.requests))?;
        out.counter("requests_malformed", "Requests refused as malformed.", self.sum(|c| &c.requests_malformed))?;
        out.gauge("requests_active", "Requests being served.", self.sum(|c| &c.requests_active))?;
        let classes = (0..5).map(|i| (format!("{}xx", i + 1), self.sum(|c| &c.responses[i])));
        out.family(MetricType::Counter, "responses", "Responses by class of status.", "status", classes)?;
        let counts: Vec<u64> = (0..=DURATION_BOUNDS_US.len()).map(|i| self.sum(|c| &c.durations[i])).collect();
        let bounds = DURATION_BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let help = "From the first byte of a request's head to the last byte of its response, in seconds.";
        let kind = MetricType::Histogram;
        let sum = seconds(self.sum(|c| &c.duration_us_sum));
        out.0.encode_descriptor("request_duration_seconds", help, None, kind)?.encode_histogram::<NoLabelSet>(
            sum,
            counts.iter().sum(),
            &buckets,
            None,
        )
    }

    fn connections(&self, out: &mut Encoder<'_, '_>, carried: u64) -> fmt::Result {
        let help = "Client connections accepted.";
        out.counter("connections_accepted", help, self.sum(|c| &c.connections_accepted))?;
        let help = "Client connections closed at once because the limit was reached.";
        out.counter("connections_refused", help, self.sum(|c| &c.connections_refused))?;
        let help = "Client connections that are open, those that the kernel carries among them.";
        out.gauge("connections_active", help, self.sum(|c| &c.connections_active) + carried)?;
        out.gauge(
            "connections_parked",
            "Open client connections that are idle and hold no memory but a descriptor and its ends.",
            self.sum(|c| &c.connections_parked),
        )?;
        let help = "TLS handshakes that failed or took too long.";
        out.counter("tls_handshakes_failed", help, self.sum(|c| &c.handshakes_failed))?;
        let help = "HTTP/2 connections that were ended because of frames without content";
        out.counter("h2_floods", help, self.sum(|c| &c.h2_floods))?;
        let help = "Connections closed because the PROXY protocol header that must be there was missing or malformed.";
        out.counter("proxy_protocol_refused", help, self.sum(|c| &c.proxy_protocol_refused))?;
        out.counter("tunnels", "Upgraded connections that userspace carries.", self.sum(|c| &c.tunnels))?;
        out.gauge("tunnels_active", "Those of them that are open.", self.sum(|c| &c.tunnels_active))?;
        out.counter("received_bytes", "Bytes read from clients.", self.sum(|c| &c.bytes_received))?;
        out.counter("sent_bytes", "Bytes written to clients.", self.sum(|c| &c.bytes_sent))
    }

    fn upstream(&self, out: &mut Encoder<'_, '_>) -> fmt::Result {
        out.counter("upstream_connects", "Connections made to endpoints.", self.sum(|c| &c.upstream_connects))?;
        let help = "Connections to endpoints that could not be made.";
        out.counter("upstream_connects_failed", help, self.sum(|c| &c.upstream_connects_failed))?;
        let help = "Requests sent on a kept-alive upstream connection.";
        out.counter("upstream_reuses", help, self.sum(|c| &c.upstream_reuses))?;
        out.gauge("upstream_idle", "Idle upstream connections.", self.sum(|c| &c.upstream_idle))
    }

    fn balancing(&self, out: &mut Encoder<'_, '_>) -> fmt::Result {
        out.counter("retries", "Tries of a request at another endpoint.", self.sum(|c| &c.retries))?;
        let help = "Tries at another endpoint that the budget of the service did not allow.";
        out.counter("retries_refused", help, self.sum(|c| &c.retries_refused))?;
        out.counter("ejections", "Endpoints ejected because they failed.", self.sum(|c| &c.ejections))?;
        let (published, now_ms) = (self.0.published(), self.0.published().now_ms());
        let ejected = published.services().map(|(_, state)| state.ejected(now_ms)).sum::<usize>();
        out.gauge("endpoints_ejected", "Endpoints that are ejected now.", ejected as u64)?;
        let help = "Requests answered 503 because a service or its endpoints had too many in work.";
        out.counter("overloads", help, self.sum(|c| &c.overloads))
    }

    fn configuration(&self, out: &mut Encoder<'_, '_>, status: &Status) -> fmt::Result {
        let ready = u64::from(status.readiness == Readiness::Ready);
        out.gauge("ready", "1 when a whole Snapshot serves and the agent does not drain.", ready)?;
        out.gauge("snapshot_version", "Version of the Snapshot that serves.", status.snapshot)?;
        out.gauge("routes", "Routes that serve.", status.routes as u64)?;
        out.gauge("services", "Service ports that routes lead to.", status.services as u64)?;
        out.gauge("endpoints", "Endpoints that can take requests.", status.endpoints as u64)?;
        out.gauge("certificates", "Server names with a certificate.", status.certificates as u64)?;
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for problem in self.0.problems().iter().filter(|p| p.severity == Severity::Fault) {
            *faults.entry(problem.reason.to_owned()).or_default() += 1;
        }
        out.family(MetricType::Gauge, "faults", "Faults in the configuration, by reason.", "reason", faults)?;
        let help = "Access-log lines dropped because standard output did not keep up.";
        out.counter("log_lines_dropped", help, self.0.log_lines_dropped())
    }

    fn kernel(&self, out: &mut Encoder<'_, '_>, status: &Status) -> fmt::Result {
        let active = u64::from(status.steering.active);
        out.gauge("steering_active", "1 when sk_lookup brings connections to the listeners.", active)?;
        let lookups = self.0.lookups().into_iter().map(|(outcome, n)| (outcome.to_owned(), n));
        out.family(MetricType::Counter, "lookup", "Decisions of the sk_lookup program, by outcome.", "outcome", lookups)
    }
}

struct Encoder<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Encoder<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// One metric with a value for each value of a label.
    fn family(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (key, value) in values {
            let labels = [(label, key.as_str())];
            let encoder = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                _ => ConstGauge::new(value).encode(encoder)?,
            }
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 microseconds, which is 285 years")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Every metric as people look for it: name, type, help.
#[cfg(test)]
pub fn described() -> Vec<(String, String, String)> {
    let text = tests::sample();
    let mut all = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap_or((line, ""));
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap_or_default();
        // Samples of one metric differ in their labels, which hold no comma.
        let sample = |line: &&str| {
            let rest = line.strip_prefix(name).map(|rest| rest.strip_prefix("_total").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let labels = text.lines().find(sample).and_then(|line| Some(line.split_once('{')?.1.split_once('}')?.0));
        let names = labels.map(|labels| labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)));
        let names = names.map(|names| format!("{{{}}}", names.collect::<Vec<_>>().join(","))).unwrap_or_default();
        let total = if kind == "counter" { "_total" } else { "" };
        all.push((format!("{name}{total}{names}"), kind.to_owned(), help.to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::Fake;
    use crate::telemetry::connections::Why;
    use lb_core::class::Reason;
    use lb_core::handoff::Apart;

    /// The metrics of an agent with one worker, which has done nothing.
    pub(super) fn sample() -> String {
        let fake: Arc<dyn Inspect> = Arc::new(Fake::default());
        render(&fake)
    }

    #[test]
    fn workers_are_summed_and_buckets_are_cumulative() {
        let workers: Vec<Arc<Counters>> = vec![Arc::default(), Arc::default()];
        for worker in &workers {
            worker.requests.add(2);
            worker.response(200, 50);
        }
        workers[1].response(503, 20_000_000);
        for (worker, reason) in workers.iter().zip([Reason::OptedIn, Reason::NotOptedIn]) {
            worker.connections.count(Why::Class(reason));
            worker.connections.refuse(Apart::Mss);
        }
        let fake: Arc<dyn Inspect> = Arc::new(Fake { counters: workers, ..Fake::default() });
        let text = render(&fake);
        for line in [
            "sluice_requests_total 4",
            "sluice_responses_total{status=\"2xx\"} 2",
            "sluice_responses_total{status=\"5xx\"} 1",
            "sluice_request_duration_seconds_bucket{le=\"0.0001\"} 2",
            "sluice_request_duration_seconds_bucket{le=\"10.0\"} 2",
            "sluice_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "sluice_request_duration_seconds_count 3",
            "sluice_request_duration_seconds_sum 20.0001",
            "sluice_connections_total{class=\"spliced\",reason=\"opted-in\"} 1",
            "sluice_connections_total{class=\"per-request\",reason=\"not-opted-in\"} 1",
            "sluice_connections_total{class=\"per-request\",reason=\"mss\"} 0",
            "sluice_splice_refused_total{reason=\"mss\"} 2",
            "sluice_splice_active 1",
            "sluice_flows 1",
            "sluice_splice_bytes_total{direction=\"up\"} 1000",
            "sluice_splice_bytes_total{direction=\"down\"} 2000",
            "sluice_splice_late_total 0",
            "sluice_splice_packets_total{outcome=\"up\"} 5",
            "sluice_handoff_duration_seconds_count{step=\"begin\"} 1",
            "sluice_handoff_duration_seconds_bucket{le=\"+Inf\",step=\"begin\"} 1",
            "sluice_handoff_duration_seconds_count{step=\"surrender\"} 0",
            "sluice_lookup_total{outcome=\"steered\"} 3",
            "sluice_source_age_seconds{kind=\"Service\"} 90",
            "sluice_source_watches_open{kind=\"Service\"} 0",
            "sluice_source_events_total{kind=\"Service\"} 1",
            "sluice_source_relists_total{kind=\"Service\"} 0",
            "sluice_source_errors_total{kind=\"Service\",reason=\"broken\"} 1",
            "sluice_snapshot_version 7",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn where_the_kernel_carries_nothing() {
        let fake: Arc<dyn Inspect> = Arc::new(Fake { carries: false, ..Fake::default() });
        let text = render(&fake);
        for line in ["sluice_splice_active 0", "sluice_flows 0", "sluice_splice_late_total 0"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
