//! The network namespace of the calling thread.
//!
//! Owns: its descriptor and its number. Goes in: nothing. Comes out: what a link is attached to and compared with.
//! Does not do: entering other namespaces.

use super::Unavailable;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// A network namespace, kept open.
#[derive(Debug)]
pub(super) struct Netns {
    pub file: File,
    /// Its inode, by which the kernel names it in the information about a link.
    pub inode: u64,
}

/// The network namespace of this thread.
pub(super) fn current() -> Result<Netns, Unavailable> {
    let open = || {
        let file = File::open("/proc/thread-self/ns/net")?;
        let inode = file.metadata()?.ino();
        Ok(Netns { file, inode })
    };
    open().map_err(|source| Unavailable::from_io("open our network namespace", source))
}
