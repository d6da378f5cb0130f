//! Watching: a thread that waits for inotify, scans, and tells when something changed.
//!
//! Goes in: events of the directories that decide what is read. Comes out: a call for each change. The first event is
//! handled at once; what arrives meanwhile is one more scan. A file that a process is writing is left alone until it is
//! closed, or nothing was written for [`SETTLE`]. Events only say that it is time to look: a scan compares stamps, so a
//! lost event (queue overflow, network file systems) costs at most [`RESCAN`]. When all that was heard is that known
//! files have other contents, these alone are looked at: a scan of ten thousand takes longer than a change may.

use super::super::super::names::Names;
use super::super::super::reason;
use super::super::super::store::Store;
use super::super::watcher::Watcher as Handle;
use super::{Directory, SETTLE, SourceError, file_problem};
use crate::config;
use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use lb_core::Problem;
use lb_core::problem::Severity;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a scan is made although nothing was heard. It costs one `stat` a file.
pub const RESCAN: Duration = Duration::from_secs(10);

/// Bytes for events of one read: 256 of the largest (16 bytes and a name of 256).
const EVENT_BYTES: usize = 256 * 272;

/// A directory that is watched. Dropping it stops the watching, and waits until the last call has returned.
#[derive(Debug)]
pub struct Watch {
    // Dropped in this order: the thread is told before it is waited for.
    _stop: PipeWriter,
    _thread: Handle,
}

/// Reads a directory, calls `changed` once, and goes on calling it from a thread of its own.
///
/// `changed` answers when the time alone will change what it made of the objects, seconds since 1970: it is called
/// again then.
///
/// # Errors
/// [`SourceError`].
pub fn start(
    root: &Path,
    limits: &config::Objects,
    changed: impl FnMut(&Store, Vec<Problem>) -> Option<i64> + Send + 'static,
) -> Result<Watch, SourceError> {
    let directory = Directory::open(root, limits)?;
    let unwatchable = |source| SourceError::Unwatchable { path: root.to_owned(), source };
    let inotify = Inotify::init().map_err(unwatchable)?;
    let (stopped, stop) = io::pipe().map_err(unwatchable)?;
    let (named, naming) = io::pipe().map_err(unwatchable)?;
    let names = limits.external_names.as_ref().map(|settings| {
        // It has room: one byte is written until it is read. Nobody reads once the watching has ended.
        Names::start(settings, move || drop((&naming).write(&[0])))
    });
    let mut watcher = Watcher {
        directory,
        inotify,
        watched: HashMap::new(),
        refused: HashMap::new(),
        writing: HashMap::new(),
        touched: BTreeSet::new(),
        again: None,
        stale_at_s: None,
        names,
        named,
        changed,
    };
    watcher.scan();
    watcher.tell();
    let thread = thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(move || watcher.run(&stopped))
        .map_err(unwatchable)?;
    Ok(Watch { _stop: stop, _thread: Handle::new(thread) })
}

struct Watcher<F> {
    directory: Directory,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, PathBuf>,
    /// Directories that inotify did not take, with its reason.
    refused: HashMap<PathBuf, String>,
    /// Files that somebody writes, with the time at which they count as written although nobody closed them.
    writing: HashMap<PathBuf, Instant>,
    /// Known files that were heard to have other contents.
    touched: BTreeSet<PathBuf>,
    /// When to scan although nothing was heard.
    again: Option<Instant>,
    stale_at_s: Option<i64>,
    /// Hosts that Services name, if these are resolved.
    names: Option<Names>,
    /// Has a byte when something is known of them.
    named: PipeReader,
    changed: F,
}

impl<F: FnMut(&Store, Vec<Problem>) -> Option<i64>> Watcher<F> {
    fn run(&mut self, stopped: &PipeReader) {
        let mut rescan_at = Instant::now() + RESCAN;
        loop {
            let wake_at = self.writing.values().copied().chain(self.again).fold(rescan_at, Instant::min);
            let named = self.names.as_ref().map(|_| &self.named);
            let heard = match wait(&self.inotify, stopped, named, wake_at.saturating_duration_since(Instant::now())) {
                Woken::Stopped => return,
                Woken::Events => self.events(),
                Woken::Time => Heard::Anything,
                Woken::Named => Heard::Names,
            };
            let now = Instant::now();
            let changed = match heard {
                Heard::Nothing => continue,
                Heard::Names => self.take_names(),
                Heard::Contents => self.look(now),
                Heard::Anything => {
                    rescan_at = now + RESCAN;
                    self.writing.retain(|_, until| *until > now);
                    self.scan()
                }
            };
            if changed || self.is_stale() {
                self.tell();
            }
        }
    }

    /// Looks at the files that were touched, or at everything when that does not do.
    fn look(&mut self, now: Instant) -> bool {
        let touched = std::mem::take(&mut self.touched);
        // Those that are being written are looked at when that ends.
        let files = touched.iter().filter(|path| !self.writing.contains_key(*path)).map(PathBuf::as_path);
        match self.directory.look_at(files, now) {
            Some(scan) => {
                self.again = self.again.into_iter().chain(scan.again).min();
                scan.changed
            }
            None => self.scan(),
        }
    }

    /// Scans until no directory is left that was not watched while it was read.
    fn scan(&mut self) -> bool {
        let mut changed = false;
        self.touched.clear();
        loop {
            let writing = &self.writing;
            let scan = self.directory.scan(Instant::now(), &mut |path| writing.contains_key(path));
            changed |= scan.changed;
            self.again = scan.again;
            let refused = self.refused.len();
            let added = self.watch_directories();
            changed |= self.refused.len() != refused;
            if !added {
                return changed;
            }
        }
    }

