//! Capabilities, `TCP_REPAIR`, and the limit on locked memory where it still counts.
//!
//! Goes in: what is asked for. Comes out: a check for each.

use super::super::capability::{Capability, Effective, effective};
use super::super::unavailable::{release, version};
use super::super::{repair, route};
use super::{Asked, Check, Part, State};
use lb_common::maps;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

/// From this kernel on the memory of maps counts for the memory cgroup, not for `RLIMIT_MEMLOCK`.
const CGROUP_MIN: (u32, u32) = (5, 11);

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    let effective = effective();
    let mut checks = vec![
        capability(asked, effective, Capability::Bpf, Part::Both),
        capability(asked, effective, Capability::NetAdmin, Part::Both),
        capability(asked, effective, Capability::Perfmon, Part::Both),
        bind_service(effective),
    ];
    if asked.wants(Part::Splice) {
        checks.push(tcp_repair(asked));
        checks.push(routes(asked));
    }
    checks.extend(memlock(asked));
    checks
}

fn capability(asked: &Asked, effective: Effective, one: Capability, part: Part) -> Check {
    let outcome = if effective.has(one) {
        Ok(format!("in effect, for user {}", geteuid()))
    } else {
        Err((
            format!("not in effect, for user {}", geteuid()),
            format!("give {one} (securityContext.capabilities.add, AmbientCapabilities= of systemd)"),
        ))
    };
    asked.check(one.name(), part, outcome)
}

/// Whether the ports that matter can be bound is `app`'s question; this is the reason.
fn bind_service(effective: Effective) -> Check {
    let needed_for = "binding ports below 1024 where sk_lookup does not steer";
    let one = Capability::NetBindService;
    if effective.has(one) {
        return Check::ok(one.name(), "in effect", needed_for);
    }
    Check::ok(one.name(), "not in effect", needed_for)
        .but(State::Degraded, format!("give {one}, or serve higher ports"))
}

fn tcp_repair(asked: &Asked) -> Check {
    let outcome = match repair::try_mode() {
        Ok(()) => Ok("permitted in this network namespace".to_owned()),
        Err(error) => Err((
            format!("refused: {error}"),
            "give CAP_NET_ADMIN in the user namespace that owns this network namespace".to_owned(),
        )),
    };
    asked.check("TCP_REPAIR", Part::Splice, outcome)
}

fn routes(asked: &Asked) -> Check {
    let outcome = match route::Routes::open() {
        Ok(_) => Ok("rtnetlink answers".to_owned()),
        Err(error) => Err((
            format!("rtnetlink cannot be asked: {error}"),
            "allow AF_NETLINK sockets (seccomp, RestrictAddressFamilies= of systemd)".to_owned(),
        )),
    };
    asked.check("routes", Part::Splice, outcome)
}

/// Only on kernels on which it matters.
fn memlock(asked: &Asked) -> Option<Check> {
    let old = version(&release().ok()?).is_some_and(|version| version < CGROUP_MIN);
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok().filter(|_| old)?;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
    let needed = maps::memory_bytes_max(cpus) + maps::splice_memory_bytes_max(cpus);
    let outcome = if soft >= needed {
        Ok(format!("{soft} bytes"))
    } else {
        Err((
            format!("{soft} bytes, at most {hard}"),
            format!("raise RLIMIT_MEMLOCK to {needed} bytes (LimitMEMLOCK=infinity)"),
        ))
    };
    Some(asked.check("locked memory", Part::Both, outcome))
}
