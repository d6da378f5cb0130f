//! A directory of a test's own, removed when dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// A directory with a unique name below the system's temporary one.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes it.
    #[must_use]
    pub fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written to");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it, in place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path.join(name), content).expect("a file in our own directory can be written");
    }

    /// Writes a file beside its place and renames it there, as editors and configuration tools do.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let beside = self.path.join(format!(".{name}.new"));
        std::fs::write(&beside, content).expect("a file in our own directory can be written");
        std::fs::rename(&beside, self.path.join(name)).expect("a file in our own directory can be renamed");
    }

    /// Removes a file in it.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path.join(name)).expect("a file in our own directory can be removed");
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}
