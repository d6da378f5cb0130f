//! The access log: one line a request, in text or JSON, to standard output.
//!
//! Goes in: an [`AccessRecord`]. A worker formats the line and hands it to a writer thread through a bounded queue;
//! when the reader of standard output stalls, lines are dropped and counted, and requests go on.

use crate::config::AccessLogFormat;
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

/// Lines that may wait for the writer: 64 k lines of about 300 bytes are 20 MB.
const QUEUE_LINES_MAX: usize = 65_536;

/// One request, as it is logged.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are those of the JSON form, described in docs/operate.md")]
pub struct AccessRecord<'a> {
    pub client: SocketAddr,
    pub method: &'a str,
    pub scheme: &'a str,
    pub host: &'a str,
    pub target: &'a str,
    pub protocol: &'a str,
    pub status: u16,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub duration_us: u64,
    pub request_id: &'a str,
    pub ingress: Option<String>,
    pub service: Option<String>,
    pub endpoint: Option<SocketAddr>,
    /// Why we answered ourselves or gave up, one word; `None` when a backend answered.
    pub error: Option<&'a str>,
}

/// A handle to the log; cheap to clone, one for each worker.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: AccessLogFormat,
    queue: Option<SyncSender<String>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writer thread, unless the log is off.
    #[must_use]
    pub fn start(format: AccessLogFormat) -> Self {
        let dropped = Arc::default();
        if format == AccessLogFormat::Off {
            return Self { format, queue: None, dropped };
        }
        let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
        std::thread::spawn(move || write_lines(&lines));
        Self { format, queue: Some(queue), dropped }
    }

    /// Whether a record would be written: callers skip making one when not.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues the line of a request that ended at `now`.
    pub fn write(&self, now: SystemTime, record: &AccessRecord<'_>) {
        let Some(queue) = &self.queue else { return };
        let line = match self.format {
            AccessLogFormat::Json => json_line(now, record),
            _ => text_line(now, record),
        };
        if queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were dropped because standard output did not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write_lines(lines: &Receiver<String>) {
    let mut out = BufWriter::with_capacity(64 * 1024, std::io::stdout());
    while let Ok(line) = lines.recv() {
        let mut written = out.write_all(line.as_bytes());
        while let Ok(line) = lines.try_recv() {
            written = written.and_then(|()| out.write_all(line.as_bytes()));
        }
        if written.and_then(|()| out.flush()).is_err() {
            // Standard output is closed: nobody reads the log, and nothing else can be told about it there.
            return;
        }
    }
}

fn json_line(now: SystemTime, record: &AccessRecord<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        #[serde(flatten)]
        record: &'a AccessRecord<'a>,
    }
    let line = Line { time: rfc3339(now), record };
    let mut text = serde_json::to_string(&line).expect("strings and numbers always serialize");
    text.push('\n');
    text
}

fn text_line(now: SystemTime, r: &AccessRecord<'_>) -> String {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    format!(
        "{} {} \"{} {}://{}{} {}\" {} in={} out={} us={} id={} ingress={} service={} endpoint={} error={}\n",
        rfc3339(now),
        r.client,
        r.method.escape_debug(),
        r.scheme,
        r.host.escape_debug(),
        r.target.escape_debug(),
        r.protocol,
        r.status,
        r.bytes_received,
        r.bytes_sent,
        r.duration_us,
        r.request_id.escape_debug(),
        or_dash(r.ingress.as_deref()),
        or_dash(r.service.as_deref()),
        r.endpoint.map_or_else(|| "-".to_owned(), |e| e.to_string()),
        or_dash(r.error),
    )
}

/// UTC with milliseconds (RFC 3339), by the civil-from-days method.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (h, m, s) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{millis:03}Z")
}

/// Year, month and day of a day number since 1970-01-01 (Gregorian, no leap seconds).
#[must_use]
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(target: &str) -> AccessRecord<'_> {
        AccessRecord {
            client: ([192, 0, 2, 1], 5_000).into(),
            method: "GET",
            scheme: "http",
            host: "foo.com",
            target,
            protocol: "HTTP/1.1",
            status: 200,
            bytes_received: 0,
            bytes_sent: 36,
            duration_us: 120,
            request_id: "abc",
            ingress: Some("shop/cart rules[0].paths[0]".to_owned()),
            service: Some("shop/cart:80".to_owned()),
            endpoint: Some(([10, 0, 0, 1], 8080).into()),
            error: None,
        }
    }

    #[test]
    fn dates() {
        let at = |s: u64| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_795_374_273), "2026-11-22T19:04:33.000Z");
    }

    #[test]
    fn a_line_cannot_be_forged() {
        let line = text_line(SystemTime::UNIX_EPOCH, &record("/a\" 200\nforged"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains("/a\\\" 200\\nforged"), "{line}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = json_line(SystemTime::UNIX_EPOCH, &record("/a\nb"));
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["target"], "/a\nb");
        assert_eq!(value["endpoint"], "10.0.0.1:8080");
        assert_eq!(line.lines().count(), 1);
    }
}
