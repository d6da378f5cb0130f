//! Windows in the units of either side: every scale from 0 to 14 (RFC 7323 section 2.3), towards every other.

use lb_tests::handoff::{Family, Site, transfer};
use lb_tests::netns::Namespace;
use std::net::{SocketAddr, TcpStream};

/// Bytes each way: more than the smallest window by far.
const BYTES: u64 = 2 << 20;

/// The largest scale.
const SCALE_MAX: u32 = 14;

/// The largest window that a namespace offers from now on: the scale is the least that can say it.
fn offer(namespace: &Namespace, network: &str, scale: u32) {
    namespace.ip(&format!("route change {network} dev eth0 window {}", 32_768_u32 << scale)).expect("a route");
}

/// The scale that a socket announced, as the kernel tells it.
fn announced(namespace: &Namespace, stream: &TcpStream) -> u32 {
    let port = |address: std::io::Result<SocketAddr>| address.expect("an address").port();
    let filter = format!("sport = {} and dport = {}", port(stream.local_addr()), port(stream.peer_addr()));
    let output = namespace.command("ss").args(["-Htin", &filter]).output().expect("iproute2");
    let text = String::from_utf8_lossy(&output.stdout);
    let scales =
        text.split_whitespace().find_map(|word| word.strip_prefix("wscale:")).unwrap_or_else(|| panic!("{text}"));
    scales.split_once(',').and_then(|(_, ours)| ours.parse().ok()).unwrap_or_else(|| panic!("{scales}"))
}

#[test]
fn every_scale_meets_another() {
    let site = Site::new();
    let (client, pods) = (&*site.lab.client, &site.lab.pods);
    for namespace in [client, pods] {
        namespace.sysctl("ipv4/tcp_rmem", "4096 131072 536870912").expect("room for the largest window");
    }
    for scale in 0..=SCALE_MAX {
        offer(client, "10.1.0.0/24", scale);
        offer(pods, "10.2.0.0/24", SCALE_MAX - scale);
        let pair = site.join(Family::V4);
        assert_eq!((announced(client, &pair.client), announced(pods, &pair.backend)), (scale, SCALE_MAX - scale));
        transfer(&pair.client, &pair.backend, 1, BYTES);
        transfer(&pair.backend, &pair.client, 2, BYTES);
    }
    assert_eq!(site.splicer().splicing().late, 0);
}
