//! Watches: a stream of changes after a version, in front of it a list if asked for.
//!
//! Goes in: the options of a watch. Comes out: a body of JSON events, one a line, until the time is up, the history is
//! too old, a fault breaks it off, or the client leaves. Source: kubernetes.io/docs/reference/using-api/api-concepts,
//! "Efficient detection of changes", "Watch bookmarks" and "Streaming lists". Does not do: reading from elsewhere than
//! the history, so every watch sees the same order within a kind.

use super::ask::Ask;
use super::content::{Content, Feed};
use super::failure::Failure;
use super::fault::Break;
use super::list::number;
use super::object::Object;
use super::selector::Selector;
use super::shared::Shared;
use super::store::Change;
use super::view::View;
use hyper::body::Bytes;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, sleep_until};

/// Changes looked at in one go.
const CHANGES_MAX: usize = 512;

/// Bytes of events sent in one chunk, about.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a watch lasts that does not say (the real server: 30 to 60 minutes).
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Time that the last events get before a fault breaks the watch off.
const BREAK_PAUSE: Duration = Duration::from_millis(30);

/// One watch.
struct Watch {
    shared: Arc<Shared>,
    ask: Ask,
    view: View,
    selector: Selector,
    feed: Feed,
    buffer: String,
    cursor: u64,
    sent: usize,
    breaks: Receiver<Break>,
    changed: Receiver<u64>,
    ends: Instant,
}

/// Why a watch is over.
enum End {
    /// Its time is up, or the client left.
    Quiet,
    /// A fault: the connection breaks.
    Broken,
    /// With an ERROR event.
    Failed(Failure),
}

/// Begins a watch and answers its body.
///
/// # Errors
/// 400, 410 for a version that is forgotten, 422 for options that do not go together.
pub fn begin(shared: &Arc<Shared>, ask: Ask, view: View) -> Result<Content, Failure> {
    let selector = Selector::read(ask.option("labelSelector"), ask.option("fieldSelector"))?;
    selector.check(ask.resource)?;
    let asked = number(&ask, "resourceVersion")?.unwrap_or(0);
    let timeout = number(&ask, "timeoutSeconds")?.filter(|seconds| *seconds > 0).map_or(TIMEOUT, Duration::from_secs);
    let faults = shared.faults.state();
    let streams = check_streaming(&ask, faults.is_streaming_refused)?;
    let (changed, breaks) = (shared.changed.subscribe(), shared.faults.breaks());
    let (initial, cursor) = {
        let store = shared.store();
        if let (Some(true), true) = (streams, asked > store.version()) {
            return Err(Failure::too_new(asked, store.version()));
        }
        // Without a version a watch begins with what is there; with `sendInitialEvents=false` it does not.
        if streams == Some(true) || (streams.is_none() && asked == 0) {
            let all = store.all(ask.resource, &ask.namespace).map(|(_, object)| object.clone());
            (Some(all.collect::<Vec<_>>()), store.version())
        } else if asked == 0 {
            (None, store.version())
        } else {
            // If it is too old the watch finds that out itself, and says so in an event, when it may.
            match store.since(ask.resource, asked, 1) {
                Err(failure) if !faults.is_expiry_streamed => return Err(failure),
                _ => {}
            }
            (None, asked)
        }
    };
    let (feed, content) = Content::stream();
    let ends = Instant::now() + timeout;
    let shared = shared.clone();
    let watch =
        Watch { shared, ask, view, selector, feed, buffer: String::new(), cursor, sent: 0, breaks, changed, ends };
    tokio::spawn(watch.run(initial, streams == Some(true)));
    Ok(content)
}

/// Whether the list comes first; nothing when the option is not given.
fn check_streaming(ask: &Ask, is_refused: bool) -> Result<Option<bool>, Failure> {
    let matching = ask.option("resourceVersionMatch");
    let option = ask.option("sendInitialEvents");
    if option.is_empty() {
        if !matching.is_empty() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(Failure::invalid_option("resourceVersionMatch", why));
        }
        return Ok(None);
    }
    if is_refused {
        let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(Failure::invalid_option("sendInitialEvents", why));
    }
    if matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(Failure::invalid_option("resourceVersionMatch", why));
    }
    Ok(Some(option == "true" || option == "1"))
}

