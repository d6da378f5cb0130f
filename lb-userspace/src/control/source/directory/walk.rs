//! The walk: which files of a directory are manifests, and which directories decide that.
//!
//! Names that begin with a dot are passed over: hidden files, swap files, and the `..2026_…` directories of a mounted
//! ConfigMap, whose files are reached through the symlinks beside them. So are backups of editors (`a.yaml~`, `#a.yaml#`).

use super::super::super::reason;
use super::file_problem;
use super::read::Stamp;
use crate::config;
use lb_core::Problem;
use lb_core::problem::Severity;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Levels of subdirectories that are read: base, overlay, application, component.
pub const SUBDIRECTORIES_DEEP_MAX: usize = 4;

/// Directories that are read: each costs a watch, of which a user has 8,192 on small machines (`max_user_watches`).
pub const DIRECTORIES_MAX: usize = 4_096;

/// A file that is to be read.
#[derive(Debug)]
pub struct Found {
    /// Its path below the root as it was given.
    pub path: PathBuf,
    /// Its path behind symlinks.
    pub real: PathBuf,
    /// `None` when it could not be looked at.
    pub stamp: Option<Stamp>,
}

/// Which names in a directory decide what is read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// The directory is read, so every name may matter.
    pub every: bool,
    /// What symlinks lead to, and the root in its parent.
    pub names: BTreeSet<OsString>,
    /// The path by which it is read, where `every` name matters.
    pub listed_as: Option<PathBuf>,
}

impl Interest {
    /// Whether a name may be that of a file that is read.
    #[must_use]
    pub fn in_file(&self, name: &OsStr) -> bool {
        self.names.contains(name) || self.every && name.to_str().is_some_and(is_manifest)
    }
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Walked {
    /// Files, by path.
    pub files: Vec<Found>,
    /// Every directory that decides what is read, behind symlinks.
    pub directories: BTreeMap<PathBuf, Interest>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Every directory could be read: what is not listed does not exist.
    pub complete: bool,
}

/// Lists the files of a directory. Where there are more than the limit, those that are `known` come first.
#[must_use]
pub fn walk(root: &Path, limits: &config::Objects, known: impl Fn(&Path) -> bool) -> Walked {
    let mut walk = Walk { out: Walked { complete: true, ..Walked::default() }, seen: HashSet::new() };
    walk.name(root);
    walk.directory(root, 0);
    let mut walked = walk.out;
    sort(&mut walked.files);
    let count = walked.files.len();
    if count > limits.files_max {
        walked.files.sort_by_key(|found| !known(&found.path));
        walked.files.truncate(limits.files_max);
        sort(&mut walked.files);
        walked.problems.push(too_many_files(root, count, limits.files_max));
    }
    walked
}

/// By the bytes of the path: comparing paths by their components takes five times as long, for thousands of files.
fn sort(files: &mut [Found]) {
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
}

/// Whether a file is a manifest, by its name alone.
#[must_use]
pub fn is_manifest(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    matches!(ending, "yaml" | "yml" | "json") && !name.starts_with(['.', '#', '~'])
}

struct Walk {
    out: Walked,
    /// Device and inode of directories, so that a symlink to a parent ends.
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    fn directory(&mut self, path: &Path, depth: usize) {
        let read = fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, fs::read_dir(&real)?, real)));
        let (metadata, entries, real) = match read {
            Ok(read) => read,
            Err(error) => return self.unreadable(path, &error),
        };
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if self.seen.len() > DIRECTORIES_MAX {
            return self.too_many_directories(path);
        }
        let interest = self.out.directories.entry(real.clone()).or_default();
        (interest.every, interest.listed_as) = (true, Some(path.to_owned()));
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(path, &real, &entry, depth),
                Err(error) => self.unreadable(path, &error),
            }
        }
    }

    fn entry(&mut self, directory: &Path, real_directory: &Path, entry: &fs::DirEntry, depth: usize) {
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if shown.starts_with('.') {
            return;
        }
        let path = directory.join(&name);
        let mut real = real_directory.join(&name);
        let link = entry.file_type().is_ok_and(|t| t.is_symlink());
        if link {
            real = fs::canonicalize(&path).unwrap_or(real);
            self.name(&real);
            self.led_through(real_directory, &path);
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.subdirectory(&path, depth + 1),
            Ok(metadata) if is_manifest(&shown) && metadata.is_file() => {
                self.out.files.push(Found { path, real, stamp: Some(Stamp::of(&metadata)) });
            }
            // A dangling symlink stays listed, so that what it said last stays in use and its owner is told.
            Err(_) if is_manifest(&shown) && link => self.out.files.push(Found { path, real, stamp: None }),
            // Gone since it was listed, or nothing that is read.
            Err(_) | Ok(_) => {}
        }
    }

    /// Takes an interest in one name in the directory that holds it.
    fn name(&mut self, path: &Path) {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let (Ok(parent), Some(name)) = (fs::canonicalize(parent), path.file_name()) {
            self.out.directories.entry(parent).or_default().names.insert(name.to_owned());
        }
    }

    /// Takes an interest in the links that a link leads through: one of them, `..data`, is how a mounted ConfigMap changes.
    fn led_through(&mut self, directory: &Path, link: &Path) {
        let Ok(target) = fs::read_link(link) else { return };
        let mut path = directory.to_owned();
        for element in target.components() {
            path.push(element);
            if path.is_symlink() {
                self.name(&path);
            }
        }
    }

    fn subdirectory(&mut self, path: &Path, depth: usize) {
        if depth <= SUBDIRECTORIES_DEEP_MAX {
            return self.directory(path, depth);
        }
        let message = format!("More than {SUBDIRECTORIES_DEEP_MAX} levels of directories; this one is not read.");
        self.out.problems.push(file_problem(Severity::Fault, path, reason::TOO_DEEP, message, "Move it up."));
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.out.complete = false;
        let message = format!("The directory cannot be read: {error}. What was read last stays in use.");
        let remedy = "Make the directory readable, or create it again.";
        self.out.problems.push(file_problem(Severity::Fault, path, reason::UNREADABLE, message, remedy));
    }

    fn too_many_directories(&mut self, path: &Path) {
        let message = format!("More than {DIRECTORIES_MAX} directories; this one is not read.");
        let remedy = "Put more files into fewer directories.";
        self.out.problems.push(file_problem(Severity::Fault, path, reason::TOO_MANY_FILES, message, remedy));
    }
}

fn too_many_files(root: &Path, count: usize, max: usize) -> Problem {
    let message = format!("There are {count} files, more than {max}; the last of them by name are not read.");
    file_problem(Severity::Fault, root, reason::TOO_MANY_FILES, message, "Remove files, or raise files_max.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            ("a.yaml", true),
            ("a.yml", true),
            ("a.json", true),
            ("a.b.yaml", true),
            (".a.yaml", false),
            (".a.yaml.swp", false),
            ("a.yaml~", false),
            ("a.yaml.swp", false),
            ("#a.yaml#", false),
            (".#a.yaml", false),
            ("4913", false),
            ("yaml", false),
            ("a.yaml.bak", false),
            ("a.txt", false),
        ] {
            assert_eq!(is_manifest(name), want, "{name}");
        }
    }
}
