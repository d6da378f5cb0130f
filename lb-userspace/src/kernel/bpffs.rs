//! The file system in which kernel objects have names.
//!
//! Owns: finding and mounting it. Goes in: the directory for pins. Comes out: that directory, on a bpffs.
//! Does not do: unmounting (others may use it), pins.

use super::Unavailable;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs::File;
use std::io;
use std::path::Path;

/// Where Linux distributions mount it.
const STANDARD: &str = "/sys/fs/bpf";

/// Makes `pin_dir` a directory on a bpffs; mounts one where there is none.
pub(super) fn ensure(pin_dir: &Path) -> Result<(), Unavailable> {
    let existing = pin_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if !is_bpffs(existing) {
        mount_at(mount_point(pin_dir))?;
    }
    std::fs::create_dir_all(pin_dir).map_err(|source| fault(pin_dir, source))
}

/// Where one is mounted for a pin directory that lies on none.
pub(super) fn mount_point(pin_dir: &Path) -> &Path {
    if pin_dir.starts_with(STANDARD) { Path::new(STANDARD) } else { pin_dir }
}

/// Whether a path lies on a bpffs; a path that cannot be looked at does not.
pub(super) fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts, unless another agent does at the same moment: a second mount would hide the pins in the first.
fn mount_at(path: &Path) -> Result<(), Unavailable> {
    std::fs::create_dir_all(path).map_err(|source| fault(path, source))?;
    let point = File::open(path).map_err(|source| fault(path, source))?;
    let _lock = Flock::lock(point, FlockArg::LockExclusive).map_err(|(_, errno)| fault(path, errno.into()))?;
    if is_bpffs(path) {
        return Ok(());
    }
    // Only root may reach our pins: whoever can write the maps can take connections over.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| unmounted(path, errno.into()))?;
    tracing::info!(path = %path.display(), "mounted a bpffs");
    Ok(())
}

/// Nobody mounted one, and we could not.
fn unmounted(path: &Path, source: io::Error) -> Unavailable {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Unavailable::NoPrivilege {
            action: format!(
                "mount a bpffs at {}, where none is (mounted beforehand by `mount -t bpf bpf {}`, it needs no CAP_SYS_ADMIN \
                 of the agent)",
                path.display(),
                mount_point(path).display()
            ),
            source,
        },
        _ => fault(path, source),
    }
}

fn fault(path: &Path, source: io::Error) -> Unavailable {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            Unavailable::NoPrivilege { action: format!("use or mount a bpffs at {}", path.display()), source }
        }
        _ => Unavailable::Bpffs { path: path.to_owned(), source },
    }
}
