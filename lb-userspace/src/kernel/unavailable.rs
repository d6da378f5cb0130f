//! Why steering is not available here, and what to do about it.
//!
//! Owns: the typed reasons and the least kernel. Goes in: errors of system calls and of aya. Comes out:
//! [`Unavailable`], whose text is the reason and the remedy, fit for one log line.
//! Does not do: deciding whether to go on without steering (`app`).

use super::capability::{self, Capability};
use aya::EbpfError;
use aya::programs::ProgramError;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Least kernel: `sk_lookup` came with 5.9.
pub(super) const KERNEL_MIN: (u32, u32) = (5, 9);

/// Lines at the end of the verifier's log that say what it refused.
const VERIFIER_LINES_MAX: usize = 12;

/// Why steering is not available.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The binary was built without the eBPF object.
    #[error("this binary was built without the eBPF object; build it with `cargo xtask build`")]
    ObjectMissing,
    /// The kernel has no `sk_lookup`.
    #[error("kernel {release} has no sk_lookup; it needs {}.{} or later", KERNEL_MIN.0, KERNEL_MIN.1)]
    KernelTooOld {
        /// The release, as `uname -r` says.
        release: String,
    },
    /// The kernel cannot carry connections.
    #[error("kernel {release} cannot carry connections: {reason}")]
    CannotCarry {
        /// The release, as `uname -r` says.
        release: String,
        /// What it lacks, and since when kernels have it.
        reason: String,
    },
    /// A pin has the name of one of our maps and another shape.
    #[error(
        "the map at {} is not as this version makes it ({found}; expected {expected}); stop what uses it, and remove \
         it with `sluice unpin`, which ends the connections that the kernel carries; or choose another --pin-dir",
        path.display()
    )]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// Its shape.
        found: String,
        /// The shape that ours has.
        expected: String,
    },
    /// The kernel was built without `CONFIG_BPF_SYSCALL`.
    #[error("the kernel has no bpf system call; it needs CONFIG_BPF_SYSCALL and CONFIG_NET")]
    NoBpf,
    /// Not allowed.
    #[error(
        "not allowed to {action}; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
         (and CAP_SYS_ADMIN where no bpffs is mounted); {}",
        capability::verdict()
    )]
    NoPrivilege {
        /// What was refused.
        action: String,
        /// The error.
        source: io::Error,
    },
    /// No bpffs could be had.
    #[error("no bpffs at {}: {source}; mount one (`mount -t bpf bpf /sys/fs/bpf`) or choose another --pin-dir", path.display())]
    Bpffs {
        /// Where.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// Another agent works with the same pins.
    #[error("another agent holds the pins in {}; stop it, or choose another --pin-dir", path.display())]
    Locked {
        /// The pin directory.
        path: PathBuf,
    },
    /// The verifier refused the program.
    #[error("the kernel's verifier refused our program; report this with the log's end:\n{log}")]
    Refused {
        /// The last lines of its log.
        log: String,
        /// The error.
        source: io::Error,
    },
    /// Something else of the kernel failed.
    #[error("cannot {action}: {source}; `sluice unpin` clears what an earlier agent left")]
    Failed {
        /// What failed.
        action: String,
        /// The error.
        source: io::Error,
    },
    /// aya cannot read the object or a map does not have the shape that it should.
    #[error("cannot load the eBPF object: {0}")]
    Object(Box<EbpfError>),
}

impl Unavailable {
    /// Names the fault of a system call.
    pub(super) fn from_io(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NoPrivilege { action, source },
            Some(libc::ENOSYS) => Self::NoBpf,
            _ => Self::Failed { action, source },
        }
    }

    /// Names the fault behind an error of aya: the first system call error in its chain.
    pub(super) fn from_aya(action: &str, error: impl Into<EbpfError>) -> Self {
        match error.into() {
            EbpfError::ProgramError(ProgramError::LoadError { io_error, verifier_log })
                if !matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) =>
            {
                // Its own reason is about pointers, and misleads.
                if io_error.raw_os_error() == Some(libc::EACCES) && !capability::effective().has(Capability::Perfmon) {
                    let action = "have our programs verified without CAP_PERFMON".to_owned();
                    return Self::NoPrivilege { action, source: io_error };
                }
                Self::Refused { log: last_lines(&verifier_log.to_string()), source: io_error }
            }
            error => match os_error(&error) {
                Some(source) => Self::from_io(action, source),
                None => Self::Object(Box::new(error)),
            },
        }
    }
}

/// The number of the first system call error in a chain of errors.
fn os_error(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        next = error.source();
    }
    None
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(VERIFIER_LINES_MAX)..].join("\n")
}

/// Refuses kernels without `sk_lookup`.
pub(super) fn check_kernel() -> Result<(), Unavailable> {
    let release = release().map_err(|source| Unavailable::from_io("read the kernel's release", source))?;
    match version(&release) {
        // An unreadable release is not a reason to refuse: loading will tell.
        Some(version) if version < KERNEL_MIN => Err(Unavailable::KernelTooOld { release }),
        _ => Ok(()),
    }
}

/// The kernel's release, as `uname -r` says.
pub(super) fn release() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// Major and minor number of a release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_versions() {
        for (release, expected) in [
            ("6.18.44-fc-v657", Some((6, 18))),
            ("5.9.0", Some((5, 9))),
            ("5.4.0-200-generic", Some((5, 4))),
            ("6.1-rc3", Some((6, 1))),
            ("strange", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.4.0").is_some_and(|v| v < KERNEL_MIN));
    }

    #[test]
    fn a_refusal_names_privilege_or_the_end_of_the_log() {
        let denied = Unavailable::from_io("mount a bpffs", io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(denied, Unavailable::NoPrivilege { .. }), "{denied}");
        assert!(denied.to_string().contains("mount a bpffs") && denied.to_string().contains("CAP_BPF"), "{denied}");
        let log: String = (0..40).map(|n| format!("{n}: line\n\n")).collect();
        assert_eq!(last_lines(&log).lines().next(), Some("28: line"));
        assert_eq!(last_lines(""), "");
    }
}
