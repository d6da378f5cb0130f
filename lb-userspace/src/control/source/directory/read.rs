//! Reading one file, and the stamp by which a change is seen without reading.

use super::super::super::reason;
use super::file_problem;
use lb_core::Problem;
use lb_core::problem::Severity;
use nix::fcntl::OFlag;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Timestamps of a file advance in steps of the kernel's tick (10 ms at 100 Hz; finer from 6.13 on). A second write
/// within one step leaves the stamp as it was, so a stamp younger than this is not trusted.
const TIMESTAMP_STEP_MAX: Duration = Duration::from_millis(20);

/// What changes whenever a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What became of reading a file.
#[derive(Debug)]
pub enum Read {
    /// Its bytes.
    Text(Vec<u8>),
    /// It is too large, or may not be read.
    Refused(Box<Problem>),
}

impl Stamp {
    /// The stamp of a file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether another write could still bear the same stamp.
    fn is_fresh(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = u64::try_from(self.changed.0).unwrap_or(0);
        let nanoseconds = u32::try_from(self.changed.1).unwrap_or(0);
        now.saturating_sub(Duration::new(seconds, nanoseconds)) < TIMESTAMP_STEP_MAX
    }
}

/// Reads a file of at most `bytes_max` bytes; the size is looked at before a byte is read. The stamp belongs to what was
/// read, or is `None` when the file must be read again the next time.
#[must_use]
pub fn read(path: &Path, bytes_max: u64) -> (Read, Option<Stamp>) {
    let opened = open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(error) => return (Read::Refused(Box::new(unreadable(path, &error))), None),
    };
    let stamp = Stamp::of(&metadata);
    let stamp = (!stamp.is_fresh()).then_some(stamp);
    if metadata.size() > bytes_max {
        return (Read::Refused(Box::new(too_large(path, metadata.size(), bytes_max))), stamp);
    }
    let mut text = Vec::new();
    match file.take(bytes_max.saturating_add(1)).read_to_end(&mut text) {
        Ok(read) if read as u64 > bytes_max => (Read::Refused(Box::new(too_large(path, read as u64, bytes_max))), None),
        Ok(_) => (Read::Text(text), stamp),
        Err(error) => (Read::Refused(Box::new(unreadable(path, &error))), None),
    }
}

/// Opens without waiting: a named pipe would otherwise block until somebody writes.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let message = format!("The file cannot be read: {error}. What it said last stays in use.");
    file_problem(Severity::Fault, path, reason::UNREADABLE, message, "Make it readable, or remove it.")
}

fn too_large(path: &Path, bytes: u64, bytes_max: u64) -> Problem {
    let message = format!("The file has {bytes} bytes, more than {bytes_max}; what it said last stays in use.");
    file_problem(Severity::Fault, path, reason::FILE_TOO_LARGE, message, "Split it, or raise file_bytes_max.")
}
