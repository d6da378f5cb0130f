//! Flags of what is written into the API of a cluster: statuses, Events, the Lease, and how fast.
//!
//! Goes in: arguments. Comes out: [`Report`]; every fault is listed.

use super::edge::Switch;
use crate::config::{NamespacedName, Report};
use clap::Args;
use std::net::IpAddr;

/// More addresses than this are no list that DNS takes.
const ADDRESSES_MAX: usize = 256;
/// Bounds of the rate and of the burst. A thousand writes a second keep five of the API server's 200 places for writes busy.
const WRITES_PER_S_MAX: u32 = 1_000;
const WRITES_BURST_MAX: u32 = 10_000;

/// What is written into the API of a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Status and Events")]
pub struct ReportArgs {
    /// Address or name that the status of our Ingresses has; may be given several times, or separated by commas.
    #[arg(long, env = "SLUICE_STATUS_ADDRESS", value_name = "ADDR", value_delimiter = ',')]
    status_address: Vec<String>,
    /// Else the Service whose addresses it has: those of its balancer, external ones, those of the cluster.
    #[arg(long, env = "SLUICE_PUBLISH_SERVICE", value_name = "NAMESPACE/NAME")]
    publish_service: Option<NamespacedName>,
    /// Else the addresses of the nodes that run a ready agent: external ones, else internal ones. Needs --agent-service.
    #[arg(long, env = "SLUICE_STATUS_NODES")]
    status_nodes: bool,
    /// Service whose endpoints are the agents. By it nodes with a ready agent are known, and who is the last one to leave.
    #[arg(long, env = "SLUICE_AGENT_SERVICE", value_name = "NAMESPACE/NAME")]
    agent_service: Option<NamespacedName>,
    /// The last agent that leaves does not take the statuses back.
    #[arg(long, env = "SLUICE_STATUS_KEEP_ON_SHUTDOWN")]
    status_keep_on_shutdown: bool,
    /// Tell faults and notes by Events on their objects.
    #[arg(long, env = "SLUICE_EVENTS", value_enum, default_value = "on")]
    events: Switch,
    /// Name of the Lease that says which agent writes, in the namespace of the Pod.
    #[arg(long, env = "SLUICE_LEADER_LEASE", value_name = "NAME", default_value = "sluice-leader")]
    leader_lease: String,
    /// Name of our Pod, by the downward API: in the Lease and in Events. Default: --node-name.
    #[arg(long, env = "SLUICE_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Namespace of our Pod, where the Lease is. Default: that of the service account, or of the kubeconfig.
    #[arg(long, env = "SLUICE_POD_NAMESPACE", value_name = "NAME")]
    pod_namespace: Option<String>,
    /// Writes of statuses and Events in a second, in the long run. 1 to 1000. The Lease is one every 2 seconds besides.
    #[arg(long, env = "SLUICE_API_WRITES_PER_SECOND", value_name = "N", default_value_t = Report::default().writes_per_s)]
    api_writes_per_second: u32,
    /// Writes of statuses and Events at once, after a time without any. 1 to 10000.
    #[arg(long, env = "SLUICE_API_WRITES_BURST", value_name = "N", default_value_t = Report::default().writes_burst)]
    api_writes_burst: u32,
}

impl ReportArgs {
    /// Checks everything. What is wrong is added to `faults`.
    pub fn report(&self, faults: &mut Vec<String>) -> Report {
        for text in self.status_address.iter().filter(|text| text.parse::<IpAddr>().is_err() && !is_name(text)) {
            faults.push(format!("--status-address {text:?} is neither an address nor a name in lower case"));
        }
        if self.status_address.len() > ADDRESSES_MAX {
            faults.push(format!("--status-address is given more than {ADDRESSES_MAX} times"));
        }
        if self.status_nodes && self.agent_service.is_none() {
            faults.push("--status-nodes needs --agent-service: it lists the nodes with a ready agent".to_owned());
        }
        if !is_name(&self.leader_lease) {
            faults.push(format!("--leader-lease {:?} is no name of an object", self.leader_lease));
        }
        let rate = [
            ("--api-writes-per-second", self.api_writes_per_second, WRITES_PER_S_MAX),
            ("--api-writes-burst", self.api_writes_burst, WRITES_BURST_MAX),
        ];
        for (flag, value, max) in rate.into_iter().filter(|(_, value, max)| !(1..=*max).contains(value)) {
            faults.push(format!("{flag} {value} is out of bounds: give 1 to {max}"));
        }
        Report {
            addresses: self.status_address.clone(),
            publish_service: self.publish_service.clone(),
            nodes: self.status_nodes,
            agents: self.agent_service.clone(),
            keep_on_shutdown: self.status_keep_on_shutdown,
            events: self.events == Switch::On,
            pod: self.pod_name.clone().filter(|name| !name.is_empty()),
            namespace: self.pod_namespace.clone().filter(|name| !name.is_empty()),
            lease: self.leader_lease.clone(),
            writes_per_s: self.api_writes_per_second,
            writes_burst: self.api_writes_burst,
        }
    }
}

/// RFC 1123 section 2.1, as Kubernetes has subdomains: up to 253 bytes, labels of lower-case letters, digits and hyphens inside.
fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn parse(arguments: &[&str]) -> (Report, Vec<String>) {
        let args = Just::try_parse_from(["run"].iter().chain(arguments)).expect("arguments parse").report;
        let mut faults = Vec::new();
        (args.report(&mut faults), faults)
    }

    #[test]
    fn defaults_are_those_of_the_type() {
        assert_eq!(parse(&[]), (Report::default(), Vec::new()));
    }

    #[test]
    fn what_is_given_is_taken() {
        let (report, faults) = parse(&[
            "--status-address=203.0.113.1,2001:db8::1",
            "--status-address=lb.example",
            "--publish-service=lb/front",
            "--status-nodes",
            "--agent-service=lb/agents",
            "--status-keep-on-shutdown",
            "--events=off",
            "--leader-lease=l",
            "--pod-name=p",
            "--pod-namespace=n",
            "--api-writes-per-second=5",
            "--api-writes-burst=7",
        ]);
        let name = |text: &str| Some(text.parse().expect("a name"));
        let want = Report {
            addresses: ["203.0.113.1", "2001:db8::1", "lb.example"].map(str::to_owned).to_vec(),
            publish_service: name("lb/front"),
            nodes: true,
            agents: name("lb/agents"),
            keep_on_shutdown: true,
            events: false,
            pod: Some("p".to_owned()),
            namespace: Some("n".to_owned()),
            lease: "l".to_owned(),
            writes_per_s: 5,
            writes_burst: 7,
        };
        assert_eq!((report, faults), (want, Vec::new()));
    }

    #[test]
    fn every_fault_is_listed() {
        for (argument, part) in [
            ("--status-address=LB.example", "lower case"),
            ("--status-address=a b", "neither"),
            ("--status-nodes", "--agent-service"),
            ("--leader-lease=A", "no name"),
            ("--api-writes-per-second=0", "1 to 1000"),
            ("--api-writes-burst=10001", "1 to 10000"),
        ] {
            let (_, faults) = parse(&[argument]);
            assert!(faults.len() == 1 && faults[0].contains(part), "{argument}: {faults:?}");
        }
        assert!(Just::try_parse_from(["run", "--publish-service=front"]).is_err());
    }
}
