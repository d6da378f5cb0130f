//! `allowlist-source-range`: only clients of the listed networks are served; others are answered 403.

use super::{Answer, Request, Verdict};
use ipnet::IpNet;
use serde::Serialize;
use std::net::IpAddr;

/// Networks whose clients are served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SourceRange {
    /// In ascending order, none inside another: a look-up is a binary search, however long the list.
    networks: Vec<IpNet>,
}

impl SourceRange {
    /// Allows these networks. Without any, nobody is served.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        let mut networks = IpNet::aggregate(&networks.iter().map(IpNet::trunc).collect());
        networks.sort_unstable_by_key(IpNet::network);
        Self { networks }
    }

    /// Reads one entry of a list: a network, or an address that stands for itself alone. `None`, when it is neither.
    #[must_use]
    pub fn parse(entry: &str) -> Option<IpNet> {
        entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
    }

    /// Whether an address (canonical: no IPv4 inside IPv6) is of one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let after = self.networks.partition_point(|network| network.network() <= address);
        after.checked_sub(1).and_then(|last| self.networks.get(last)).is_some_and(|network| network.contains(&address))
    }

    pub(super) fn apply(&self, request: &Request<'_>) -> Verdict {
        if self.contains(request.client) {
            return Verdict::Continue;
        }
        Verdict::Answer(Answer { status: 403, location: None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    fn check(entries: &[&str], client: &str, want: bool) {
        let networks: Vec<IpNet> = entries.iter().map(|entry| SourceRange::parse(entry).expect("valid")).collect();
        let request = Request { client: client.parse().expect("an address"), ..request("/a") };
        let served = SourceRange::new(&networks).apply(&request) == Verdict::Continue;
        assert_eq!(served, want, "{entries:?} {client}");
    }

    #[test]
    fn clients_of_the_networks_alone() {
        check(&["10.0.0.0/8"], "10.1.2.3", true);
        check(&["10.0.0.0/8"], "11.0.0.0", false);
        check(&["10.0.0.0/8"], "9.255.255.255", false);
        check(&["10.1.2.3/8"], "10.200.0.1", true);
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.7"], "10.9.9.9", true);
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.7"], "192.0.2.7", true);
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.7"], "192.0.2.8", false);
        check(&["10.0.0.0/8"], "::1", false);
        check(&["2001:db8::/32", "0.0.0.0/0"], "2001:db8::9", true);
        check(&["2001:db8::/32", "0.0.0.0/0"], "203.0.113.9", true);
        check(&["2001:db8::/32", "0.0.0.0/0"], "2001:db9::", false);
        check(&[], "127.0.0.1", false);
    }

    #[test]
    fn entries() {
        for (entry, want) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(SourceRange::parse(entry).map(|n| n.to_string()).as_deref(), want, "{entry}");
        }
    }
}