impl Watch {
    async fn run(mut self, initial: Option<Vec<Arc<Object>>>, is_streaming: bool) {
        let end = match self.all(initial, is_streaming).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            End::Quiet => {}
            // An error in the middle of the body: hyper closes the connection (HTTP/1.1) or resets the stream.
            End::Broken => {
                // What was sent before has to arrive: a reset of an HTTP/2 stream throws away what waits to be written.
                sleep(BREAK_PAUSE).await;
                drop(self.feed.send(Err(io::Error::other("broken off by the test"))).await);
            }
            End::Failed(failure) => {
                self.buffer.clear();
                self.event("ERROR", &failure.status().to_string());
                let _ = self.flush().await;
            }
        }
    }

    async fn all(
        &mut self,
        initial: Option<Vec<Arc<Object>>>,
        is_streaming: bool,
    ) -> Result<std::convert::Infallible, End> {
        if let Some(initial) = initial {
            let delay = self.shared.faults.state().list_delay;
            sleep(delay).await;
            for object in initial {
                if self.selector.matches(object.value()) {
                    self.event("ADDED", &self.view.object(self.ask.resource, &object));
                    self.flush_when_full().await?;
                }
            }
            if is_streaming {
                self.event("BOOKMARK", &self.view.bookmark(self.ask.resource, self.cursor, true));
            }
            self.flush().await?;
        }
        loop {
            self.changed.mark_unchanged();
            let (changes, current) = {
                let store = self.shared.store();
                let found = store.since(self.ask.resource, self.cursor, CHANGES_MAX).map_err(End::Failed)?;
                (found, store.version())
            };
            if changes.is_empty() {
                self.cursor = self.cursor.max(current);
                self.wait().await?;
            }
            for change in changes {
                self.tell(&change).await?;
                self.cursor = change.version;
            }
            self.flush().await?;
        }
    }

    /// Waits until something may have changed; meanwhile sends bookmarks.
    async fn wait(&mut self) -> Result<(), End> {
        let every = self.shared.faults.state().bookmark_every;
        tokio::select! {
            _ = self.changed.changed() => Ok(()),
            // A fault comes before the quiet ends, because a test asked for it.
            _ = self.breaks.changed() => Err(self.broken()),
            () = self.feed.closed() => Err(End::Quiet),
            () = sleep_until(self.ends.into()) => Err(End::Quiet),
            () = sleep(every) => {
                if self.ask.is_set("allowWatchBookmarks") {
                    self.event("BOOKMARK", &self.view.bookmark(self.ask.resource, self.cursor, false));
                    return self.flush().await;
                }
                Ok(())
            }
        }
    }

    fn broken(&self) -> End {
        if self.breaks.borrow().is_expiry {
            End::Failed(Failure::too_old(self.cursor, self.cursor + 1))
        } else {
            End::Broken
        }
    }

    /// Sends what a change is to this watch's selectors.
    async fn tell(&mut self, change: &Change) -> Result<(), End> {
        let is_in = |object: &Object| {
            (self.ask.namespace.is_empty() || object.namespace() == self.ask.namespace)
                && (self.selector.is_empty() || self.selector.matches(object.value()))
        };
        let before = change.old.as_deref().is_some_and(is_in);
        let after = !change.deleted && is_in(&change.new);
        let faults = self.shared.faults.state();
        let text = match (before, after) {
            (false, false) => return Ok(()),
            (true, false) if !change.deleted => {
                // It left the selection: the last state that was in it, at the version of the change.
                let old = change.old.as_ref().map_or(Value::Null, |old| old.value().clone());
                self.view.object(self.ask.resource, &Object::new(old, change.version, Vec::new()))
            }
            _ => self.view.object(self.ask.resource, &change.new),
        };
        if let Some(delay) = faults.delays.get(self.ask.resource.plural) {
            self.flush().await?;
            tokio::select! {
                () = sleep_until((change.at + *delay).into()) => {}
                _ = self.breaks.changed() => return Err(self.broken()),
                () = self.feed.closed() => return Err(End::Quiet),
            }
        }
        let kind = match (before, after) {
            (false, _) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        for _ in 0..=usize::from(faults.duplicates) {
            self.event(kind, &text);
        }
        self.sent += 1;
        if faults.watch_events_max.is_some_and(|max| self.sent >= max) {
            self.flush().await?;
            return Err(End::Broken);
        }
        self.flush_when_full().await
    }

    fn event(&mut self, kind: &str, object: &str) {
        for part in [r#"{"type":""#, kind, r#"","object":"#, object, "}\n"] {
            self.buffer.push_str(part);
        }
    }

    async fn flush_when_full(&mut self) -> Result<(), End> {
        if self.buffer.len() >= CHUNK_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.shared.faults.wait_while_hanging().await;
        if self.breaks.has_changed().unwrap_or(false) {
            return Err(self.broken());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.feed.send(Ok(chunk)).await.map_err(|_| End::Quiet)
    }
}
