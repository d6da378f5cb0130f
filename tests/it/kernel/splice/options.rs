//! What sockets can have that a translation of packets does not keep: each is refused with its reason, or does not matter.

use super::{after, talk};
use lb_core::handoff::{Answer, Apart};
use lb_tests::handoff::{Back, Family, Front, REQUEST, Site, dial, endpoint, expect};
use lb_tests::lab::{BALANCER, Lab};
use lb_tests::netns::Namespace;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Where sockets of Multipath TCP listen in these tests.
const MULTIPATH: SocketAddr = SocketAddr::new(BALANCER, 444);

fn multipath() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).expect("this kernel has Multipath TCP")
}

fn listen_multipath(namespace: &Namespace, address: SocketAddr) -> TcpListener {
    namespace.run(|| {
        let socket = multipath();
        socket.set_reuse_address(true).expect("an option of a socket");
        socket.bind(&address.into()).expect("the address is ours");
        socket.listen(8).expect("it listens");
        socket.into()
    })
}

fn connect_multipath(namespace: &Namespace, address: SocketAddr) -> TcpStream {
    namespace.run(|| {
        let socket = multipath();
        socket.connect(&address.into()).expect("it listens");
        socket.into()
    })
}

/// A connection whose request has come, and a backend's beside it that would fit.
fn ready(site: &Site) -> (Front, Back) {
    let mut front = site.front(Family::V4);
    front.client.write_all(REQUEST).expect("sent");
    expect(&mut front.front, REQUEST);
    let back = site.back(Family::V4, &front).expect("dialled");
    (front, back)
}

fn apart(site: &Site, front: &Front, back: &Back) -> Apart {
    site.begin(front, back, Answer::Any).expect_err("apart")
}

#[test]
fn a_client_of_multipath_tcp_is_apart_only_where_it_is_answered_so() {
    let site = Site::new();
    // Our listeners are plain: a client that offers it is answered without.
    let client = connect_multipath(&site.lab.client, lb_tests::handoff::front_address(Family::V4));
    let mut pair = site.join_client(Family::V4, site.accept(Family::V4, client)).expect("joined");
    talk(&site, &mut pair);

    let listener = listen_multipath(&site.lab.balancer, MULTIPATH);
    let client = connect_multipath(&site.lab.client, MULTIPATH);
    let front = Front { client, front: listener.accept().expect("it waits").0 };
    assert_eq!(site.back(Family::V4, &front).expect_err("apart"), Apart::Option);
    let (_, back) = ready(&site);
    assert_eq!(apart(&site, &front, &back), Apart::Option);

    // And a plain client of such a listener has a plain connection.
    let client = site.lab.client.connect(MULTIPATH).expect("it listens");
    let front = Front { client, front: listener.accept().expect("it waits").0 };
    let mut pair = site.join_client(Family::V4, front).expect("joined");
    talk(&site, &mut pair);
    after(&site);
}

#[test]
fn a_backend_of_multipath_tcp_is_apart_only_where_it_is_dialled_so() {
    let site = Site::new();
    let address = SocketAddr::new(endpoint(Family::V4).ip(), 8081);
    let listener = listen_multipath(&site.lab.pods, address);
    let (front, _) = ready(&site);
    let back = connect_multipath(&site.lab.balancer, address);
    let back = Back { back, backend: listener.accept().expect("it waits").0 };
    assert_eq!(apart(&site, &front, &back), Apart::Option);
    // As the splicer dials, it is a plain connection.
    let back = site.inside(|splicer| dial(splicer, &front.front, address)).expect("joinable").expect("it listens");
    let back = Back { back, backend: listener.accept().expect("it waits").0 };
    drop(site.begin(&front, &back, Answer::Any).expect("begun"));
    after(&site);
}

#[test]
fn tls_in_the_kernel_is_apart() {
    let site = Site::new();
    for of_client in [true, false] {
        let (front, back) = ready(&site);
        let socket = if of_client { &front.front } else { &back.back };
        match setsockopt(socket, sockopt::TcpUlp::default(), b"tls") {
            Ok(()) => {
                assert_eq!(apart(&site, &front, &back), Apart::Option);
                if of_client {
                    assert_eq!(site.back(Family::V4, &front).expect_err("apart"), Apart::Option);
                }
            }
            // A kernel without it has nothing that could be joined; the rule itself is tested in `lb-core`.
            Err(error) => assert_eq!(error, Errno::ENOENT, "CONFIG_TLS is not there"),
        }
    }
    after(&site);
}

/// Lets connections by a route stamp their segments with microseconds (kernel 6.7): `RTM_NEWROUTE` with the feature, which
/// `ip` knows of since 6.8 only.
fn count_microseconds(namespace: &Namespace, network: [u8; 4], interface: &str) -> Result<(), Errno> {
    const FEATURES: u16 = 12;
    const TCP_USEC_TS: u32 = 1 << 4;
    let attribute = |kind: u16, content: &[u8]| {
        let mut bytes = [(4 + content.len() as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(content);
        bytes
    };
    namespace.run(|| {
        let index = nix::net::if_::if_nametoindex(interface).expect("the interface is there");
        // An IPv4 route of 24 bits in the main table, by the kernel, on a link, to one.
        let mut body = vec![2, 24, 0, 0, 254, 2, 253, 1, 0, 0, 0, 0];
        body.extend(attribute(1, &network));
        body.extend(attribute(4, &index.to_ne_bytes()));
        body.extend(attribute(8, &attribute(FEATURES, &TCP_USEC_TS.to_ne_bytes())));
        // Request, answer, replace, create.
        let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend([24u16.to_ne_bytes(), 0x505_u16.to_ne_bytes()].concat());
        message.extend([0; 8]);
        message.extend(body);
        let netlink =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 256];
        recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        if error == 0 { Ok(()) } else { Err(Errno::from_raw(-error)) }
    })
}

#[test]
fn clocks_that_count_microseconds_are_apart() {
    for (network, interface) in [([10, 1, 0, 0], "clients"), ([10, 2, 0, 0], "pods")] {
        let lab = Lab::new();
        let set = count_microseconds(&lab.balancer, network, interface);
        let site = Site::on(lab, |_| {});
        match set {
            Ok(()) => assert_eq!(site.try_join(Family::V4).expect_err("apart"), Apart::Clock, "{interface}"),
            // A kernel before 6.7 has no such clocks.
            Err(error) => {
                assert_eq!(error, Errno::EINVAL, "{interface}");
                talk(&site, &mut site.join(Family::V4));
            }
        }
        after(&site);
    }
}

#[test]
fn microseconds_of_a_peer_are_its_own_matter() {
    // Each side chooses its own unit; the other only echoes. What we translate are offsets, which no unit changes.
    for client in [true, false] {
        let lab = Lab::new();
        let (namespace, network) = if client { (&*lab.client, [10, 1, 0, 0]) } else { (&lab.pods, [10, 2, 0, 0]) };
        let _before_6_7 = count_microseconds(namespace, network, "eth0");
        let site = Site::on(lab, |_| {});
        let mut pair = site.join(Family::V4);
        talk(&site, &mut pair);
        lb_tests::handoff::transfer(&pair.client, &pair.backend, 1, 1 << 20);
        lb_tests::handoff::transfer(&pair.backend, &pair.client, 2, 1 << 20);
        after(&site);
    }
}
