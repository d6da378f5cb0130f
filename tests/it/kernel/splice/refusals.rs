//! Each reason why two connections stay apart, as the kernel brings it about.

use super::{after, talk};
use lb_core::handoff::Apart;
use lb_tests::handoff::{Family, Site, dial};
use lb_tests::lab::Lab;
use lb_userspace::kernel::{Interfaces, SplicerSetup};
use std::net::{SocketAddr, TcpListener};

/// A pair that is not joined, for one reason.
fn check(apart: Apart, change: impl FnOnce(&Lab), setup: impl FnOnce(&mut SplicerSetup)) {
    let lab = Lab::new();
    change(&lab);
    let site = Site::on(lab, setup);
    assert_eq!(site.try_join(Family::V4).expect_err("apart"), apart);
    assert!(site.splicer().flows().is_empty());
    after(&site);
}

#[test]
fn timestamps_on_one_side() {
    for side in [0, 1] {
        let change = |lab: &Lab| {
            let namespace = if side == 0 { &*lab.client } else { &lab.pods };
            namespace.sysctl("ipv4/tcp_timestamps", "0").expect("a setting of the namespace");
        };
        check(Apart::Timestamps, change, |_| {});
    }
}

#[test]
fn selective_acknowledgement_on_one_side() {
    check(Apart::Sack, |lab| lab.client.sysctl("ipv4/tcp_sack", "0").expect("a setting of the namespace"), |_| {});
}

#[test]
fn notification_of_congestion_on_one_side() {
    check(Apart::Ecn, |lab| lab.client.sysctl("ipv4/tcp_ecn", "1").expect("a setting of the namespace"), |_| {});
}

#[test]
fn a_backend_that_takes_less_than_the_client_may_send() {
    let narrow = |lab: &Lab| {
        lab.balancer.ip("link set dev pods mtu 1400").expect("a setting of the interface");
        lab.pods.ip("link set dev eth0 mtu 1400").expect("a setting of the interface");
    };
    check(Apart::Mss, narrow, |_| {});
}

#[test]
fn an_interface_without_our_programs() {
    for name in ["clients", "pods"] {
        let named = |setup: &mut SplicerSetup| setup.carrier.interfaces = Interfaces::Named(vec![name.to_owned()]);
        check(Apart::Interface, |_| {}, named);
    }
}

#[test]
fn a_full_map_and_a_range_of_ports_that_is_used_up() {
    for (apart, change) in [
        (Apart::Full, (|setup: &mut SplicerSetup| setup.pairs_max = 1) as fn(&mut SplicerSetup)),
        (Apart::Ports, |setup| setup.ports = 20_000..=20_000),
    ] {
        let site = Site::with(change);
        let mut first = site.join(Family::V4);
        assert_eq!(site.try_join(Family::V4).expect_err("apart"), apart);
        talk(&site, &mut first);
        after(&site);
    }
}

#[test]
fn a_backend_on_loopback_or_of_the_other_family() {
    let site = Site::new();
    let front = site.front(Family::V4);
    let refused = |endpoint: &str| {
        let endpoint: SocketAddr = endpoint.parse().expect("address");
        site.inside(|splicer| dial(splicer, &front.front, endpoint)).expect_err("apart")
    };
    // Its own address is reached by loopback too.
    for endpoint in ["127.0.0.1:80", "10.1.0.1:80", "10.2.0.1:80"] {
        assert_eq!(refused(endpoint), Apart::Interface, "{endpoint}");
    }
    assert_eq!(refused("[fd02::10]:80"), Apart::Family);
    after(&site);
}

#[test]
fn a_client_that_takes_less_than_was_announced_to_it_is_carried_once_the_backend_is_known() {
    let lab = Lab::new();
    // The client is behind something narrow of which the agent's interface knows nothing.
    lab.client.ip("link set dev eth0 mtu 1300").expect("a setting of the interface");
    let site = Site::on(lab, |_| {});
    assert_eq!(site.try_join(Family::V4).expect_err("nobody knows what the backend takes"), Apart::Mss);
    let mut pair = site.join(Family::V4);
    talk(&site, &mut pair);
    after(&site);
}

#[test]
fn a_port_that_another_program_listens_on_is_passed_by() {
    let site = Site::with(|setup| setup.ports = 20_000..=20_001);
    let _other = site.lab.balancer.run(|| TcpListener::bind("0.0.0.0:20000")).expect("free");
    let mut pair = site.join(Family::V4);
    talk(&site, &mut pair);
    assert_eq!(site.splicer().flows()[0].source.port(), 20_001);
    after(&site);
}
