//! The cluster source: the objects of a Kubernetes API, on a thread of its own.
//!
//! Goes in: an API server. Comes out: a call with the [`Store`] after every change, the first one when everything that is needed
//! was read. The first event is translated at once; what arrives meanwhile is one more translation. When the server is
//! gone, what was heard last stays, and [`Feeds`] tell how old it is. Only this file and those beside it talk to the API to
//! read; none of it is on the request path.

mod course;
mod follow;
mod intake;
mod references;
mod scope;
mod session;
mod wanted;
mod wire;

pub use intake::Change;
pub use session::SessionError;

use super::super::admission::queue::{Ask, Reviews};
use super::super::names::Names;
use super::super::reason;
use super::super::store::Store;
use super::watcher::Watcher;
use crate::config;
use crate::telemetry::{Feed, Feeds};
use course::Fault;
use follow::Ear;
use intake::{Intake, problem};
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::Severity;
use scope::{Scope, Watched};
use session::Session;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, LocalSet};
use wanted::Wanted;
use wire::Item;

/// How long a translation waits for a Secret that was named just now. It mostly takes a few milliseconds; without it the
/// owner would be told that the Secret is missing.
const NAMED_WAIT: Duration = Duration::from_millis(250);

/// How long the first translation waits for them: as long as they may take to work or to fail.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// A cluster that is watched. Dropping it stops the watching, and waits until the last call has returned.
#[derive(Debug)]
pub struct Watch {
    // Dropped in this order: the thread is told before it is waited for.
    /// Takes how long leaving may take.
    stop: oneshot::Sender<Duration>,
    thread: Watcher,
}

impl Watch {
    /// Stops, after the API was told, which takes no longer than this.
    pub fn leave(self, time_max: Duration) {
        // The thread has ended already when nobody takes it.
        self.stop.send(time_max).unwrap_or_default();
        drop(self.thread);
    }
}

/// Watches a cluster. Returns when there is a client; the API server need not answer yet.
///
/// `begin` gets the client, on the thread and in the runtime that drive it, and answers what is called after each change, and what
/// is called once when the watching is to end, beside which changes are told still. The former answers when the
/// time alone will change what it made of the objects, seconds since 1970: it is called again then. `reviews` are answered
/// between two changes.
///
/// # Errors
/// [`SessionError`].
pub fn start<F, L>(
    settings: &config::Cluster,
    objects: &config::Objects,
    report: &config::Report,
    feeds: Arc<Feeds>,
    reviews: Option<Reviews>,
    begin: impl FnOnce(kube::Client) -> (F, L) + Send + 'static,
) -> Result<Watch, SessionError>
where
    F: FnMut(&Store, Vec<Problem>, Change) -> Option<i64>,
    L: AsyncFnOnce(Duration),
{
    let (stop, stopped) = oneshot::channel();
    let (opened, opening) = mpsc::channel();
    let (settings, objects, report) = (settings.clone(), objects.clone(), report.clone());
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(SessionError::Thread(error)))),
        };
        let all = async {
            let session = match Session::open(&settings).await {
                Ok(session) => session,
                Err(error) => return drop(opened.send(Err(error))),
            };
            feeds.found(session.address());
            tracing::info!(server = session.address(), "watching the cluster");
            // Whoever started this waits for it.
            drop(opened.send(Ok(())));
            let (changed, leave) = begin(session.client().1);
            let end = async {
                if let Ok(time_max) = stopped.await {
                    leave(time_max).await;
                }
            };
            tokio::select! {
                () = watch(session, (&settings, &objects, &report), feeds, reviews, changed) => {}
                () = end => {}
            }
        };
        LocalSet::new().block_on(&runtime, all);
    };
    let thread = thread::Builder::new().name("cluster".to_owned()).spawn(work).map_err(SessionError::Thread)?;
    match opening.recv() {
        Ok(Ok(())) => Ok(Watch { stop, thread: Watcher::new(thread) }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(SessionError::Thread(std::io::Error::other("it ended at once"))),
    }
}

