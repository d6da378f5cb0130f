//! What is counted and logged of one request, from the first byte of its head to the last of its response.
//!
//! Goes in: what the exchange learns as it goes. Comes out: counters, and a line of the access log if it is on.

use super::facts::{Facts, scheme};
use super::head::request::Request;
use super::worker::Worker;
use crate::telemetry::{AccessLog, AccessRecord, Counters};
use lb_core::model::{Route, ServiceKey};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// One request of a worker.
#[derive(Debug)]
pub struct Record {
    line: Line,
    active: Active,
}

/// What is known of a request, or of a connection that is passed through. It may end on another thread than it began.
#[derive(Debug)]
pub struct Line {
    peer: SocketAddr,
    scheme: &'static str,
    started: Instant,
    /// Until the answer, microseconds, where more than the answer follows.
    answered_us: Option<u64>,
    /// Status that was sent, or would have been; 0: none is known.
    pub status: u16,
    /// One word, when no backend answered whole.
    pub error: Option<&'static str>,
    /// The endpoint that was tried last.
    pub endpoint: Option<SocketAddr>,
    /// Bytes of head and body from the client.
    pub bytes_received: u64,
    /// Bytes to the client.
    pub bytes_sent: u64,
    texts: Option<Box<Texts>>,
}

/// Counts a request as long as it is at work.
#[derive(Debug)]
struct Active(Rc<Worker>);

/// What only the log wants.
#[derive(Debug, Default)]
struct Texts {
    method: String,
    host: String,
    target: String,
    protocol: &'static str,
    request_id: String,
    ingress: Option<String>,
    service: Option<String>,
}

impl Record {
    /// A request on the connection from `facts` whose first byte came at `started`.
    pub fn new(worker: &Rc<Worker>, facts: &Facts, started: Instant) -> Self {
        worker.counters.requests.add(1);
        worker.counters.requests_active.add(1);
        let line = Line::new(facts.peer, scheme(facts.secure), started, &worker.log);
        Self { line, active: Active(worker.clone()) }
    }

    /// It is over.
    pub fn finish(self) {
        self.line.finish(&self.active.0.counters, &self.active.0.log);
    }

    /// It is not at work here any more, and not over.
    pub fn into_line(self) -> Line {
        self.line
    }
}

impl Deref for Record {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Line {
        &mut self.line
    }
}

impl Line {
    /// The line of something that began at `started`.
    pub fn new(peer: SocketAddr, scheme: &'static str, started: Instant, log: &AccessLog) -> Self {
        let texts = log.is_on().then(Box::default);
        let (answered_us, status, error, endpoint, bytes_received, bytes_sent) = (None, 0, None, None, 0, 0);
        Self { peer, scheme, started, answered_us, status, error, endpoint, bytes_received, bytes_sent, texts }
    }

    /// What was asked.
    pub fn asked(&mut self, request: &Request<'_, '_>, host: &str, request_id: &str) {
        if let Some(texts) = &mut self.texts {
            texts.method = request.method.to_owned();
            texts.host = host.to_owned();
            texts.target = request.target.clone().into_owned();
            texts.protocol = request.version.text();
            texts.request_id = request_id.to_owned();
        }
    }

    /// A connection that is passed through asks for a name, and nothing that is known here.
    pub fn passes(&mut self, name: &str) {
        if let Some(texts) = &mut self.texts {
            texts.method = "-".to_owned();
            texts.host = name.to_owned();
            texts.protocol = "TLS";
        }
    }

    /// Which route took it.
    pub fn routed(&mut self, route: &Route) {
        if let Some(texts) = &mut self.texts {
            texts.ingress = Some(route.origin.to_string());
        }
    }

    /// Which service it goes to.
    pub fn service(&mut self, key: &ServiceKey) {
        if let Some(texts) = &mut self.texts {
            texts.service = Some(key.to_string());
        }
    }

    /// It switches protocols: what comes now is not the request any more, and its time is not counted as one.
    pub fn answered(&mut self) {
        self.answered_us = Some(self.duration_us());
    }

    fn duration_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// It is over.
    pub fn finish(self, counters: &Counters, log: &AccessLog) {
        let duration_us = self.duration_us();
        counters.bytes_received.add(self.bytes_received);
        counters.bytes_sent.add(self.bytes_sent);
        if self.status != 0 {
            counters.response(self.status, self.answered_us.unwrap_or(duration_us));
        }
        let Some(texts) = &self.texts else { return };
        let or_dash = |text: &'static str| if text.is_empty() { "-" } else { text };
        log.write(
            SystemTime::now(),
            &AccessRecord {
                client: self.peer,
                method: &texts.method,
                scheme: self.scheme,
                host: &texts.host,
                target: &texts.target,
                protocol: or_dash(texts.protocol),
                status: self.status,
                bytes_received: self.bytes_received,
                bytes_sent: self.bytes_sent,
                duration_us,
                request_id: &texts.request_id,
                ingress: texts.ingress.clone(),
                service: texts.service.clone(),
                endpoint: self.endpoint,
                error: self.error,
            },
        );
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.counters.requests_active.sub(1);
    }
}
