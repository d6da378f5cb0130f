//! Settings of the network namespace (`/proc/sys/net`) that matter to carried connections.
//!
//! Goes in: what is asked for. Comes out: a check for each.

use super::super::ports;
use super::call::read;
use super::{Asked, Check, State};
use std::ops::RangeInclusive;

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    let reserved = read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let mut checks = vec![source_ports(&asked.ports, &ports::automatic(), &reserved), forwarding(), timestamps()];
    checks.push(ipv6());
    checks
}

fn source_ports(ours: &RangeInclusive<u16>, automatic: &RangeInclusive<u16>, reserved: &str) -> Check {
    let needed_for = "source ports that no other program is given; where they overlap, a guard socket is bound for each \
                      port in use, and guards end with the agent";
    let shown = |range: &RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
    let name = "source ports";
    let (from, to) = (*ours.start().max(automatic.start()), *ours.end().min(automatic.end()));
    let apart = from > to;
    if apart || covers(reserved, from..=to) {
        let how = if apart { "outside of" } else { "reserved within" };
        let found = format!("{} {how} net.ipv4.ip_local_port_range {}", shown(ours), shown(automatic));
        return Check::ok(name, found, needed_for);
    }
    let found = format!("{} overlaps net.ipv4.ip_local_port_range {}", shown(ours), shown(automatic));
    let remedy = format!("`sysctl net.ipv4.ip_local_reserved_ports={from}-{to}`, or choose other --splice-ports");
    Check::ok(name, found, needed_for).but(State::Degraded, remedy)
}

/// Whether a list of ports and ranges (`a,b-c`) has all of a range.
fn covers(list: &str, ports: RangeInclusive<u16>) -> bool {
    let part = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(from.trim().parse::<u16>().ok()?..=to.trim().parse::<u16>().ok()?)
    };
    let mut parts: Vec<RangeInclusive<u16>> = list.split(',').filter_map(part).collect();
    parts.sort_by_key(|part| *part.start());
    let mut next = u32::from(*ports.start());
    for part in parts {
        if u32::from(*part.start()) <= next {
            next = next.max(u32::from(*part.end()) + 1);
        }
    }
    next > u32::from(*ports.end())
}

fn forwarding() -> Check {
    let needed_for =
        "next hops that follow the routes; without it packets go by the interface that was right at the hand-off";
    match read("/proc/sys/net/ipv4/ip_forward").as_deref() {
        Some("1") => Check::ok("ip_forward", "1", needed_for),
        other => Check::ok("ip_forward", other.unwrap_or("unknown"), needed_for).but(
            State::Degraded,
            "`sysctl net.ipv4.ip_forward=1` (and net.ipv6.conf.all.forwarding=1), as nodes with pods have",
        ),
    }
}

fn timestamps() -> Check {
    let needed_for = "joining connections whose two sides agree on timestamps; without them long fast transfers measure their round trips less well";
    match read("/proc/sys/net/ipv4/tcp_timestamps").as_deref() {
        Some("0") => {
            Check::ok("tcp_timestamps", "0", needed_for).but(State::Degraded, "`sysctl net.ipv4.tcp_timestamps=1`")
        }
        other => Check::ok("tcp_timestamps", other.unwrap_or("unknown"), needed_for),
    }
}

fn ipv6() -> Check {
    let needed_for = "clients and endpoints with IPv6; without it IPv4 alone is served";
    match read("/proc/net/if_inet6") {
        Some(addresses) if !addresses.is_empty() => Check::ok("IPv6", "has addresses", needed_for),
        Some(_) => {
            Check::ok("IPv6", "no addresses", needed_for).but(State::Degraded, "nothing, where IPv6 is not used")
        }
        None => {
            Check::ok("IPv6", "not in this kernel", needed_for).but(State::Degraded, "nothing, where IPv6 is not used")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_others_may_be_given_are_found() {
        let check = |ours: RangeInclusive<u16>, reserved: &str, want: State| {
            let found = source_ports(&ours, &(32_768..=60_999), reserved);
            assert_eq!(found.state, want, "{found:?}");
        };
        check(20_000..=29_999, "", State::Ok);
        check(20_000..=32_768, "", State::Degraded);
        check(20_000..=32_768, "32768", State::Ok);
        check(40_000..=50_000, "40000-45000,45001-50000", State::Ok);
        check(40_000..=50_000, "45001-60000,1,40000-45000", State::Ok);
        check(40_000..=50_000, "40000-45000,45002-50000", State::Degraded);
        check(60_000..=65_535, "60000-65535", State::Ok);
        check(60_000..=65_535, "nonsense,-,7-x", State::Degraded);
    }
}
