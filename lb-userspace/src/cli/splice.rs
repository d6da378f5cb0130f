//! Flags of splicing: whether the kernel carries connections after their first request, by which interfaces and ports,
//! and how long.
//!
//! Goes in: arguments. Comes out: [`Splice`]; every fault is listed.

use super::edge::Switch;
use crate::config::{Splice, SpliceInterfaces, SpliceMode, Xdp};
use clap::Args;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Lowest port that no privilege guards (`net.ipv4.ip_unprivileged_port_start`).
const PORT_MIN: u16 = 1_024;
/// Longest name of an interface, bytes (`IFNAMSIZ` is 16 with its NUL).
const INTERFACE_BYTES_MAX: usize = 15;
/// A second, a day and thirty days, milliseconds.
const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 24 * 3_600 * SECOND_MS;
const MONTH_MS: u64 = 30 * DAY_MS;

/// Whether and how the kernel carries connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Splicing")]
pub struct SpliceArgs {
    /// Whether the kernel carries connections that need no more routing: try it, leave it, or insist on it.
    #[arg(long, env = "SLUICE_SPLICE", value_enum, default_value = "auto")]
    splice: SpliceMode,
    /// Interfaces that clients and endpoints are reached by, separated by commas: names, or auto for all Ethernet ones, and
    /// !NAME for those that are left out. A * at the end of a name stands for any text.
    #[arg(long, env = "SLUICE_SPLICE_INTERFACES", value_name = "NAMES", value_delimiter = ',', default_value = "auto")]
    splice_interfaces: Vec<String>,
    /// Source ports towards endpoints, for this alone. 1024 to 65535, and outside of net.ipv4.ip_local_port_range.
    #[arg(long, env = "SLUICE_SPLICE_PORTS", value_name = "FROM-TO", default_value = "20000-29999")]
    splice_ports: String,
    /// A connection that nothing passes by is reset after this time, milliseconds. 1000 to 2592000000 (30 days).
    #[arg(long, env = "SLUICE_SPLICE_IDLE_MS_MAX", value_name = "MS", default_value_t = 3_600 * SECOND_MS)]
    splice_idle_ms_max: u64,
    /// A connection whose endpoint takes no more requests is reset after this time, milliseconds. 0 to 86400000 (a day).
    #[arg(long, env = "SLUICE_SPLICE_DRAIN_MS_MAX", value_name = "MS", default_value_t = 300 * SECOND_MS)]
    splice_drain_ms_max: u64,
    /// Upgraded connections too, such as WebSockets: the kernel takes the status 101 for the endpoint's word.
    #[arg(long, env = "SLUICE_SPLICE_UPGRADES", value_enum, default_value = "on")]
    splice_upgrades: Switch,
    /// Largest segment that clients are asked to send, bytes, for all connections. Needed where endpoints are behind an
    /// interface with a smaller MTU than clients, as pods of an overlay network are: its MTU less 40, or 60 for IPv6;
    /// else they are not joined (reason mss). 536 to 65495.
    #[arg(long, env = "SLUICE_SPLICE_MSS", value_name = "BYTES")]
    splice_mss: Option<u16>,
    /// In native mode of the network driver where it has one, which is faster; needs a driver that redirects frames.
    #[arg(long, env = "SLUICE_SPLICE_XDP", value_enum, default_value = "off")]
    splice_xdp: Xdp,
}

/// What every host takes (RFC 9293 section 3.7.1), and what a packet of 64 KB holds.
const MSS_MIN: u16 = 536;
const MSS_MAX: u16 = 65_495;

impl SpliceArgs {
    /// Checks everything. `listeners` are the ports that others use on this machine on our behalf. What is wrong is added
    /// to `faults`.
    pub fn splice(&self, listeners: &[SocketAddr], faults: &mut Vec<String>) -> Splice {
        let ports = self.ports(faults);
        for listener in listeners.iter().filter(|address| ports.contains(&address.port())) {
            faults.push(format!(
                "{listener} is listened on, and its port is one of --splice-ports {}: choose other ports",
                self.splice_ports
            ));
        }
        within("--splice-idle-ms-max", self.splice_idle_ms_max, SECOND_MS..=MONTH_MS, faults);
        if let Some(bytes) = self.splice_mss.filter(|bytes| !(MSS_MIN..=MSS_MAX).contains(bytes)) {
            faults.push(format!("--splice-mss {bytes} is out of bounds: {MSS_MIN} to {MSS_MAX} bytes"));
        }
        within("--splice-drain-ms-max", self.splice_drain_ms_max, 0..=DAY_MS, faults);
        Splice {
            mode: self.splice,
            interfaces: self.interfaces(faults),
            ports,
            idle_ms_max: self.splice_idle_ms_max,
            drain_ms_max: self.splice_drain_ms_max,
            upgrades: self.splice_upgrades == Switch::On,
            mss: self.splice_mss,
            xdp: self.splice_xdp,
        }
    }