async fn watch(
    session: Session,
    (settings, objects, report): (&config::Cluster, &config::Objects, &config::Report),
    feeds: Arc<Feeds>,
    mut reviews: Option<Reviews>,
    mut changed: impl FnMut(&Store, Vec<Problem>, Change) -> Option<i64>,
) {
    let intake = Intake::new(objects.objects_max, settings.namespace_selector.is_some());
    let (intake, wake) = (Rc::new(RefCell::new(intake)), Arc::new(Notify::new()));
    let names = objects.external_names.as_ref().map(|settings| {
        let wake = wake.clone();
        Names::start(settings, move || wake.notify_one())
    });
    let mut watches = Watches { session: Rc::new(session), feeds, intake, wake, tasks: BTreeMap::new() };
    wanted::needed(settings).into_iter().for_each(|scope| watches.open(scope, true));
    wanted::useful(objects, report).into_iter().for_each(|scope| watches.open(scope, false));
    let mut wanted = Wanted::default();
    let (mut stale_at_s, mut published) = (None, false);
    loop {
        let ask = tokio::select! {
            () = watches.woken(stale_at_s) => None,
            ask = asked(&mut reviews) => Some(ask),
        };
        if let Some(ask) = ask {
            if let Some(reviews) = reviews.as_mut().filter(|_| published) {
                watches.review(reviews, ask, settings);
            }
            // However many are asked for, what the watches tell is heard in between.
            tokio::task::yield_now().await;
            continue;
        }
        if !watches.intake.borrow().is_whole() {
            continue;
        }
        wanted.look(&watches.intake.borrow(), objects);
        watches.follow_named(&wanted.scopes);
        watches.settle(if published { NAMED_WAIT } else { FIRST_WAIT }).await;
        let renamed = names.as_ref().is_some_and(|names| names.follow(watches.intake.borrow_mut().store_mut()));
        let mut change = watches.intake.borrow_mut().take_changed();
        if renamed || is_over(stale_at_s) {
            change = Change::Content;
        }
        if change != Change::Nothing {
            let intake = watches.intake.borrow();
            let problems = intake.problems().into_iter().chain(wanted.problems.iter().cloned()).collect();
            stale_at_s = changed(intake.store(), problems, change);
            published = true;
        }
    }
}

/// All watches, with what they tell.
struct Watches {
    session: Rc<Session>,
    feeds: Arc<Feeds>,
    intake: Rc<RefCell<Intake>>,
    wake: Arc<Notify>,
    /// The tasks of those that come and go with what names them, and `None` for the others.
    tasks: BTreeMap<Scope, Option<AbortHandle>>,
}

impl Watches {
    fn open(&mut self, scope: Scope, needed: bool) {
        let task = self.follow(scope.clone(), needed);
        // It runs until the thread ends.
        drop(task);
        self.tasks.insert(scope, None);
    }

    fn follow(&self, scope: Scope, needed: bool) -> AbortHandle {
        self.intake.borrow_mut().open(scope.clone(), needed);
        let feed = self.feeds.open(scope.watched.name(), scope.to_string(), Instant::now());
        let (intake, wake) = (self.intake.clone(), self.wake.clone());
        let ear = Listener { scope: scope.clone(), intake, wake, feed: feed.clone() };
        tokio::task::spawn_local(follow::follow(scope, self.session.clone(), feed, ear)).abort_handle()
    }

    /// Follows exactly these beside those that are always followed.
    fn follow_named(&mut self, wanted: &[Scope]) {
        self.tasks.retain(|scope, task| {
            let Some(task) = task.as_ref().filter(|_| !wanted.contains(scope)) else { return true };
            task.abort();
            self.intake.borrow_mut().close(scope);
            false
        });
        for scope in wanted {
            if !self.tasks.contains_key(scope) {
                let task = self.follow(scope.clone(), false);
                self.tasks.insert(scope.clone(), Some(task));
            }
        }
    }

