//! What is left of an agent: no socket while it lives, every pair when it is gone, and all of them listed by the next.

use super::{after, soon, talk};
use lb_core::handoff::{Carried, Ending, service_number};
use lb_tests::handoff::{Family, Site, expect_end, expect_reset};
use lb_userspace::kernel::Selector;
use std::net::Shutdown;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Lines of `/proc/net/tcp` of the agent's namespace that are neither the head nor a listener.
fn sockets(site: &Site) -> usize {
    let text =
        site.lab.balancer.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).expect("the kernel lists");
    text.lines().skip(1).filter(|line| line.split_whitespace().nth(3) != Some("0A")).count()
}

#[test]
fn a_carried_pair_has_no_socket_of_ours() {
    let site = Site::new();
    let mut pairs = [site.join(Family::V4), site.join(Family::V4)];
    assert_eq!(sockets(&site), 0);
    for pair in &mut pairs {
        talk(&site, pair);
    }
    assert_ne!(site.splicer().flows()[0].source, site.splicer().flows()[1].source);
    after(&site);
}

#[test]
fn pairs_go_on_without_an_agent_and_are_listed_by_the_next() {
    let mut site = Site::with(|setup| {
        setup.grace = Duration::from_millis(500);
        setup.ports = 20_000..=20_002;
    });
    let (mut first, mut second) = (site.join(Family::V4), site.join(Family::V4));
    let before = site.splicer().flows();
    site.close();
    for pair in [&mut first, &mut second] {
        std::io::Write::write_all(&mut pair.client, b"alone").expect("sent");
        lb_tests::handoff::expect(&mut pair.backend, b"alone");
    }
    site.open();
    let listed = site.splicer().flows();
    assert_eq!(listed.len(), 2);
    for (before, now) in before.iter().zip(&listed) {
        assert_eq!((before.id, before.client, before.source), (now.id, now.client, now.source));
        assert!(now.service.is_none() && now.carried.bytes_up >= before.carried.bytes_up + 5, "{now:?}");
    }
    let unclaimed = site.splicer().unclaimed();
    assert_eq!((unclaimed.len(), site.splicer().count().load(Relaxed)), (2, 2));
    for pair in &unclaimed {
        assert_eq!((pair.backend, pair.service), (listed[0].backend, service_number("shop/cart:80")));
    }
    let (told, ended) = std::sync::mpsc::channel();
    let other = told.clone();
    let claimed = unclaimed.iter().find(|pair| pair.id == listed[0].id).expect("it is listed");
    let claim = |told: std::sync::mpsc::Sender<_>| {
        let close = Box::new(move |carried| told.send(carried).expect("the test listens"));
        site.splicer().claim(claimed, "shop/cart:80".to_owned(), close)
    };
    assert!(claim(told) && !claim(other), "it is claimed once");
    assert_eq!(site.splicer().unclaimed().len(), 1);
    assert_eq!(site.splicer().flows()[0].service.as_deref(), Some("shop/cart:80"));
    // Their ports and records are in use.
    let mut third = site.join(Family::V4);
    let sources: std::collections::HashSet<_> = site.splicer().flows().iter().map(|flow| flow.source).collect();
    assert_eq!(sources.len(), 3);
    for pair in [&mut first, &mut second, &mut third] {
        talk(&site, pair);
    }
    // They end as any other.
    second.client.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut second.backend);
    second.backend.shutdown(Shutdown::Write).expect("finished");
    expect_end(&mut second.client);
    soon("it is taken out", || site.splicer().flows().len() == 2);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::Id(listed[0].id))), 1);
    expect_reset(&mut first.client);
    expect_reset(&mut first.backend);
    let carried: Carried = ended.recv_timeout(Duration::from_secs(5)).expect("who claimed it is told");
    assert_eq!(carried.ending, Some(Ending::Administrator));
    assert!(!site.splicer().claim(claimed, String::new(), Box::new(|_| {})), "it is over");
    assert!(third.closed.try_recv().is_err());
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::All)), 1);
    assert_eq!(third.closed.recv_timeout(Duration::from_secs(5)).expect("told").ending, Some(Ending::Administrator));
    assert_eq!(site.splicer().count().load(Relaxed), 0);
    after(&site);
}
