//! The kernel's release, its type information, and whether it lets us call `bpf(2)`.
//!
//! Goes in: what is asked for. Comes out: three checks. A refusal has one of several authors (a build without it, a
//! capability, a seccomp filter, a security module), and each has another remedy: [`judge`] tells them apart.

use super::super::capability::{Capability, effective};
use super::super::syscall;
use super::super::unavailable::{KERNEL_MIN, release, version};
use super::{Asked, Check, Part, State};
use aya::maps::MapType;
use aya::sys::is_map_supported;
use std::error::Error;
use std::io;
use std::path::Path;

/// Type information of the running kernel.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// `SECCOMP_MODE_FILTER` of the line `Seccomp:` in `/proc/PID/status`.
const FILTERED: &str = "2";

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    vec![kernel(asked), btf(), bpf(asked)]
}

fn kernel(asked: &Asked) -> Check {
    let release = release().unwrap_or_else(|error| format!("unknown ({error})"));
    let outcome = match version(&release) {
        Some(version) if version < KERNEL_MIN => Err((
            release,
            format!("run kernel {}.{} or later (5.11 to carry connections, 6.6 for tcx)", KERNEL_MIN.0, KERNEL_MIN.1),
        )),
        _ => Ok(release),
    };
    asked.check("kernel", Part::Both, outcome)
}

fn btf() -> Check {
    let needed_for = "names of fields in bpftool's dumps; our programs run without it";
    if Path::new(BTF).exists() {
        return Check::ok("BTF", BTF, needed_for);
    }
    Check::ok("BTF", format!("no {BTF}"), needed_for)
        .but(State::Degraded, "nothing to do, or a kernel with CONFIG_DEBUG_INFO_BTF")
}

fn bpf(asked: &Asked) -> Check {
    let facts = Facts {
        reached: syscall::try_call().err().and_then(|error| error.raw_os_error()),
        map: is_map_supported(MapType::Array).err().map(|error| error_number(&error)),
        has_bpf: effective().has(Capability::Bpf),
        is_initial: effective().is_initial,
        is_filtered: line("Seccomp:").as_deref() == Some(FILTERED),
        unprivileged_disabled: read("/proc/sys/kernel/unprivileged_bpf_disabled"),
    };
    asked.check("bpf system call", Part::Both, judge(&facts))
}

/// What is known about a call.
#[derive(Debug, Clone)]
struct Facts {
    /// The error of a call that the kernel refuses for its length before it asks who calls; none: it was taken.
    reached: Option<i32>,
    /// The error of making an array, the plainest map; none: it was made.
    map: Option<i32>,
    has_bpf: bool,
    is_initial: bool,
    is_filtered: bool,
    /// `kernel.unprivileged_bpf_disabled`.
    unprivileged_disabled: Option<String>,
}

/// Says whether the call can be used, or who refuses it.
fn judge(facts: &Facts) -> Result<String, (String, String)> {
    let sysctl = facts.unprivileged_disabled.as_deref().unwrap_or("unknown");
    let refused = |found: String, remedy: &str| Err((found, remedy.to_owned()));
    let seccomp = "allow bpf in the container's seccomp profile: runtimes do where CAP_BPF is given to the container";
    if facts.reached == Some(libc::ENOSYS) {
        return refused("the kernel has none".to_owned(), "run a kernel with CONFIG_BPF_SYSCALL");
    }
    match facts.map {
        None => Ok(format!("answers (kernel.unprivileged_bpf_disabled = {sysctl})")),
        Some(_) if facts.reached == Some(libc::EPERM) && facts.has_bpf && facts.is_filtered => {
            refused("refused by a seccomp filter, though CAP_BPF is there".to_owned(), seccomp)
        }
        // Before 6.5 the kernel asks for the capability before it looks at the length.
        Some(_) if facts.reached == Some(libc::EPERM) && facts.is_filtered => refused(
            "refused by a seccomp filter, or for want of CAP_BPF".to_owned(),
            "give the container CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: runtimes then allow bpf in their seccomp profile too",
        ),
        Some(libc::EPERM) if !facts.has_bpf => refused(
            format!("refused: CAP_BPF is missing (kernel.unprivileged_bpf_disabled = {sysctl})"),
            "give CAP_BPF; setting the sysctl to 0 does not help, since our programs need CAP_NET_ADMIN and CAP_PERFMON too",
        ),
        Some(libc::EPERM) if !facts.is_initial => refused(
            "refused: this is a user namespace, in which CAP_BPF does not count".to_owned(),
            "run without a user namespace (hostUsers: true in Kubernetes)",
        ),
        Some(libc::EPERM) => refused(
            "refused by a security module, though CAP_BPF is there".to_owned(),
            "look into the audit log (AppArmor, SELinux, kernel lockdown)",
        ),
        Some(error) => refused(
            format!("makes no maps: {}", io::Error::from_raw_os_error(error)),
            "look at the limits on memory (memory cgroup, RLIMIT_MEMLOCK before kernel 5.11)",
        ),
    }
}

/// The number of the first system call error in a chain; `EIO` where there is none.
fn error_number(error: &(dyn Error + 'static)) -> i32 {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return code;
        }
        next = error.source();
    }
    libc::EIO
}

/// A line of what the kernel says about this thread.
fn line(name: &str) -> Option<String> {
    let status = read("/proc/thread-self/status")?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// A small file of `/proc`, trimmed.
pub(super) fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_told() {
        let (eperm, enosys) = (Some(libc::EPERM), Some(libc::ENOSYS));
        let check = |reached, map, (has_bpf, is_initial, is_filtered), want: &str| {
            let unprivileged_disabled = Some("2".to_owned());
            let facts = Facts { reached, map, has_bpf, is_initial, is_filtered, unprivileged_disabled };
            let said = match judge(&facts) {
                Ok(found) => found,
                Err((found, remedy)) => format!("{found}. {remedy}"),
            };
            assert!(said.contains(want), "{facts:?}: {said}");
        };
        check(None, None, (true, true, false), "answers");
        check(None, None, (true, true, true), "answers");
        check(enosys, enosys, (true, true, false), "CONFIG_BPF_SYSCALL");
        check(eperm, eperm, (true, true, true), "seccomp filter, though");
        check(eperm, eperm, (false, true, true), "seccomp filter, or");
        check(None, eperm, (false, true, true), "CAP_BPF is missing");
        check(eperm, eperm, (false, true, false), "CAP_BPF is missing");
        check(None, eperm, (true, false, false), "user namespace");
        check(None, eperm, (true, true, false), "security module");
        check(None, Some(libc::ENOMEM), (true, true, false), "limits on memory");
    }
}
