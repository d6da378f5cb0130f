//! The capabilities of this process that matter here, by name (capabilities(7)).
//!
//! Owns: their numbers, and which imply others. Goes in: `/proc`. Comes out: which are in effect, and a sentence about
//! those that are not. Does not do: taking or giving any.

use std::fmt;

/// A capability that we need for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    NetBindService = 10,
    NetAdmin = 12,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

/// What an agent that steers and splices needs. `Perfmon`: without it the verifier refuses arithmetic on pointers whose
/// bounds it only learns on the way (`bypass_spec_v1` of its environment, kernel 5.8), which all our programs have.
pub(super) const OF_AGENT: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

/// Capabilities in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effective {
    bits: u64,
    /// Whether they count outside of a user namespace of our own: those for bpf do not otherwise.
    pub is_initial: bool,
}

impl Capability {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Those of this thread; none where `/proc` does not tell.
pub(super) fn effective() -> Effective {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let map = std::fs::read_to_string("/proc/thread-self/uid_map").unwrap_or_default();
    Effective { bits: bits(&status), is_initial: is_initial(&map) }
}

impl Effective {
    pub fn has(self, capability: Capability) -> bool {
        let bit = |capability: Capability| self.bits >> capability as u32 & 1 == 1;
        // CAP_SYS_ADMIN held these before they were split off it (kernel 5.8, `bpf_capable` and `perfmon_capable`).
        let is_part = matches!(capability, Capability::Bpf | Capability::Perfmon);
        bit(capability) || is_part && bit(Capability::SysAdmin)
    }

    /// Those of [`OF_AGENT`] that are not in effect, separated by commas; `None` when all are.
    pub fn missing(self) -> Option<String> {
        let names: Vec<&str> = OF_AGENT.into_iter().filter(|one| !self.has(*one)).map(Capability::name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// What is to be said to somebody who was refused: which capability is missing here, or that none is.
pub(super) fn verdict() -> String {
    let effective = effective();
    match effective.missing() {
        Some(names) => format!("missing here: {names}"),
        None if !effective.is_initial => {
            "all are there, but in a user namespace of its own, where bpf is not".to_owned()
        }
        None if !effective.has(Capability::SysAdmin) => {
            "missing here: CAP_SYS_ADMIN alone, which only mounting needs; where that is not it, a file's owner, seccomp or a \
             security module refuses, and `sluice doctor` tells"
                .to_owned()
        }
        None => {
            "all are there, so a file's owner, seccomp or a security module refuses; `sluice doctor` tells".to_owned()
        }
    }
}

/// The line `CapEff:`.
fn bits(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(line.trim(), 16).unwrap_or_default()
}

/// The initial user namespace maps every number to itself (user_namespaces(7)).
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_by_name() {
        let check = |status: &str, missing: Option<&str>| {
            let effective = Effective { bits: bits(status), is_initial: true };
            assert_eq!(effective.missing().as_deref(), missing, "{status}");
        };
        check("CapPrm:\t0\nCapEff:\t000000c000001400\n", None);
        check("CapEff:\t0000008000001400\n", Some("CAP_PERFMON"));
        check("CapEff:\t000001fffeffffff\n", None);
        // CAP_SYS_ADMIN alone lets nobody configure the network.
        check("CapEff:\t0000000000200000\n", Some("CAP_NET_ADMIN"));
        check("", Some("CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"));
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0     100000      65536\n"));
    }
}
