//! The control room: reads Kubernetes objects, keeps them, and translates them into Snapshots.
//!
//! Owns: the words of Kubernetes, which are spoken nowhere else. Goes in: a directory of manifests, and
//! [`config::Objects`]. Comes out: [`Translated`], a Snapshot with everything that its owners should know.
//! Does not publish: that is [`crate::publish`]'s work, called by whoever owns the sink.

pub mod object;
pub mod reason;
pub mod source;
pub mod store;
pub mod translate;

pub use source::directory::SourceError;
pub use source::directory::watch::Watch;

use crate::config;
use lb_core::{Problem, Snapshot};
use source::directory::Directory;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;

/// What a state of the configuration means.
#[derive(Debug)]
pub struct Translated {
    /// What serves. Its version is left 0 for the publisher.
    pub snapshot: Snapshot,
    /// What its owners should know: Faults first, then by object. A function of the state, not of its history.
    pub problems: Vec<Problem>,
    /// Objects that were read and are kept.
    pub objects: usize,
}

/// Reads a directory once.
///
/// # Errors
/// [`SourceError`], when the directory itself cannot be read. Everything inside it becomes a Problem instead.
pub fn load_directory(dir: &Path, objects: &config::Objects) -> Result<Translated, SourceError> {
    let mut directory = Directory::open(dir, objects)?;
    directory.scan(Instant::now(), &mut |_| false);
    Ok(translated(directory.store(), directory.problems(), objects))
}

/// Reads a directory whole, calls `sink` once, then watches on a thread of its own and calls `sink` after each change
/// that makes a difference. Dropping the answer stops the thread and waits for it.
///
/// # Errors
/// [`SourceError`], when the directory cannot be read or not be watched.
pub fn watch_directory(
    dir: &Path,
    objects: &config::Objects,
    mut sink: impl FnMut(Translated) + Send + 'static,
) -> Result<Watch, SourceError> {
    let limits = objects.clone();
    source::directory::watch::start(dir, objects, move |store, problems| {
        let translated = translated(store, problems, &limits);
        let expires_s = translated.snapshot.certificates.entries().iter().map(|(_, c)| c.not_after_s).min();
        sink(translated);
        expires_s
    })
}

fn translated(store: &Store, mut problems: Vec<Problem>, objects: &config::Objects) -> Translated {
    let (snapshot, more) = translate::translate(store, objects, now_s());
    problems.extend(more);
    translate::report::sort(&mut problems);
    Translated { snapshot, problems, objects: store.len() }
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
