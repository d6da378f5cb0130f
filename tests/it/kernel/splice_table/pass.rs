//! What goes on as without us, byte for byte.

use super::pair::{Family, Sender};
use super::rig::{Program, Rig, take};
use lb_common::splice::ACTIVE;
use lb_tests::packet::{ETHERNET, IPV4, IPV6, Packet};

/// Both programs of the way in, on a frame that only looks like one of a carried pair.
fn check(rig: &mut Rig, what: &str, frame: &[u8], outcome: &'static str) {
    for program in [Program::Splice, Program::Native] {
        rig.passes(program, Sender::Client, frame, outcome, &format!("{program:?}: {what}"));
    }
}

fn carried(rig: &mut Rig, family: Family) -> Packet {
    let conn = rig.conn(family, ACTIVE);
    rig.insert(family, &conn);
    Packet { payload: b"sixteen bytes or".to_vec(), ..family.packet(Sender::Client) }
}

/// A frame with some bytes written over.
fn with(packet: &Packet, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = packet.bytes();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn other_pairs_are_not_ours() {
    let taken = take();
    let mut rig = taken.rig();
    for family in super::FAMILIES {
        let packet = carried(&mut rig, family);
        let port = |port: u16| {
            let mut other = packet.clone();
            other.src.set_port(port);
            other.bytes()
        };
        check(&mut rig, "another source port", &port(40_002), "passed_unknown");
        check(&mut rig, "the bytes of the port swapped", &port(40_001_u16.swap_bytes()), "passed_unknown");
        let swapped = Packet { src: packet.dst, dst: packet.src, ..packet.clone() };
        check(&mut rig, "ends swapped", &swapped.bytes(), "passed_unknown");
        let mut other = packet.clone();
        other.dst.set_ip(family.back().ip());
        check(&mut rig, "another destination", &other.bytes(), "passed_unknown");
    }
}

#[test]
fn what_is_no_tcp_packet_passes() {
    let taken = take();
    let mut rig = taken.rig();
    let v4 = carried(&mut rig, Family::V4);
    let ip = ETHERNET;
    check(&mut rig, "ARP", &with(&v4, 12, &[0x08, 0x06]), "passed_protocol");
    check(&mut rig, "VLAN in the frame", &with(&v4, 12, &[0x81, 0x00]), "passed_protocol");
    check(&mut rig, "UDP", &with(&v4, ip + 9, &[17]), "passed_protocol");
    check(&mut rig, "version 6 in an IPv4 frame", &with(&v4, ip, &[0x65]), "passed_protocol");
    check(&mut rig, "IHL 4", &with(&v4, ip, &[0x44]), "passed_protocol");
    check(&mut rig, "a first fragment", &with(&v4, ip + 6, &[0x20, 0]), "passed_protocol");
    check(&mut rig, "a later fragment", &with(&v4, ip + 6, &[0, 1]), "passed_protocol");
    check(&mut rig, "the last fragment", &with(&v4, ip + 6, &[0x1f, 0xff]), "passed_protocol");
    check(&mut rig, "a data offset of 4", &with(&v4, ip + IPV4 + 12, &[0x40]), "passed_protocol");
    check(&mut rig, "a data offset behind the end", &with(&v4, ip + IPV4 + 12, &[0xa0]), "passed_protocol");
    check(&mut rig, "a length behind the end", &with(&v4, ip + 2, &[0, 57]), "passed_protocol");
    check(&mut rig, "a length before the payload", &with(&v4, ip + 2, &[0, 39]), "passed_protocol");
    let v6 = carried(&mut rig, Family::V6);
    check(&mut rig, "UDP over IPv6", &with(&v6, ip + 6, &[17]), "passed_protocol");
    check(&mut rig, "a fragment of IPv6", &with(&v6, ip + 6, &[44]), "passed_protocol");
    check(&mut rig, "a routing header", &with(&v6, ip + 6, &[43]), "passed_protocol");
    check(&mut rig, "authentication", &with(&v6, ip + 6, &[51]), "passed_protocol");
    check(&mut rig, "a length of IPv6 behind the end", &with(&v6, ip + 4, &[0, 37]), "passed_protocol");
    check(&mut rig, "a data offset of 4 over IPv6", &with(&v6, ip + IPV6 + 12, &[0x40]), "passed_protocol");
    let options = |count: usize| Packet { extensions: vec![(60, vec![0; 6]); count], ..v6.clone() }.bytes();
    check(&mut rig, "four extension headers", &options(4), "passed_protocol");
    let long = Packet { extensions: vec![(60, vec![0; 70])], ..v6.clone() }.bytes();
    check(&mut rig, "a long extension header", &long, "passed_protocol");
}

#[test]
fn truncated_frames_pass() {
    let taken = take();
    let mut rig = taken.rig();
    for (family, whole) in [(Family::V4, ETHERNET + IPV4 + 20), (Family::V6, ETHERNET + IPV6 + 20)] {
        let frame = Packet { payload: Vec::new(), ..carried(&mut rig, family) }.bytes();
        assert_eq!(frame.len(), whole);
        // The kernel runs no test on frames that end before the IP header does, so the rest of the network never sees them
        // either: drivers pad frames to 60 bytes.
        let shortest = if family == Family::V4 { ETHERNET + IPV4 } else { ETHERNET + IPV6 };
        for length in shortest..whole {
            check(&mut rig, &format!("{family:?}: {length} bytes"), &frame[..length], "passed_protocol");
        }
    }
}

#[test]
fn what_is_for_another_machine_passes() {
    let taken = take();
    let mut rig = taken.rig();
    for family in super::FAMILIES {
        let packet = Packet { mac_dst: [2, 0, 0, 0, 9, 9], ..carried(&mut rig, family) };
        rig.passes(Program::Splice, Sender::Client, &packet.bytes(), "passed_protocol", "another machine's address");
    }
}

#[test]
fn a_record_that_is_free_is_no_pair() {
    let taken = take();
    let mut rig = taken.rig();
    for family in super::FAMILIES {
        let packet = carried(&mut rig, family);
        let free = lb_common::splice::Conn { state: lb_common::splice::FREE, ..rig.record() };
        rig.set_record(&free);
        check(&mut rig, "free", &packet.bytes(), "passed_unknown");
        assert_eq!(rig.record(), free);
    }
}
