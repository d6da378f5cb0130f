//! The directory source: files of manifests, each with its last good objects.
//!
//! Goes in: the files of a directory and of its subdirectories. Comes out: a [`Store`] and Problems. A file that cannot
//! be read, or not wholly, keeps those of its last good objects that it does not redefine; all others serve on.
//! Does not decide when to look: that is [`watch`]'s work.

pub mod read;
pub mod walk;
pub mod watch;

use super::super::object::Object;
use super::super::reason;
use super::super::store::Store;
use super::manifest::{self, Manifest};
use crate::config;
use lb_core::Problem;
use lb_core::model::{Kind, ObjectRef};
use lb_core::problem::{Place, Severity};
use read::{Read, Stamp};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use walk::{Found, Interest};

/// How long a file that had objects must stay empty until that means "no objects". Editors and shells that truncate
/// and then write leave a file empty for well under a millisecond; people do not notice 200 ms.
pub const SETTLE: Duration = Duration::from_millis(200);

/// A directory that cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It does not exist, or may not be read.
    #[error("directory {path} cannot be read")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// inotify does not work here.
    #[error("directory {path} cannot be watched")]
    Unwatchable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A directory and what it said last.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    limits: config::Objects,
    /// By path, as text: see [`walk`].
    files: BTreeMap<OsString, File>,
    store: Store,
    walk_problems: Vec<Problem>,
    /// Directories that decide what is read, as they really are behind symlinks.
    directories: BTreeMap<PathBuf, Interest>,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Objects or Problems are others than before.
    pub changed: bool,
    /// When to look again although nothing may happen until then.
    pub again: Option<Instant>,
}

#[derive(Debug)]
struct File {
    name: Arc<str>,
    stamp: Option<Stamp>,
    entries: Vec<(Object, u32)>,
    problems: Vec<Problem>,
    empty_since: Option<Instant>,
}

impl Directory {
    /// Takes a directory as a source. Nothing is read before the first [`Self::scan`].
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn open(root: &Path, limits: &config::Objects) -> Result<Self, SourceError> {
        std::fs::read_dir(root).map_err(|source| SourceError::Unreadable { path: root.to_owned(), source })?;
        Ok(Self {
            root: root.to_owned(),
            limits: limits.clone(),
            files: BTreeMap::new(),
            store: Store::default(),
            walk_problems: Vec::new(),
            directories: BTreeMap::new(),
        })
    }

    /// Looks at every file, and reads those that changed. A file that `being_written` names is left as it was.
    pub fn scan(&mut self, now: Instant, being_written: &mut dyn FnMut(&Path) -> bool) -> Scan {
        let walked = walk::walk(&self.root, &self.limits, |path| self.files.contains_key(path.as_os_str()));
        let mut scan = Scan { changed: walked.problems != self.walk_problems, again: None };
        self.walk_problems = walked.problems;
        self.directories = walked.directories;
        if walked.complete {
            self.forget(&walked.files, &mut scan);
        }
        for found in &walked.files {
            if !being_written(&found.real) {
                self.look(found, now, &mut scan);
            }
        }
        scan
    }