    fn ports(&self, faults: &mut Vec<String>) -> RangeInclusive<u16> {
        let (from, to) = self.splice_ports.split_once('-').unwrap_or((&self.splice_ports, &self.splice_ports));
        match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
            (Ok(from), Ok(to)) if PORT_MIN <= from && from <= to => from..=to,
            _ => {
                faults.push(format!(
                    "--splice-ports {} is no range of ports: write FROM-TO, {PORT_MIN} to {}, the lower one first",
                    self.splice_ports,
                    u16::MAX
                ));
                Splice::default().ports
            }
        }
    }

    fn interfaces(&self, faults: &mut Vec<String>) -> SpliceInterfaces {
        let (mut named, mut except, mut auto) = (Vec::new(), Vec::new(), false);
        for text in self.splice_interfaces.iter().map(|text| text.trim()) {
            let (name, list) = match text.strip_prefix('!') {
                Some(name) => (name, &mut except),
                None => (text, &mut named),
            };
            match name {
                "auto" if text == name => auto = true,
                _ if is_interface(name) => list.push(name.to_owned()),
                _ => faults.push(format!(
                    "--splice-interfaces names {text:?}, which no interface is called: see `ip link` for those there are"
                )),
            }
        }
        match (auto, named.is_empty(), except.is_empty()) {
            (true, true, _) => SpliceInterfaces::Auto { except },
            (false, false, true) => SpliceInterfaces::Named(named),
            _ => {
                let given = self.splice_interfaces.join(",");
                faults.push(format!(
                    "--splice-interfaces {given} says two things: write auto and perhaps !NAME, or names"
                ));
                SpliceInterfaces::Auto { except: Vec::new() }
            }
        }
    }
}

/// What the kernel takes for the name of an interface (`dev_valid_name`), perhaps with a `*` behind its beginning.
fn is_interface(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let bytes = name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'*' | b'!'));
    bytes && (1..=INTERFACE_BYTES_MAX).contains(&text.len()) && !matches!(text, "." | "..")
}

fn within(flag: &str, value: u64, bounds: RangeInclusive<u64>, faults: &mut Vec<String>) {
    if !bounds.contains(&value) {
        faults.push(format!("{flag} {value} is out of bounds: give {} to {} ms", bounds.start(), bounds.end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        splice: SpliceArgs,
    }

    fn parse(arguments: &[&str]) -> (Splice, Vec<String>) {
        let args = Just::try_parse_from(["run"].iter().chain(arguments)).expect("arguments parse").splice;
        let mut faults = Vec::new();
        let listeners = [SocketAddr::from(([0, 0, 0, 0], 80)), SocketAddr::from(([127, 0, 0, 1], 9180))];
        (args.splice(&listeners, &mut faults), faults)
    }

    #[test]
    fn defaults_are_those_of_the_type() {
        assert_eq!(parse(&[]), (Splice::default(), Vec::new()));
    }

    #[test]
    fn what_is_given_is_taken() {
        let (splice, faults) = parse(&[
            "--splice=required",
            "--splice-interfaces=eth0,veth*",
            "--splice-ports=1024-65535",
            "--splice-idle-ms-max=1000",
            "--splice-drain-ms-max=0",
            "--splice-upgrades=off",
            "--splice-mss=1410",
            "--splice-xdp=native",
        ]);
        // The port of administration is in that range.
        assert_eq!(faults.len(), 1, "{faults:?}");
        let interfaces = SpliceInterfaces::Named(vec!["eth0".to_owned(), "veth*".to_owned()]);
        let want = Splice {
            mode: SpliceMode::Required,
            interfaces,
            ports: 1_024..=65_535,
            idle_ms_max: 1_000,
            drain_ms_max: 0,
            upgrades: false,
            mss: Some(1_410),
            xdp: Xdp::Native,
        };
        assert_eq!(splice, want);
        let except = vec!["docker0".to_owned(), "br-*".to_owned()];
        let (splice, faults) = parse(&["--splice-interfaces=auto,!docker0,!br-*"]);
        assert_eq!((splice.interfaces, faults), (SpliceInterfaces::Auto { except }, Vec::new()));
    }

    #[test]
    fn every_fault_is_listed() {
        let check = |argument: &str, part: &str| {
            let (_, faults) = parse(&[argument]);
            assert!(faults.len() == 1 && faults[0].contains(part), "{argument}: {faults:?}");
        };
        check("--splice-ports=80-90", "FROM-TO");
        check("--splice-ports=30000-20000", "FROM-TO");
        check("--splice-ports=20000-70000", "FROM-TO");
        check("--splice-ports=9000-9200", "127.0.0.1:9180 is listened on");
        check("--splice-idle-ms-max=999", "1000 to 2592000000 ms");
        check("--splice-drain-ms-max=86400001", "0 to 86400000 ms");
        check("--splice-mss=535", "536 to 65495 bytes");
        check("--splice-interfaces=auto,eth0", "two things");
        check("--splice-interfaces=!eth0", "two things");
        check("--splice-interfaces=eth0,!eth1", "two things");
        check("--splice-interfaces=eth0,a-name-of-16-byt", "no interface");
        check("--splice-interfaces=eth0,a b", "no interface");
        check("--splice-interfaces=eth0,v*h", "no interface");
    }
}
