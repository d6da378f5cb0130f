//! The control room: reads Kubernetes objects, keeps them, and translates them into Snapshots.
//!
//! Owns: the words of Kubernetes, which are spoken nowhere else. Goes in: a directory of manifests or the API of a cluster,
//! and [`config::Objects`]. Comes out: [`Translated`], a Snapshot with everything that its owners should know.
//! Does not publish: that is [`crate::publish`]'s work, called by whoever owns the sink.

pub mod admission;
pub mod few;
pub mod message;
pub mod names;
pub mod object;
pub mod reason;
pub mod report;
pub mod source;
pub mod store;
pub mod translate;

pub use source::cluster::{SessionError, Watch as ClusterWatch};
pub use source::directory::SourceError;
pub use source::directory::watch::Watch;

use crate::config;
use crate::telemetry::Feeds;
use lb_core::model::{Kind, ObjectRef};
use lb_core::{Problem, Snapshot};
use report::Reporter;
use source::cluster::Change;
use source::directory::Directory;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use store::journal::Mark;
use translate::Translator;

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
    Ok(translated(&mut Translator::default(), directory.store(), directory.problems(), objects))
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
    let mut translator = Translator::default();
    source::directory::watch::start(dir, objects, move |store, problems| {
        let translated = translated(&mut translator, store, problems, &limits);
        sink(translated);
        translator.stale_at_s()
    })
}

/// Watches the API of a cluster on a thread of its own, and calls `sink` when everything that is needed was read, and then
/// after each change. Returns before that, also when the API server does not answer; `feeds` tell how it stands, and `reports` what
/// was written. `reviews` are answered on that thread, between two changes. Dropping the answer stops the thread and waits for it; [`ClusterWatch::leave`] tells the API before.
///
/// # Errors
/// [`SessionError`], when there are no credentials.
pub fn watch_cluster(
    cluster: &config::Cluster,
    objects: &config::Objects,
    report: &config::Report,
    feeds: Arc<Feeds>,
    reports: Arc<OnceLock<report::Teller>>,
    reviews: Option<admission::queue::Reviews>,
    mut sink: impl FnMut(Translated) + Send + 'static,
) -> Result<ClusterWatch, SessionError> {
    let (limits, settings) = (objects.clone(), report::Settings::new(report.clone(), objects));
    source::cluster::start(cluster, objects, report, feeds, reviews, move |client| {
        let reporter = Reporter::start(client, settings);
        let teller = reports.get_or_init(|| reporter.teller()).clone();
        let (mut translator, mut told, mut ours) = (Translator::default(), Vec::new(), Ours::default());
        let changed = move |store: &Store, problems: Vec<Problem>, change: Change| {
            if change == Change::Content {
                let translated = translated(&mut translator, store, problems, &limits);
                told.clone_from(&translated.problems);
                // What serves comes first: nobody waits for what is said about it.
                sink(translated);
            }
            let served = ours.served(&translator, store);
            teller.tell(report::State { store, served, problems: &told, ready: true });
            translator.stale_at_s()
        };
        (changed, async move |time_max| reporter.leave(time_max).await)
    })
}

/// The Ingresses that are ours: looking through ten thousand takes longer than a change of endpoints.
#[derive(Default)]
struct Ours {
    served: Vec<Arc<ObjectRef>>,
    mark: Option<Mark>,
}

impl Ours {
    /// They are others only when an Ingress is, or what decides about classes.
    fn served(&mut self, translator: &Translator, store: &Store) -> Vec<Arc<ObjectRef>> {
        let decides = |name: &Arc<ObjectRef>| matches!(name.kind, Kind::Ingress | Kind::IngressClass | Kind::ConfigMap);
        let known = self.mark.as_ref().and_then(|mark| store.changes(mark));
        if known.is_none_or(|mut names| names.any(decides)) {
            self.served = translator.served(store);
        }
        self.mark = Some(store.mark());
        self.served.clone()
    }
}

fn translated(
    translator: &mut Translator,
    store: &Store,
    mut problems: Vec<Problem>,
    objects: &config::Objects,
) -> Translated {
    let (snapshot, more) = translator.translate(store, objects, now_s());
    problems.extend(more);
    translate::report::sort(&mut problems);
    Translated { snapshot, problems, objects: store.len() }
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Objects;
    use lb_core::explain::{Question, explain};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// The first Ingress to serve, with endpoints beside it.
    const FIRST: &str = include_str!("../../tests/data/translate/first-served.yaml");

    fn endpoints(translated: &Translated) -> usize {
        let question = Question { secure: false, authority: "localhost:8080", target: "/cart/items?x=1", client: None };
        explain(&translated.snapshot, question).endpoints.len()
    }

    #[test]
    fn a_directory_becomes_a_snapshot() {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(root.path().join("first.yaml"), FIRST).expect("written");
        let translated = load_directory(root.path(), &Objects::default()).expect("readable");
        let reasons: Vec<&str> = translated.problems.iter().map(|p| p.reason).collect();
        assert_eq!((translated.objects, endpoints(&translated), reasons), (3, 3, vec![reason::KIND_NOT_READ]));
        assert!(load_directory(&root.path().join("absent"), &Objects::default()).is_err());
    }

    #[test]
    fn an_edit_becomes_another_snapshot() {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(root.path().join("first.yaml"), FIRST).expect("written");
        let (sender, receiver) = channel();
        // Nobody listens any more once the test is over.
        let sink = move |translated: Translated| sender.send(endpoints(&translated)).unwrap_or_default();
        let watch = watch_directory(root.path(), &Objects::default(), sink).expect("watched");
        assert_eq!(receiver.try_recv(), Ok(3), "the first Snapshot is there before the call returns");
        let edited = FIRST.replace("- addresses: [127.0.0.3]\n", "");
        std::fs::write(root.path().join("first.yaml"), edited).expect("written");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(2));
        drop(watch);
        assert!(receiver.recv().is_err());
    }
}
