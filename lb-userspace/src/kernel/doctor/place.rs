//! The directory of the pins: its file system, who may write it, who holds it, and what lies in it.
//!
//! Goes in: what is asked for. Comes out: checks. A directory is made and removed again, and a mount is tried in a mount
//! namespace that nobody else sees.

use super::super::bpffs::{self, is_bpffs};
use super::super::carrier::survey;
use super::super::{Unavailable, pins};
use super::{Asked, Check, Part, State, Want};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    let mut checks = vec![bpffs(asked)];
    if is_bpffs(&asked.pin_dir) {
        checks.extend(lock(asked));
        checks.push(sets(asked));
    }
    checks
}

fn bpffs(asked: &Asked) -> Check {
    let dir = &asked.pin_dir;
    let (existing, hidden) = existing(dir);
    let outcome = if hidden {
        let user = geteuid();
        Err((
            format!("user {user} may not look into {}", existing.display()),
            format!(
                "let user {user} own the pin directory: `mount -t bpf -o mode=0700 bpf DIR && chown {user} DIR`, --pin-dir \
                 DIR/sluice"
            ),
        ))
    } else if is_bpffs(&existing) {
        try_write(&existing).map(|()| format!("{} on a bpffs that can be written", dir.display()))
    } else {
        try_mount(bpffs::mount_point(dir)).map(|()| format!("none at {}, and the agent may mount one", dir.display()))
    };
    asked.check("bpffs", Part::Both, outcome)
}

/// The nearest directory that is there, and whether one below it could not be looked at.
fn existing(dir: &Path) -> (PathBuf, bool) {
    let mut hidden = false;
    for ancestor in dir.ancestors() {
        match ancestor.metadata() {
            Ok(_) => return (ancestor.to_owned(), hidden),
            Err(error) => hidden |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    (PathBuf::from("/"), hidden)
}

/// Makes a directory and removes it.
fn try_write(existing: &Path) -> Result<(), (String, String)> {
    let tried = existing.join(format!("doctor-{}", std::process::id()));
    let made = std::fs::create_dir(&tried).and_then(|()| std::fs::remove_dir(&tried));
    made.map_err(|error| {
        let shown = existing.display();
        let remedy = match error.raw_os_error() {
            Some(libc::EROFS) => "mount it read-write: `mount -o remount,rw`, or no readOnly on the volume".to_owned(),
            _ => format!("let user {} own {shown}, with mode 0700", geteuid()),
        };
        (format!("{shown} is a bpffs that cannot be written: {error}"), remedy)
    })
}

/// Mounts one on a thread that has a mount namespace of its own, which ends with it.
fn try_mount(point: &Path) -> Result<(), (String, String)> {
    let (point, _) = existing(point);
    let try_it = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("bpf"), &point, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
    };
    let tried = std::thread::scope(|scope| scope.spawn(try_it).join());
    tried.unwrap_or(Err(nix::errno::Errno::EIO)).map_err(|errno| {
        (
            format!("none is mounted, and mounting one is refused: {}", errno.desc()),
            "mount it before the agent starts, which then needs no CAP_SYS_ADMIN: `mount -t bpf bpf /sys/fs/bpf` on the \
             node, and a hostPath volume of it"
                .to_owned(),
        )
    })
}

/// Whether an agent holds the pins. A running agent is no fault, but a second one with these pins would not start.
fn lock(asked: &Asked) -> Option<Check> {
    let needed_for = "one agent for each pin directory; a second one does not start";
    // Shared, so that two of us do not meet; an agent that starts at this very moment may.
    let tried = File::open(&asked.pin_dir).map(|dir| dir.try_lock_shared());
    Some(match tried {
        Ok(Ok(())) => Check::ok("pins are free", "no agent holds them", needed_for),
        Ok(Err(std::fs::TryLockError::WouldBlock)) => {
            Check::ok("pins are free", format!("an agent holds {}", asked.pin_dir.display()), needed_for)
                .but(State::Degraded, "nothing, if that is the one you mean; stop it before you start another")
        }
        Ok(Err(std::fs::TryLockError::Error(error))) | Err(error) => {
            Check::ok("pins are free", format!("cannot be told: {error}"), needed_for)
                .but(State::Degraded, "let the agent's user own the directory")
        }
    })
}

/// What earlier agents left, and what becomes of it.
fn sets(asked: &Asked) -> Check {
    let dir = &asked.pin_dir;
    let steering = || -> io::Result<Vec<String>> {
        let ours = pins::whole(dir);
        let found = pins::sets(dir, &[pins::WHOLE])?;
        let said = |set: &PathBuf| match *set == ours {
            true => format!("{} is adopted", name(set)),
            false => {
                format!("{} is of another version, steers until the first configuration and is then removed", name(set))
            }
        };
        Ok(found.iter().map(said).collect())
    };
    let read = |error: io::Error| Unavailable::from_io(format!("read {}", dir.display()), error);
    let outcome = steering().map_err(read).and_then(|mut said| {
        if asked.wants(Part::Splice) {
            said.extend(survey::sets(dir)?);
        }
        Ok(if said.is_empty() { "none of an earlier agent".to_owned() } else { said.join("; ") })
    });
    let part = if asked.splice == Want::Off { Part::Steering } else { Part::Splice };
    asked.check(
        "pins of earlier agents",
        part,
        outcome.map_err(|error| ("cannot be adopted".to_owned(), error.to_string())),
    )
}

fn name(set: &Path) -> String {
    set.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_that_is_there() {
        assert_eq!(existing(Path::new("/proc/self/nothing/at/all")), (PathBuf::from("/proc/self"), false));
        assert_eq!(existing(Path::new("/")), (PathBuf::from("/"), false));
    }
}