    /// Takes in what was found about names.
    fn take_names(&mut self) -> bool {
        // There is a byte, so this does not wait; and it does not fail.
        let _ = (&self.named).read(&mut [0]);
        self.names.as_ref().is_some_and(|names| names.follow(self.directory.store_mut()))
    }

    fn tell(&mut self) {
        if let Some(names) = &self.names {
            names.follow(self.directory.store_mut());
        }
        let mut problems = self.directory.problems();
        problems.extend(self.refused.iter().map(|(path, why)| not_watched(path, why)));
        self.stale_at_s = (self.changed)(self.directory.store(), problems);
    }

    fn is_stale(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.stale_at_s.is_some_and(|at| u64::try_from(at).is_ok_and(|at| now.as_secs() >= at))
    }

    /// Watches what is not watched yet and lets go of the rest. Answers whether a watch was added.
    fn watch_directories(&mut self) -> bool {
        let wanted = self.directory.directories();
        let mut watches = self.inotify.watches();
        self.watched.retain(|descriptor, path| {
            let keep = wanted.contains_key(path);
            if !keep {
                // Fails only when the directory is gone, and the watch with it.
                let _ = watches.remove(descriptor.clone());
            }
            keep
        });
        self.refused.retain(|path, _| wanted.contains_key(path));
        let mut added = false;
        let watched: HashSet<&PathBuf> = self.watched.values().collect();
        let new: Vec<PathBuf> = wanted.keys().filter(|path| !watched.contains(path)).cloned().collect();
        for path in new {
            match watches.add(&path, mask()) {
                Ok(descriptor) => {
                    self.refused.remove(&path);
                    self.watched.insert(descriptor, path);
                    added = true;
                }
                // Gone since the scan: the watch of its parent tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => drop(self.refused.insert(path, error.to_string())),
            }
        }
        added
    }

    /// Takes in what inotify has to say.
    fn events(&mut self) -> Heard {
        let mut buffer = [0; EVENT_BYTES];
        let mut heard = Heard::Nothing;
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                // Not expected; a pause, so that the thread cannot spin, and a scan for what was missed.
                Err(_) => {
                    thread::sleep(SETTLE);
                    return Heard::Anything;
                }
            };
            for event in events {
                heard = heard.max(self.event(&event));
            }
        }
    }

    /// Takes in one event.
    fn event(&mut self, event: &Event<&OsStr>) -> Heard {
        if event.mask.intersects(EventMask::IGNORED | EventMask::MOVE_SELF | EventMask::DELETE_SELF) {
            self.watched.remove(&event.wd);
            return Heard::Anything;
        }
        let Some((directory, name)) = self.watched.get(&event.wd).zip(event.name) else {
            // A queue overflow, or an event of a watch that was let go.
            return Heard::Anything;
        };
        let interest = self.directory.directories().get(directory);
        let file = interest.is_some_and(|interest| interest.in_file(name));
        // A hidden name is never read by itself: it is what an editor or a rename begins with.
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !file && (hidden || !interest.is_some_and(|interest| interest.every)) {
            return Heard::Nothing;
        }
        let path = directory.join(name);
        let written = event.mask.intersects(EventMask::MODIFY | EventMask::CREATE);
        if written && file && !event.mask.contains(EventMask::ISDIR) {
            self.writing.insert(path, Instant::now() + SETTLE);
        } else if !written && !event.mask.contains(EventMask::ATTRIB) {
            self.writing.remove(&path);
        }
        if event.mask.contains(EventMask::MODIFY) {
            return Heard::Nothing;
        }
        if file && event.mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
            self.touched.insert(directory.join(name));
            return Heard::Contents;
        }
        Heard::Anything
    }
}

/// What events say, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// Nothing that matters yet.
    Nothing,
    /// Something is known of hosts that Services name.
    Names,
    /// Files have other contents.
    Contents,
    /// Anything may have changed.
    Anything,
}

enum Woken {
    Stopped,
    Events,
    Time,
    Named,
}

fn wait(inotify: &Inotify, stopped: &PipeReader, named: Option<&PipeReader>, time: Duration) -> Woken {
    // Rounded up, so that the time has come when poll says so.
    let milliseconds = u16::try_from(time.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![readable(stopped.as_fd()), readable(inotify.as_fd())];
    fds.extend(named.map(|named| readable(named.as_fd())));
    match poll(&mut fds, PollTimeout::from(milliseconds)) {
        Err(nix::errno::Errno::EINTR) | Ok(0) => Woken::Time,
        // Not possible with two valid descriptors; a pause, so that the thread cannot spin.
        Err(_) => {
            thread::sleep(SETTLE);
            Woken::Time
        }
        Ok(_) if fds[0].any() == Some(true) => Woken::Stopped,
        Ok(_) if fds[1].any() == Some(true) => Woken::Events,
        Ok(_) => Woken::Named,
    }
}

fn mask() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR
}

fn not_watched(path: &Path, why: &str) -> Problem {
    let seconds = RESCAN.as_secs();
    let message = format!("The directory cannot be watched ({why}); changes are seen within {seconds} s.");
    let remedy = "Raise fs.inotify.max_user_watches.";
    file_problem(Severity::Note, path, reason::NOT_WATCHED, message, remedy)
}

#[cfg(test)]
mod tests;
