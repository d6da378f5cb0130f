//! A router on the way that takes smaller packets than both ends believe: it says so, and who sent the packet must hear of it.

use super::{after, soon};
use lb_core::handoff::{Answer, Decision};
use lb_tests::handoff::{ANSWER, Family, REQUEST, Site, decide, dial, expect, front_address, transfer};
use lb_tests::lab::Lab;
use lb_tests::netns::{Namespace, join};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// Bytes of a body, and what the narrow link takes.
const BODY: u64 = 10 << 20;
const MTU: &str = "1400";

const FAR_NET: [&str; 2] = ["10.3.0.0/24", "fd03::/64"];
const FAR: [&str; 2] = ["10.3.0.2", "fd03::2"];

/// A namespace behind one of the lab's, which becomes a router whose link to it is narrow. Only the router knows: the far end
/// announces segments as large as any.
fn far(lab: &Lab, router: &Namespace, near: [&str; 2]) -> Namespace {
    let far = Namespace::new("far").expect("a namespace");
    join((router, "far", &["10.3.0.1/24", "fd03::1/64"]), (&far, "eth0", &["10.3.0.2/24", "fd03::2/64"]))
        .expect("joined");
    router.ip(&format!("link set dev far mtu {MTU}")).expect("a setting of the interface");
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        router.sysctl(name, "1").expect("a setting of the namespace");
    }
    far.ip("route add default via 10.3.0.1\nroute add default via fd03::1").expect("routes");
    for (net, via) in FAR_NET.iter().zip(near) {
        lab.balancer.ip(&format!("route add {net} via {via}")).expect("a route");
    }
    far
}

/// What must hold when a body has passed by the kernel, and a router has spoken.
fn carried(site: &Site) {
    assert!(site.count("icmp_carried") >= 1, "{:?}", site.splicer().counters());
    assert_eq!(site.count("icmp_doubted"), 0);
    after(site);
}

fn check_client(family: Family) {
    let lab = Lab::new();
    let far = far(&lab, &lab.client, ["10.1.0.2", "fd01::2"]);
    let site = Site::on(lab, |_| {});
    let client = far.connect(front_address(family)).expect("the agent listens");
    let pair = site.join_client(family, site.accept(family, client)).expect("joined");
    transfer(&pair.backend, &pair.client, 1, BODY);
    assert!(site.splicer().flows()[0].carried.bytes_down >= BODY, "by the kernel");
    carried(&site);
}

fn check_backend(family: Family) {
    let lab = Lab::new();
    let far = far(&lab, &lab.pods, ["10.2.0.10", "fd02::10"]);
    let endpoint = SocketAddr::new(FAR[family as usize].parse().expect("an address"), 8080);
    let listener = far.run(|| TcpListener::bind(endpoint)).expect("the address is its own");
    let site = Site::on(lab, |_| {});
    let mut front = site.front(family);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let mut back = site.inside(|splicer| dial(splicer, &front.front, endpoint)).expect("joinable").expect("it listens");
    let (mut backend, _) = listener.accept().expect("a connection waits");
    let bytes = REQUEST.len() as u32;
    let mut pending =
        site.inside(|splicer| splicer.begin(front.front.as_fd(), back.as_fd(), bytes, Answer::Any)).expect("begun");
    back.write_all(REQUEST).expect("sent");
    expect(&mut backend, REQUEST);
    backend.write_all(ANSWER).expect("sent");
    assert_eq!(decide(&mut pending), Decision::Carried);
    expect(&mut front.client, ANSWER);
    pending.surrender(front.front.into(), back.into(), String::new(), Box::new(|_| {}));
    transfer(&front.client, &backend, 1, BODY);
    soon("by the kernel", || site.splicer().flows()[0].carried.bytes_up >= BODY);
    carried(&site);
}

#[test]
fn a_narrow_link_to_the_client_is_told_to_the_backend() {
    check_client(Family::V4);
}

#[test]
fn a_narrow_link_to_the_client_is_told_to_the_backend_over_ipv6() {
    check_client(Family::V6);
}

#[test]
fn a_narrow_link_to_the_backend_is_told_to_the_client() {
    check_backend(Family::V4);
}

#[test]
fn a_narrow_link_to_the_backend_is_told_to_the_client_over_ipv6() {
    check_backend(Family::V6);
}
