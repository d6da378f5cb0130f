//! Open files: each connection is one, and shells and containers often allow a process 1,024.
//!
//! Goes in: the limits of the request path. Comes out: a process that may open as many files as it is ever allowed to, and
//! a warning when that is too few. Changes nothing beyond this process.

use crate::config::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files besides connections: listeners, maps, watches, logs, administration. Several times what a large machine has.
const OTHERS: u64 = 1_024;

/// Raises the soft limit to the hard one, and warns when it is too low.
pub fn raise(limits: &Limits) {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(both) => both,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be read");
            return;
        }
    };
    let now = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit on open files cannot be raised");
            soft
        }
    };
    if now < needed(limits) {
        let connections = connections(now);
        tracing::warn!(
            files = now,
            needed = needed(limits),
            "the limit on open files is too low for --limit-connections: about {connections} connections fit. Raise it \
             (LimitNOFILE= of systemd, --ulimit nofile= of containers), or lower --limit-connections"
        );
    }
}

/// For each client's connection, one to an endpoint.
pub fn needed(limits: &Limits) -> u64 {
    u64::try_from(limits.connections_max).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OTHERS)
}

/// Connections that so many files are enough for.
pub fn connections(files: u64) -> u64 {
    files.saturating_sub(OTHERS) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_are_needed_for_each_connection() {
        let limits = Limits { connections_max: 1_000, ..Limits::default() };
        assert_eq!(needed(&limits), 3_024);
        assert_eq!(needed(&Limits { connections_max: usize::MAX, ..limits }), u64::MAX);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise(&Limits::default());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read");
        assert_eq!(soft, hard);
    }
}
