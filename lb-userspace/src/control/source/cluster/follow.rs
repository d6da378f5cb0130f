//! Following: one task for each scope, which reads all objects and then what happens to them, for ever.
//!
//! Goes in: a [`Scope`]. Comes out: calls of [`Ear`]. A list that broke off begins anew, a watch goes on at the last
//! version. Does not know what the objects mean.

use super::course::{Course, Fault, Next};
use super::scope::{Begin, PAGE_OBJECTS, Scope};
use super::session::Session;
use super::wire::{self, Event, Item};
use crate::telemetry::Feed;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use lb_core::model::ObjectRef;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long the head of an answer, and each piece of a list, may take. A slow list is long, not silent.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the server may say nothing in a streaming list. One that does not know streaming lists ends it never.
const STREAM_SILENCE: Duration = Duration::from_secs(10);

/// Seconds after which the server ends a watch, the shortest; up to as much again is chance, so that not all watches of
/// all agents begin anew together.
const WATCH_SECONDS: u64 = 240;

/// How much longer than asked for a watch may be silent before its connection counts as dead.
const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// A watch that ends sooner, and has told nothing, has failed.
const WATCH_SHORTEST: Duration = Duration::from_secs(1);

/// Largest page of a list, bytes; a larger one is asked for again with half the objects. An object is at most 1.5 MB in etcd,
/// and 500 usual ones are 2 MB.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// Longest line of a watch, bytes: several times the largest object.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Largest answer with a status of failure that is read, bytes.
const STATUS_BYTES_MAX: usize = 64 << 10;

/// Who listens to one scope.
pub trait Ear {
    /// All objects are read from the beginning. None is gone until [`Self::whole`].
    fn begins(&self);
    /// An object is new, or as it was, or another than before.
    fn put(&self, item: Item);
    /// An object is gone.
    fn gone(&self, key: &ObjectRef);
    /// All objects were told since [`Self::begins`].
    fn whole(&self);
    /// Something does not work.
    fn failed(&self, fault: &Fault);
    /// It works.
    fn works(&self);
}

/// Follows a scope until it is dropped.
pub async fn follow(scope: Scope, session: Rc<Session>, feed: Arc<Feed>, ear: impl Ear) {
    let mut follower = Follower { scope, session, feed, ear, course: Course::default(), page_objects: PAGE_OBJECTS };
    let mut listed = false;
    loop {
        let next = follower.course.next();
        if !matches!(next, Next::Watch(_)) {
            if listed {
                follower.feed.relists();
            }
            listed = true;
            follower.ear.begins();
        }
        let done = match next {
            Next::Stream => follower.watch(None).await,
            Next::Watch(version) => follower.watch(Some(version)).await,
            Next::Pages => follower.pages().await,
        };
        follower.feed.closed();
        if let Err((credentials, fault)) = done {
            follower.failed(credentials, &fault).await;
        }
    }
}

struct Follower<E> {
    scope: Scope,
    session: Rc<Session>,
    feed: Arc<Feed>,
    ear: E,
    course: Course,
    page_objects: u32,
}

/// A fault, with the number of the credentials that it was met with.
type Failed = (u64, Fault);

