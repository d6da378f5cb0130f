//! Where packets leave to, where forwarding is on and where it is not.

use super::pair::{BACK_MAC, BACKEND_MAC, CLIENT_MAC, FRONT_MAC, Family, Sender};
use super::rig::{Program, Rig, TC_DROP, TC_PASS, TC_REDIRECT, take};
use super::{FAMILIES, outcome};
use lb_common::splice::{ACTIVE, Conn, Direction};
use lb_tests::packet::{ACK, Packet};

/// What is known of the next hop before and after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    ifindex: u32,
    dst: [u8; 6],
    src: [u8; 6],
}

const NOTHING: Known = Known { ifindex: 0, dst: [0; 6], src: [0; 6] };

fn set_forwarding(rig: &Rig, value: &str) {
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        rig.namespace.sysctl(name, value).expect("the kernel has this setting");
    }
}

fn known(direction: &Direction) -> Known {
    Known { ifindex: direction.hop_ifindex, dst: direction.hop_dst, src: direction.hop_src }
}

/// What the kernel knows about the way to the receiver of a packet.
fn right(rig: &Rig, from: Sender) -> Known {
    match from {
        Sender::Client => Known { ifindex: rig.backend_ifindex, dst: BACKEND_MAC, src: BACK_MAC },
        Sender::Backend => Known { ifindex: rig.client_ifindex, dst: CLIENT_MAC, src: FRONT_MAC },
    }
}

fn insert(rig: &mut Rig, family: Family, hop: Known, hop_ns: u64) -> Conn {
    let set = |d: Direction| Direction { hop_ifindex: hop.ifindex, hop_dst: hop.dst, hop_src: hop.src, hop_ns, ..d };
    let conn = rig.conn(family, ACTIVE);
    let conn = Conn { up: set(conn.up), down: set(conn.down), ..conn };
    rig.insert(family, &conn);
    conn
}

/// One packet; answers what is known of the next hop then. The Ethernet header is the kernel's to write.
fn send(rig: &mut Rig, family: Family, from: Sender) -> Known {
    let packet = Packet { payload: b"payload".to_vec(), ..family.packet(from) };
    let ran = rig.arrive(Program::Splice, from, &packet.bytes());
    assert_eq!(
        (ran.verdict, ran.counted),
        (TC_REDIRECT, vec![(outcome(Program::Splice, from), 1)]),
        "{family:?} {from:?}"
    );
    let left = Packet::read(&ran.bytes);
    let expected = family.translated(from, &packet);
    assert_eq!(left, Packet { mac_dst: left.mac_dst, mac_src: left.mac_src, ..expected }, "{family:?} {from:?}");
    known(from.direction(&rig.record()))
}

#[test]
fn a_router_looks_the_next_hop_up_when_it_is_not_known_or_old() {
    let taken = take();
    let mut rig = taken.rig();
    set_forwarding(&rig, "1");
    for family in FAMILIES {
        for from in Sender::BOTH {
            let wrong = Known { ifindex: 1, dst: [6; 6], src: [7; 6] };
            let right = right(&rig, from);
            let now = super::rig::now_ns();
            for (before, ns, after) in [
                (NOTHING, 0, right),
                (wrong, now - 1_000_000_000, right),
                (wrong, 0, right),
                // What was looked up within a second stands.
                (wrong, now, wrong),
            ] {
                insert(&mut rig, family, before, ns);
                assert_eq!(send(&mut rig, family, from), after, "{family:?} {from:?} {before:?} {ns}");
                let looked_up = from.direction(&rig.record()).hop_ns;
                assert_eq!(looked_up > now, after != before, "{family:?} {from:?}: {looked_up}");
            }
        }
    }
}

#[test]
fn without_forwarding_packets_leave_by_the_interface_that_was_given() {
    let taken = take();
    let mut rig = taken.rig();
    set_forwarding(&rig, "0");
    for family in FAMILIES {
        for from in Sender::BOTH {
            let given = Known { ifindex: right(&rig, from).ifindex, ..NOTHING };
            let before = insert(&mut rig, family, given, 0);
            assert_eq!(send(&mut rig, family, from), given);
            assert_eq!(from.direction(&rig.record()).hop_ns, from.direction(&before).hop_ns);
        }
    }
}

#[test]
fn without_any_next_hop_packets_are_dropped() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            set_forwarding(&rig, "0");
            let before = insert(&mut rig, family, NOTHING, 0);
            let frame = family.packet(from).bytes();
            let ran = rig.arrive(Program::Splice, from, &frame);
            assert_eq!((ran.verdict, ran.counted), (TC_DROP, vec![("no_hop", 1)]));
            assert_eq!(rig.record(), before, "a packet that did not leave is not counted");
            // A destination that no route leads to.
            set_forwarding(&rig, "1");
            let mut lost = before;
            lost.up.dst = lb_common::addr::from_ip("203.0.113.1".parse().expect("an address"));
            lost.down.dst = lost.up.dst;
            if family == Family::V6 {
                lost.up.dst = lb_common::addr::from_ip("2001:db8::1".parse().expect("an address"));
                lost.down.dst = lost.up.dst;
            }
            rig.insert(family, &lost);
            let ran = rig.arrive(Program::Splice, from, &frame);
            assert_eq!((ran.verdict, ran.counted), (TC_DROP, vec![("no_hop", 1)]));
            assert_eq!(rig.record(), lost);
        }
    }
}

#[test]
fn a_neighbour_that_is_not_known_is_asked_for() {
    let taken = take();
    let mut rig = taken.rig();
    set_forwarding(&rig, "1");
    for family in FAMILIES {
        let before = insert(&mut rig, family, NOTHING, 0);
        let mut other = before;
        let stranger = if family == Family::V4 { "10.80.2.77" } else { "fd80:2::77" };
        other.up.dst = lb_common::addr::from_ip(stranger.parse().expect("an address"));
        rig.insert(family, &other);
        let packet = Packet { flags: ACK, ..family.packet(Sender::Client) };
        let ran = rig.arrive(Program::Splice, Sender::Client, &packet.bytes());
        assert_eq!((ran.verdict, ran.counted), (TC_REDIRECT, vec![("up", 1)]));
        assert_eq!(known(&rig.record().up), NOTHING, "nothing is kept of a neighbour that did not answer yet");
        assert_ne!(ran.verdict, TC_PASS);
    }
}