    /// Looks at single files that are known, given by their paths behind symlinks. `None`, when one of them is none that
    /// a scan would find in the same place: then only a [`Self::scan`] can tell what it means.
    pub fn look_at<'p>(&mut self, paths: impl Iterator<Item = &'p Path>, now: Instant) -> Option<Scan> {
        let mut scan = Scan { changed: false, again: None };
        for real in paths {
            let interest = self.directories.get(real.parent()?)?;
            let name = real.file_name()?;
            let path = interest.listed_as.as_ref()?.join(name);
            let metadata = std::fs::symlink_metadata(real).ok()?;
            // What a symlink leads to may be read by several names.
            if interest.names.contains(name) || !metadata.is_file() || !self.files.contains_key(path.as_os_str()) {
                return None;
            }
            let found = Found { path, real: real.to_owned(), stamp: Some(Stamp::of(&metadata)) };
            self.look(&found, now, &mut scan);
        }
        Some(scan)
    }

    /// What is known.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is known, for what is no file.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// What is wrong with files, and which names are claimed twice.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let files = self.files.values().flat_map(|file| &file.problems);
        self.walk_problems.iter().chain(files).cloned().chain(self.store.problems()).collect()
    }

    /// The directories to watch, as they really are behind symlinks.
    #[must_use]
    pub fn directories(&self) -> &BTreeMap<PathBuf, Interest> {
        &self.directories
    }

    fn forget(&mut self, present: &[Found], scan: &mut Scan) {
        let store = &mut self.store;
        self.files.retain(|path, file| {
            if present.binary_search_by(|found| found.path.as_os_str().cmp(path)).is_ok() {
                return true;
            }
            scan.changed |= !file.entries.is_empty() || !file.problems.is_empty();
            store.replace_file(&file.name, []);
            false
        });
    }

    fn look(&mut self, found: &Found, now: Instant, scan: &mut Scan) {
        if !self.files.contains_key(found.path.as_os_str()) {
            self.files.insert(found.path.clone().into_os_string(), File::new(&found.path));
        }
        let Some(file) = self.files.get_mut(found.path.as_os_str()) else { return };
        if file.stamp.is_some() && file.stamp == found.stamp {
            return;
        }
        let (read, stamp) = read::read(&found.path, self.limits.file_bytes_max);
        if let Read::Text(text) = &read
            && text.is_empty()
            && !file.entries.is_empty()
        {
            let since = *file.empty_since.get_or_insert(now);
            if now.saturating_duration_since(since) < SETTLE {
                scan.again = Some(scan.again.map_or(since + SETTLE, |again| again.min(since + SETTLE)));
                return;
            }
        }
        file.empty_since = None;
        file.stamp = stamp;
        let mut manifest = match read {
            Read::Text(text) => manifest::read(&file.name, &text),
            Read::Refused(problem) => Manifest { problems: vec![*problem], broken: true, ..Manifest::default() },
        };
        if manifest.broken {
            file.keep_last_good(&mut manifest.entries);
        }
        let others = self.store.len().saturating_sub(file.entries.len());
        if others.saturating_add(manifest.entries.len()) > self.limits.objects_max {
            manifest.problems.push(too_many_objects(&file.name, manifest.entries.len(), others, &self.limits));
            manifest.entries.clone_from(&file.entries);
            // Other files may make room, so this one is read again next time.
            file.stamp = None;
        }
        if manifest.entries != file.entries || manifest.problems != file.problems {
            scan.changed = true;
            self.store.replace_file(&file.name, manifest.entries.iter().cloned());
            file.entries = manifest.entries;
            file.entries.shrink_to_fit();
            file.problems = manifest.problems;
        }
    }
}

impl File {
    fn new(path: &Path) -> Self {
        let name = path.to_string_lossy().into();
        Self { name, stamp: None, entries: Vec::new(), problems: Vec::new(), empty_since: None }
    }

    /// Adds the objects that were good last and that a broken file does not redefine.
    fn keep_last_good(&self, entries: &mut Vec<(Object, u32)>) {
        let defined: HashSet<ObjectRef> = entries.iter().map(|(object, _)| object.key()).collect();
        entries.extend(self.entries.iter().filter(|(object, _)| !defined.contains(&object.key())).cloned());
    }
}

/// A Problem of a file as a whole.
fn file_problem(
    severity: Severity,
    file: &Path,
    reason: &'static str,
    message: String,
    remedy: impl Into<String>,
) -> Problem {
    let file: Arc<str> = file.to_string_lossy().into();
    let object = ObjectRef::new(Kind::File, "", file.clone());
    let place = Some(Place { file, line: 0 });
    Problem { severity, object, place, field: String::new(), reason, message, remedy: remedy.into() }
}

fn too_many_objects(file: &Arc<str>, count: usize, others: usize, limits: &config::Objects) -> Problem {
    let max = limits.objects_max;
    let message = format!(
        "The file has {count} objects beside {others} of other files, more than {max} in all; \
         what it said last stays in use."
    );
    let remedy = "Take objects out, or raise objects_max.";
    file_problem(Severity::Fault, Path::new(&**file), reason::TOO_MANY_OBJECTS, message, remedy)
}

#[cfg(test)]
mod tests;