    /// Answers a review. Changes that were heard and not yet translated are in it.
    fn review(&self, reviews: &mut Reviews, ask: Ask, settings: &config::Cluster) {
        let mut intake = self.intake.borrow_mut();
        let selected =
            |namespace: &str| settings.namespaces.is_empty() || settings.namespaces.iter().any(|n| n == namespace);
        let (store, has_namespace) = intake.store_and_namespaces();
        let now_s = i64::try_from(now_s()).unwrap_or(i64::MAX);
        reviews.answer(ask, store, |namespace| selected(namespace) && has_namespace(namespace), now_s);
    }

    /// Waits until something was heard, or the time has come.
    async fn woken(&self, stale_at_s: Option<i64>) {
        let wait = stale_at_s.map(|at| u64::try_from(at).unwrap_or(0).saturating_sub(now_s()).clamp(1, 3_600));
        let wait = Duration::from_secs(wait.unwrap_or(3_600));
        drop(tokio::time::timeout(wait, self.wake.notified()).await);
    }

    /// Waits a little for what was not heard yet and is named only now.
    async fn settle(&self, wait: Duration) {
        let settled = async {
            while !self.intake.borrow().is_settled() {
                self.wake.notified().await;
            }
        };
        drop(tokio::time::timeout(wait, settled).await);
    }
}

/// The next review; never, where there are none.
async fn asked(reviews: &mut Option<Reviews>) -> Ask {
    if let Some(reviews) = reviews
        && let Some(ask) = reviews.next().await
    {
        return ask;
    }
    std::future::pending().await
}

fn is_over(at_s: Option<i64>) -> bool {
    at_s.is_some_and(|at| u64::try_from(at).is_ok_and(|at| now_s() >= at))
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Listens to one scope.
struct Listener {
    scope: Scope,
    intake: Rc<RefCell<Intake>>,
    wake: Arc<Notify>,
    feed: Arc<Feed>,
}

impl Listener {
    fn tell(&self, tell: impl FnOnce(&mut Intake)) {
        tell(&mut self.intake.borrow_mut());
        self.wake.notify_one();
    }
}

impl Ear for Listener {
    fn begins(&self) {
        self.tell(|intake| intake.begins(&self.scope));
    }

    fn put(&self, item: Item) {
        if let Err(unreadable) = &item.object {
            tracing::warn!(object = %item.key, field = unreadable.field, why = unreadable.why, "an object cannot be read");
            self.feed.failed("unreadable", None);
        }
        self.tell(|intake| intake.put(&self.scope, item));
    }

    fn gone(&self, key: &ObjectRef) {
        self.tell(|intake| intake.gone(&self.scope, key));
    }

    fn whole(&self) {
        tracing::debug!(scope = %self.scope, "read whole");
        self.tell(|intake| intake.whole(&self.scope));
    }

    fn failed(&self, fault: &Fault) {
        match fault {
            Fault::Forbidden(_) => {
                tracing::error!(scope = %self.scope, fault = fault.words(), needed = self.scope.rule(), "may not be read");
            }
            _ => tracing::warn!(scope = %self.scope, fault = fault.words(), "a watch does not work"),
        }
        let denied = matches!(fault, Fault::Forbidden(_)).then(|| forbidden(&self.scope, fault));
        self.tell(|intake| intake.failed(&self.scope, denied));
    }

    fn works(&self) {
        self.tell(|intake| intake.works(&self.scope));
    }
}

/// What may not be read, and what has to be allowed.
fn forbidden(scope: &Scope, fault: &Fault) -> Problem {
    let kind = match scope.watched {
        Watched::Object(kind) => kind,
        Watched::Namespace => Kind::File,
    };
    let object = ObjectRef::new(kind, scope.namespace.clone().unwrap_or_default(), "*");
    let message = format!("{scope} may not be read: {}.", fault.words());
    let remedy = format!("Bind {} to our service account.", scope.rule());
    problem(Severity::Fault, &object, "", reason::FORBIDDEN, message, &remedy)
}
