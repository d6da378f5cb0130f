//! The thread that watches a source, as its owner holds it.
//!
//! Goes in: a thread that ends when it is told to. Comes out: a [`Watcher`] that waits for that end when it is dropped. Does not do: telling it.

use std::thread::{self, JoinHandle};

/// A thread that was told to end before this is dropped: dropping it waits until the last call has returned. A thread that
/// drops its own does not wait for itself.
#[derive(Debug)]
pub struct Watcher(Option<JoinHandle<()>>);

impl Watcher {
    /// Of this thread, which has a name.
    #[must_use]
    pub fn new(thread: JoinHandle<()>) -> Self {
        Self(Some(thread))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(thread) = self.0.take().filter(|thread| thread.thread().id() != thread::current().id()) else {
            return;
        };
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::error!(name, "the thread that watched the source had panicked");
        }
    }
}
