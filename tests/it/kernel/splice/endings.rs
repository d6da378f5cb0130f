//! Pairs that end otherwise than by both sides finishing: resets from either side, by us, and 4-tuples that are used again.

use super::{after, soon, talk};
use lb_core::handoff::{Carried, Ending};
use lb_tests::handoff::{Family, Pair, Site, endpoint, expect_reset, front_address};
use lb_userspace::kernel::Selector;
use nix::sys::socket::{SockaddrStorage, bind, setsockopt, sockopt};
use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

const GRACE: Duration = Duration::from_millis(500);

/// A site where pairs end soon.
fn site() -> Site {
    Site::with(|setup| setup.grace = GRACE)
}

fn ended(pair: &Pair) -> Carried {
    pair.closed.recv_timeout(Duration::from_secs(20)).expect("it ends")
}

fn reset(stream: &TcpStream) {
    setsockopt(stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).expect("an option of a socket");
}

#[test]
fn a_reset_of_the_client_reaches_the_backend() {
    let site = site();
    let mut pair = site.join(Family::V4);
    reset(&pair.client);
    let other = std::mem::replace(&mut pair.client, pair.backend.try_clone().expect("a second handle"));
    drop(other);
    expect_reset(&mut pair.backend);
    assert_eq!(ended(&pair).ending, Some(Ending::ClientReset));
    after(&site);
}

#[test]
fn a_reset_of_the_backend_reaches_the_client() {
    let site = site();
    let mut pair = site.join(Family::V4);
    reset(&pair.backend);
    let other = std::mem::replace(&mut pair.backend, pair.client.try_clone().expect("a second handle"));
    drop(other);
    expect_reset(&mut pair.client);
    assert_eq!(ended(&pair).ending, Some(Ending::BackendReset));
    after(&site);
}

/// Resets a pair and then the other, which all ends must see at once.
fn cut(family: Family) {
    let site = site();
    let (mut pair, mut other) = (site.join(family), site.join(family));
    talk(&site, &mut pair);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::Id(0))), 1);
    expect_reset(&mut pair.client);
    expect_reset(&mut pair.backend);
    assert_eq!(ended(&pair).ending, Some(Ending::Administrator));
    talk(&site, &mut other);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::All)), 1);
    expect_reset(&mut other.client);
    expect_reset(&mut other.backend);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::All)), 0);
    after(&site);
}

#[test]
fn an_administrator_resets_one_pair_or_all() {
    for family in [Family::V4, Family::V6] {
        // Records are given out in turn, so the first pair has the first.
        cut(family);
    }
}

#[test]
fn an_administrator_resets_pairs_of_a_client_or_to_a_backend() {
    let site = site();
    let mut pairs = [site.join(Family::V4), site.join(Family::V4), site.join(Family::V6)];
    let client = pairs[0].client.local_addr().expect("address").ip();
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::Client(client))), 2);
    talk(&site, &mut pairs[2]);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::Backend(endpoint(Family::V4)))), 0);
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::Backend(endpoint(Family::V6)))), 1);
    for mut pair in pairs {
        expect_reset(&mut pair.client);
        expect_reset(&mut pair.backend);
    }
    after(&site);
}

#[test]
fn a_reset_is_believed_while_much_is_under_way() {
    use std::io::Write;
    let site = site();
    let mut pair = site.join(Family::V4);
    // Nobody reads: the client's window is full, and the backend has more to send.
    pair.backend.set_nonblocking(true).expect("an option of a socket");
    let mut sent = 0;
    while let Ok(bytes) = pair.backend.write(&[7; 65536]) {
        sent += bytes;
    }
    pair.backend.set_nonblocking(false).expect("an option of a socket");
    assert!(sent > 1 << 17, "{sent}");
    assert_eq!(site.inside(|splicer| splicer.reset(Selector::All)), 1);
    expect_reset(&mut pair.backend);
    // What had come before is read first.
    let mut left = vec![0; 1 << 24];
    loop {
        match std::io::Read::read(&mut pair.client, &mut left) {
            Ok(0) => panic!("an end, where a reset was sent"),
            Ok(_) => {}
            Err(error) => break assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    after(&site);
}

#[test]
fn an_idle_pair_is_reset() {
    let site = Site::with(|setup| setup.idle = Duration::from_secs(1));
    let mut pair = site.join(Family::V4);
    expect_reset(&mut pair.client);
    expect_reset(&mut pair.backend);
    assert_eq!(ended(&pair).ending, Some(Ending::Idle));
    after(&site);
}

#[test]
fn a_pair_whose_backend_is_gone_is_reset_after_a_while() {
    let site = Site::with(|setup| setup.drain = Duration::from_secs(3));
    let (mut gone, mut stays) = (site.join(Family::V4), site.join(Family::V6));
    site.splicer().endpoints(|_| HashSet::from([endpoint(Family::V6)]));
    talk(&site, &mut gone);
    assert_eq!(ended(&gone).ending, Some(Ending::BackendGone));
    expect_reset(&mut gone.client);
    expect_reset(&mut gone.backend);
    talk(&site, &mut stays);
    after(&site);
}

/// A client that connects from a port of its choice.
fn connect_from(site: &Site, port: u16) -> TcpStream {
    site.lab.client.run(|| {
        let local = SocketAddr::from(([10, 1, 0, 2], port));
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        setsockopt(&socket, sockopt::ReuseAddr, &true).expect("an option of a socket");
        bind(socket.as_raw_fd(), &SockaddrStorage::from(local)).expect("the port is free");
        let to = SockaddrStorage::from(front_address(Family::V4));
        nix::sys::socket::connect(socket.as_raw_fd(), &to).expect("the agent listens");
        TcpStream::from(socket)
    })
}

#[test]
fn a_client_may_use_its_port_again_at_once() {
    // A long grace: the pair is still known when its 4-tuple comes again.
    let site = Site::with(|setup| setup.grace = Duration::from_secs(60));
    let client = connect_from(&site, 40_000);
    let first = site.join_client(Family::V4, site.accept(Family::V4, client)).expect("joined");
    // A reset leaves no TIME_WAIT, so the port can be bound again.
    reset(&first.client);
    drop(first.client);
    soon("the pair is closing", || site.splicer().flows().iter().all(|flow| flow.state == "closing"));
    let client = connect_from(&site, 40_000);
    assert_eq!(site.count("reused"), 1);
    assert_eq!(first.closed.recv_timeout(Duration::from_secs(5)).expect("it ends").ending, Some(Ending::ClientReset));
    let mut second = site.join_client(Family::V4, site.accept(Family::V4, client)).expect("joined");
    talk(&site, &mut second);
    assert_eq!(site.splicer().flows().len(), 1);
    after(&site);
}