impl<E: Ear> Follower<E> {
    async fn failed(&mut self, credentials: u64, fault: &Fault) {
        let pause = self.course.failed(fault, fastrand::f64());
        if matches!(fault, Fault::Gone) || pause.is_zero() {
            // The server works, and is asked otherwise.
            tracing::debug!(scope = %self.scope, fault = fault.words(), "asking otherwise");
            self.feed.failed(fault.reason(), None);
        } else {
            let needed = match fault {
                Fault::Forbidden(_) => format!(" (needed: {})", self.scope.rule()),
                _ => String::new(),
            };
            self.feed.failed(fault.reason(), Some(format!("{}: {}{needed}", self.scope, fault.words())));
            self.ear.failed(fault);
        }
        if matches!(fault, Fault::TooLarge) {
            self.page_objects = (self.page_objects / 2).max(1);
        }
        if matches!(fault, Fault::Unauthorized(_))
            && let Err(error) = self.session.renew(credentials).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the credentials cannot be read again");
        }
        sleep(pause).await;
    }

    /// Reads all objects in pages.
    async fn pages(&mut self) -> Result<(), Failed> {
        let mut token: Option<String> = None;
        loop {
            let request = self.scope.list(self.page_objects, token.as_deref());
            let (credentials, mut response) = self.ask(request).await?;
            let body = read(&mut response, ANSWER, PAGE_BYTES_MAX).await.map_err(|fault| (credentials, fault))?;
            let page = wire::page(self.scope.watched, &body);
            let page = page.map_err(|error| (credentials, Fault::Garbled(error.to_string())))?;
            drop(body);
            self.heard();
            for item in page.items {
                self.ear.put(item);
                // Ten thousand objects take long enough for others to want a turn.
                tokio::task::consume_budget().await;
            }
            token = page.next;
            if token.is_none() {
                self.course.reached(page.version);
                return self.whole(credentials);
            }
        }
    }

    fn whole(&mut self, credentials: u64) -> Result<(), Failed> {
        if let Next::Watch(_) = self.course.next() {
            self.feed.whole();
            self.ear.whole();
            return Ok(());
        }
        Err((credentials, Fault::Garbled("the list has no resourceVersion, so nothing can follow it".to_owned())))
    }

    /// Hears what happens after a version; or everything, and then what happens.
    async fn watch(&mut self, version: Option<String>) -> Result<(), Failed> {
        let seconds = WATCH_SECONDS + fastrand::u64(0..WATCH_SECONDS);
        let begin = version.as_deref().map_or(Begin::Now, Begin::At);
        let (credentials, response) = self.ask(self.scope.watch(begin, seconds)).await?;
        let (mut body, started) = (response.into_body(), Instant::now());
        let (mut lines, mut told, mut whole) = (Lines::default(), false, version.is_some());
        let failed = |fault| (credentials, fault);
        if whole {
            // The server took the version.
            self.heard();
        }
        loop {
            let silence = if whole { Duration::from_secs(seconds) + WATCH_MARGIN } else { STREAM_SILENCE };
            let piece = match timeout(silence, body.frame()).await {
                // A stream that is silent once it was whole is a dead connection, and goes on with another one.
                Err(_) => return Err(failed(Fault::Silent)),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Err(failed(Fault::Broken(chain(&error)))),
                Ok(None) if whole && (told || started.elapsed() >= WATCH_SHORTEST) => {
                    self.course.worked();
                    return Ok(());
                }
                Ok(None) => return Err(failed(Fault::Broken("it ended a watch at once".to_owned()))),
            };
            lines.add(&piece);
            while let Some(line) = lines.next() {
                told = true;
                let Some(line) = line else {
                    self.feed.failed(Fault::TooLarge.reason(), None);
                    tracing::error!(scope = %self.scope, "an object is too large to be read, and left out");
                    continue;
                };
                self.line(&line, &mut whole).map_err(failed)?;
            }
            self.heard();
        }
    }

    fn line(&mut self, line: &[u8], whole: &mut bool) -> Result<(), Fault> {
        let event = match wire::event(self.scope.watched, line) {
            Ok(event) => event,
            Err(error) => {
                // The watch goes on behind it.
                self.feed.failed("garbled", None);
                tracing::error!(scope = %self.scope, %error, "part of a watch is left out");
                return Ok(());
            }
        };
        let version = match event {
            Event::Put(item) => {
                self.feed.event();
                let version = item.version.clone();
                self.ear.put(item);
                version
            }
            Event::Gone { key, version } => {
                self.feed.event();
                self.ear.gone(&key);
                version
            }
            Event::Bookmark { version, whole: last } => {
                if last && !*whole {
                    *whole = true;
                    self.course.reached(version);
                    return self.whole(0).map_err(|(_, fault)| fault);
                }
                version
            }
            Event::Over(status) => return Err(Fault::of(status, None)),
        };
        if *whole {
            self.course.reached(version);
        }
        Ok(())
    }

    fn heard(&self) {
        self.feed.heard(Instant::now());
        self.ear.works();
    }

    /// Sends a request, and answers when the head of a good answer is there.
    async fn ask(&self, uri: String) -> Result<(u64, Response<Body>), Failed> {
        let (credentials, client) = self.session.client();
        let failed = |fault| (credentials, fault);
        let request = Request::get(uri).header(header::ACCEPT, "application/json").body(Body::empty());
        let request = request.map_err(|error| failed(Fault::Garbled(error.to_string())))?;
        let mut response = match timeout(ANSWER, client.send(request)).await {
            Err(_) => return Err(failed(Fault::Silent)),
            Ok(Err(error)) => return Err(failed(Fault::Broken(chain(&error)))),
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::OK {
            return Ok((credentials, response));
        }
        let code = response.status().as_u16();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(&mut response, ANSWER, STATUS_BYTES_MAX).await.unwrap_or_default();
        Err(failed(Fault::of(wire::status(code, &body), after.map(Duration::from_secs))))
    }
}

/// Reads a body whole.
async fn read(response: &mut Response<Body>, silence: Duration, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    loop {
        match timeout(silence, response.body_mut().frame()).await {
            Err(_) => return Err(Fault::Silent),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(error))) => return Err(Fault::Broken(chain(&error))),
            Ok(Some(Ok(frame))) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
        if bytes.len() > bytes_max {
            return Err(Fault::TooLarge);
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Lines of pieces.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where no end of a line was found.
    searched: usize,
    /// The line is too long, and is left out.
    skipping: bool,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole line without its end; `Some(None)`: one that was too long.
    fn next(&mut self) -> Option<Option<Vec<u8>>> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
                self.searched = self.bytes.len();
                if self.bytes.len() - self.start > LINE_BYTES_MAX {
                    self.skipping = true;
                    self.bytes.clear();
                    (self.start, self.searched) = (0, 0);
                }
                // A large object was read, and mostly none follows.
                if self.start == self.bytes.len() && self.bytes.capacity() > 1 << 20 {
                    *self = Self { skipping: self.skipping, ..Self::default() };
                }
                return None;
            };
            let end = self.searched + found;
            let line = self.bytes[self.start..end].to_vec();
            (self.start, self.searched) = (end + 1, end + 1);
            if std::mem::take(&mut self.skipping) {
                return Some(None);
            }
            if !line.is_empty() {
                return Some(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pieces() {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in ["a", "b\nc", "\n\nd\n", "e"] {
            lines.add(piece.as_bytes());
            while let Some(line) = lines.next() {
                all.push(String::from_utf8(line.expect("not long")).expect("text"));
            }
        }
        assert_eq!(all, ["ab", "c", "d"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out() {
        let mut lines = Lines::default();
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        lines.add(&long);
        assert!(lines.next().is_none());
        assert!(lines.bytes.len() <= LINE_BYTES_MAX);
        lines.add(b"xx\nshort\n");
        assert_eq!(lines.next(), Some(None));
        assert_eq!(lines.next(), Some(Some(b"short".to_vec())));
        assert_eq!(lines.next(), None);
    }
}
