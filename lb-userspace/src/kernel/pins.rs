//! Names of kernel objects under the pin directory, and who may touch them.
//!
//! Owns: the layout `<pin_dir>/abi-<N>/{link, program, <maps>}`, the lock, removal. Goes in: a pin directory.
//! Comes out: paths, a held lock, what was removed. Does not do: making objects (`attach`), mounting (`bpffs`), what
//! the sets of the splice look like (`carrier/set`).

use super::carrier::set;
use super::{Unavailable, bpffs, syscall};
use lb_common::maps;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Begins the name of a directory with a whole set of pins of one version.
pub(super) const WHOLE: &str = "abi-";
/// Begins the name of a set that is being made; one is left when an agent dies meanwhile.
const UNFINISHED: &str = "new-";
/// Begins the name of a set that steers until its successor is filled.
const REPLACED: &str = "old-";

/// The link that attaches our program to a network namespace.
pub(super) const LINK: &str = "link";
/// The program of the link.
pub(super) const PROGRAM: &str = "program";

/// Every name in a set of pins.
pub(super) const NAMES: [&str; 6] = [LINK, PROGRAM, maps::LISTENERS, maps::SOCKETS, maps::COUNTERS, maps::LOGS];

/// Why pins could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum UnpinError {
    /// An agent works with them.
    #[error("an agent holds the pins in {}; stop it first", path.display())]
    Locked {
        /// The pin directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot remove {}: {source}", path.display())]
    Io {
        /// What was to be removed or locked.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// Removes every pin under `pin_dir` and so detaches our programs. Connections that userspace carries stay; those that
/// the kernel carries end, each with a reset as soon as one side sends.
///
/// Filters (before kernel 6.6) are taken from interfaces of the network namespace of this thread.
///
/// Answers what it removed: nothing, when nothing was there. A bpffs stays mounted, for others may use it.
///
/// # Errors
///
/// [`UnpinError`]; pins removed before the error stay removed.
pub fn unpin(pin_dir: &Path) -> Result<Vec<PathBuf>, UnpinError> {
    if !bpffs::is_bpffs(pin_dir) {
        return Ok(Vec::new());
    }
    let _lock = lock(pin_dir).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => UnpinError::Locked { path: pin_dir.to_owned() },
        _ => UnpinError::Io { path: pin_dir.to_owned(), source },
    })?;
    let mut removed = Vec::new();
    let sets = sets(pin_dir, &[WHOLE, UNFINISHED, REPLACED]);
    for set in sets.map_err(|source| UnpinError::Io { path: pin_dir.to_owned(), source })? {
        remove(&set, &mut removed).map_err(|(path, source)| UnpinError::Io { path, source })?;
    }
    let sets = set::all(pin_dir).map_err(|source| UnpinError::Io { path: pin_dir.to_owned(), source })?;
    for set in sets {
        set::remove(&set, &mut removed).map_err(|(path, source)| UnpinError::Io { path, source })?;
    }
    match std::fs::remove_dir(pin_dir) {
        Ok(()) => removed.push(pin_dir.to_owned()),
        // Ours alone is the content: the directory may be a mount point or hold the pins of others.
        Err(error) => tracing::debug!(path = %pin_dir.display(), %error, "the pin directory stays"),
    }
    Ok(removed)
}

/// The right to write the maps behind one kind of pins of one directory, for this process alone. The kernel releases it
/// when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    dir: PathBuf,
    kind: Kind,
}

/// What is pinned: each kind has sets of its own and one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The look-up of sockets.
    Lookup,
    /// The splice.
    Splice,
}

/// A directory that this process has locked, and for what.
struct Held {
    dir: PathBuf,
    kinds: Vec<Kind>,
    _lock: Flock<File>,
}

/// The kernel knows one holder of a directory; which of our parts that is, we know.
static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

impl Lock {
    /// Takes the lock, or says that another agent has it.
    pub fn take(pin_dir: &Path, kind: Kind) -> Result<Self, Unavailable> {
        let fault = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => Unavailable::Locked { path: pin_dir.to_owned() },
            _ => Unavailable::from_io(format!("lock {}", pin_dir.display()), source),
        };
        let dir = std::fs::canonicalize(pin_dir).map_err(fault)?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        match held.iter_mut().find(|held| held.dir == dir) {
            Some(held) if held.kinds.contains(&kind) => return Err(fault(io::ErrorKind::WouldBlock.into())),
            Some(held) => held.kinds.push(kind),
            None => held.push(Held { dir: dir.clone(), kinds: vec![kind], _lock: lock(&dir).map_err(fault)? }),
        }
        Ok(Self { dir, kind })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.iter_mut().find(|held| held.dir == self.dir) {
            held.kinds.retain(|kind| *kind != self.kind);
        }
        held.retain(|held| !held.kinds.is_empty());
    }
}

/// A bpffs holds no regular files, but its directories can be locked.
fn lock(pin_dir: &Path) -> io::Result<Flock<File>> {
    Flock::lock(File::open(pin_dir)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Directory of the set of this version.
pub(super) fn whole(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{WHOLE}{}", maps::ABI_VERSION))
}

/// Directory in which a set is made.
pub(super) fn unfinished(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{UNFINISHED}{}", std::process::id()))
}

/// A name for the set of this version when another takes its place.
pub(super) fn replaced(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{REPLACED}{}-{}", maps::ABI_VERSION, std::process::id()))
}

/// Sets that an agent left half made. Only the holder of the lock may ask.
pub(super) fn left_unfinished(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    sets(pin_dir, &[UNFINISHED])
}

/// Sets that steer until ours is filled: other versions, and what was replaced.
pub(super) fn others(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let ours = whole(pin_dir);
    Ok(sets(pin_dir, &[WHOLE, REPLACED])?.into_iter().filter(|set| *set != ours).collect())
}

/// Gives an object a name that another has, in one step.
pub(super) fn replace(object: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    // A bpffs takes no dot in a name.
    let mut new = pin.as_os_str().to_owned();
    new.push("-new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    syscall::pin(object, Path::new(&new))?;
    std::fs::rename(new, pin)
}

/// Removes one set: the link first, which detaches, so that no program runs with half its maps named.
pub(super) fn remove(set: &Path, removed: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| (path, source)
    };
    let mut pins: Vec<PathBuf> = list(set).map_err(fault(set))?;
    pins.sort_by_key(|pin| !pin.ends_with(LINK));
    for pin in pins {
        if pin.ends_with(LINK) {
            // Removing the name detaches too, but only after a while: the kernel frees what has no name later.
            let detach = || syscall::detach_link(syscall::open_pin(&pin)?.as_fd());
            detach().map_err(fault(&pin))?;
        }
        std::fs::remove_file(&pin).map_err(fault(&pin))?;
        removed.push(pin);
    }
    std::fs::remove_dir(set).map_err(fault(set))?;
    removed.push(set.to_owned());
    Ok(())
}

pub(super) fn sets(pin_dir: &Path, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        prefixes.iter().any(|prefix| name.starts_with(prefix)) && path.is_dir()
    };
    Ok(list(pin_dir)?.into_iter().filter(ours).collect())
}

pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
