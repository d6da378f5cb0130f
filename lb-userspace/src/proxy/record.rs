//! What is counted and logged of one request, from the first byte of its head to the last of its response.
//!
//! Goes in: what the exchange learns as it goes. Comes out: counters, and a line of the access log if it is on.

use super::facts::scheme;
use super::head::request::Request;
use super::worker::Worker;
use crate::telemetry::AccessRecord;
use lb_core::model::{Route, ServiceKey};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// One request.
#[derive(Debug)]
pub struct Record {
    worker: Rc<Worker>,
    started: Instant,
    /// Until the answer, microseconds, where more than the answer follows.
    answered_us: Option<u64>,
    /// Status that was sent, or would have been.
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
    /// A request whose first byte came at `started`.
    pub fn new(worker: &Rc<Worker>, started: Instant) -> Self {
        worker.counters.requests.add(1);
        worker.counters.requests_active.add(1);
        let texts = worker.log.is_on().then(Box::default);
        let (status, error, endpoint, bytes_received, bytes_sent) = (0, None, None, 0, 0);
        Self {
            worker: worker.clone(),
            started,
            answered_us: None,
            status,
            error,
            endpoint,
            bytes_received,
            bytes_sent,
            texts,
        }
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
    pub fn finish(self, peer: SocketAddr, secure: bool) {
        let counters = &self.worker.counters;
        let duration_us = self.duration_us();
        counters.bytes_received.add(self.bytes_received);
        counters.bytes_sent.add(self.bytes_sent);
        counters.response(self.status, self.answered_us.unwrap_or(duration_us));
        let Some(texts) = &self.texts else { return };
        let or_dash = |text: &'static str| if text.is_empty() { "-" } else { text };
        self.worker.log.write(
            SystemTime::now(),
            &AccessRecord {
                client: peer,
                method: &texts.method,
                scheme: scheme(secure),
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

impl Drop for Record {
    fn drop(&mut self) {
        self.worker.counters.requests_active.sub(1);
    }
}
