//! Errors of ICMP about packets of a pair: to whom they go on, and which ones do not.

use super::pair::{BACK_MAC, BACKEND_MAC, CLIENT_MAC, FRONT_MAC, Family, Sender};
use super::rig::{Program, Rig, TC_REDIRECT, take};
use super::{FAMILIES, rig};
use lb_common::splice::{ACTIVE, CLOSING, Conn, DIRTY, FREE, WAITING};
use lb_tests::packet::{ETHERNET, IPV4, IPV6, PSH, Packet, Trouble, requote};
use std::net::IpAddr;

/// Bytes that are under way.
const UNDER_WAY: u32 = 1_000;

/// Type and code of errors that go on.
const V4: [(u8, u8); 7] = [(3, 0), (3, 1), (3, 3), (3, 4), (3, 9), (3, 13), (3, 15)];
const V6: [(u8, u8); 5] = [(1, 0), (1, 1), (1, 4), (1, 6), (2, 0)];

fn kinds(family: Family) -> &'static [(u8, u8)] {
    if family == Family::V4 { &V4 } else { &V6 }
}

fn other(sender: Sender) -> Sender {
    if sender == Sender::Client { Sender::Backend } else { Sender::Client }
}

/// Bytes of the quoted header of IP, and the 8 that every router quotes of what follows.
fn least(family: Family) -> usize {
    8 + if family == Family::V4 { IPV4 } else { IPV6 }
}

/// A pair in which `from` has sent that nobody has acknowledged.
fn conn(rig: &Rig, family: Family, from: Sender, state: u32) -> Conn {
    let mut conn = rig.conn(family, state);
    let direction = if from == Sender::Client { &mut conn.up } else { &mut conn.down };
    direction.seq_next = direction.seq_next.wrapping_add(UNDER_WAY);
    conn
}

/// What `from` sent `distance` bytes after all that is acknowledged, and what it left as.
fn sent(family: Family, from: Sender, distance: u32) -> (Packet, Packet) {
    let next = family.packet(from);
    let seq = next.seq.wrapping_add(distance);
    let packet = Packet { seq, flags: next.flags | PSH, payload: vec![7; UNDER_WAY as usize], ..next };
    let left = Packet { ttl: 61, ..family.translated(from, &packet) };
    (packet, left)
}

/// What a router on the other side says about a packet, of which it quotes so many bytes.
fn trouble(family: Family, from: Sender, left: &Packet, (kind, code): (u8, u8), bytes: usize) -> Trouble {
    let arrives = family.packet(other(from));
    let router: &str = if family == Family::V4 { "192.0.2.99" } else { "2001:db8::99" };
    let mut quoted = left.bytes()[ETHERNET..].to_vec();
    quoted.truncate(bytes);
    Trouble {
        mac_dst: arrives.mac_dst,
        mac_src: arrives.mac_src,
        src: router.parse::<IpAddr>().expect("an address"),
        dst: left.src.ip(),
        ttl: 250,
        kind,
        code,
        more: 1_400,
        quoted,
    }
}

/// As what it must leave.
fn translated(family: Family, from: Sender, packet: &Packet, error: &Trouble) -> Trouble {
    let (mac_src, mac_dst, src, dst) = match from {
        Sender::Client => (FRONT_MAC, CLIENT_MAC, family.front(), family.client()),
        Sender::Backend => (BACK_MAC, BACKEND_MAC, family.back(), family.backend()),
    };
    let quoted = requote(&error.quoted, packet.src, packet.dst, packet.seq);
    Trouble { mac_dst, mac_src, src: src.ip(), dst: dst.ip(), ttl: 64, quoted, ..error.clone() }
}

#[test]
fn errors_go_on_to_who_sent_the_packet() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        let least = least(family);
        for from in Sender::BOTH {
            for kind in kinds(family) {
                for (state, bytes) in
                    [(ACTIVE, least), (CLOSING, least), (ACTIVE, least + 1), (ACTIVE, least + 12), (ACTIVE, 548)]
                {
                    let before = conn(&rig, family, from, state);
                    rig.insert(family, &before);
                    let (packet, left) = sent(family, from, 0);
                    let error = trouble(family, from, &left, *kind, bytes);
                    let ran = rig.arrive(Program::Splice, other(from), &error.bytes());
                    let what = format!("{family:?} {from:?} {kind:?} {state} {bytes}");
                    assert_eq!((ran.verdict, ran.counted), (TC_REDIRECT, vec![("icmp_carried", 1)]), "{what}");
                    assert_eq!(Trouble::read(&ran.bytes), translated(family, from, &packet, &error), "{what}");
                    assert_eq!((rig.record(), rig.events()), (before, vec![]), "{what}: it is no packet of the pair");
                }
            }
        }
    }
}

#[test]
fn errors_must_quote_what_is_under_way() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            for (distance, is_carried) in [
                (0, true),
                // The numbers of the client overflow here, those of the backend a little before.
                (0xff, true),
                (0x100, true),
                (UNDER_WAY - 1, true),
                (UNDER_WAY, false),
                (u32::MAX, false),
                (0x7fff_ffff, false),
                (0x8000_0000, false),
            ] {
                let before = conn(&rig, family, from, ACTIVE);
                rig.insert(family, &before);
                let (packet, left) = sent(family, from, distance);
                let error = trouble(family, from, &left, kinds(family)[0], 200);
                let what = format!("{family:?} {from:?} {distance:#x}");
                if is_carried {
                    let ran = rig.arrive(Program::Splice, other(from), &error.bytes());
                    assert_eq!(ran.counted, [("icmp_carried", 1)], "{what}");
                    assert_eq!(Trouble::read(&ran.bytes), translated(family, from, &packet, &error), "{what}");
                } else {
                    rig.passes(Program::Splice, other(from), &error.bytes(), "icmp_doubted", &what);
                }
            }
            // Nothing is under way; and more is acknowledged than was sent.
            for acknowledged in [UNDER_WAY, UNDER_WAY + 1, 0x8000_0000] {
                let mut before = conn(&rig, family, from, ACTIVE);
                let answers = if from == Sender::Client { &mut before.down } else { &mut before.up };
                answers.ack_last = answers.ack_last.wrapping_add(acknowledged);
                rig.insert(family, &before);
                for distance in [0, UNDER_WAY - 1, UNDER_WAY, acknowledged, acknowledged.wrapping_sub(1)] {
                    let (_, left) = sent(family, from, distance);
                    let error = trouble(family, from, &left, kinds(family)[0], 200);
                    rig.passes(Program::Splice, other(from), &error.bytes(), "icmp_doubted", "nothing is under way");
                }
            }
        }
    }
}

#[test]
fn errors_about_other_packets_are_the_local_stacks() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            let (_, left) = sent(family, from, 0);
            let kind = kinds(family)[0];
            let passes = |rig: &mut Rig, state: u32, error: &Trouble, outcome: &'static str, what: &str| {
                let before = conn(rig, family, from, state);
                rig.insert(family, &before);
                rig.passes(Program::Splice, other(from), &error.bytes(), outcome, what);
                rig.passes(Program::Native, other(from), &error.bytes(), "passed_protocol", what);
                assert_eq!(rig.record(), before, "{what}");
            };
            let whole = trouble(family, from, &left, kind, 200);
            for (state, outcome) in [(WAITING, "passed_waiting"), (DIRTY, "passed_waiting"), (FREE, "passed_unknown")] {
                passes(&mut rig, state, &whole, outcome, "a pair that is not carried");
            }
            for port in [1, left.dst.port().swap_bytes()] {
                let mut stranger = left.clone();
                stranger.dst.set_port(port);
                let error = trouble(family, from, &stranger, kind, 200);
                passes(&mut rig, ACTIVE, &error, "passed_unknown", "another connection");
            }
            // What the other end sent is quoted, as if we had sent it.
            let error = trouble(family, from, &family.packet(other(from)), kind, 200);
            passes(&mut rig, ACTIVE, &error, "passed_unknown", "a packet that came");
            let mut error = whole.clone();
            error.dst = family.packet(from).dst.ip();
            passes(&mut rig, ACTIVE, &error, "passed_protocol", "an error to another address");
            for bytes in (least(family) - 8..least(family)).chain([0, 1, 19]) {
                let error = trouble(family, from, &left, kind, bytes);
                passes(&mut rig, ACTIVE, &error, "passed_protocol", &format!("a quote of {bytes} bytes"));
            }
            let others: &[u8] =
                if family == Family::V4 { &[0, 4, 5, 8, 11, 12, 13] } else { &[3, 4, 128, 129, 133, 135, 143] };
            for kind in others {
                let error = Trouble { kind: *kind, ..whole.clone() };
                passes(&mut rig, ACTIVE, &error, "passed_protocol", &format!("type {kind}"));
            }
            let changes: &[(usize, u8, &str)] = if family == Family::V4 {
                &[(9, 17, "UDP"), (0, 0x46, "options"), (0, 0x65, "version 6"), (7, 1, "a later fragment")]
            } else {
                &[(6, 17, "UDP"), (6, 0, "an extension header"), (0, 0x45, "version 4")]
            };
            for (at, byte, what) in changes {
                let mut error = whole.clone();
                error.quoted[*at] = *byte;
                passes(&mut rig, ACTIVE, &error, "passed_protocol", &format!("a quote of {what}"));
            }
        }
    }
}

#[test]
fn frames_around_errors_that_are_not_as_they_should_be_pass() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        let from = Sender::Client;
        let (_, left) = sent(family, from, 0);
        let frame = trouble(family, from, &left, kinds(family)[0], least(family)).bytes();
        let passes = |rig: &mut Rig, frame: &[u8], what: &str| {
            let before = conn(rig, family, from, ACTIVE);
            rig.insert(family, &before);
            rig.passes(Program::Splice, Sender::Backend, frame, "passed_protocol", what);
        };
        let with = |at: usize, byte: u8| {
            let mut frame = frame.clone();
            frame[ETHERNET + at] = byte;
            frame
        };
        if family == Family::V4 {
            passes(&mut rig, &with(0, 0x46), "options");
            passes(&mut rig, &with(6, 0x20), "a first fragment");
            passes(&mut rig, &with(7, 0x01), "a later fragment");
            passes(&mut rig, &with(3, 55), "a length before the quote's end");
        } else {
            passes(&mut rig, &with(6, 0), "an extension header");
            passes(&mut rig, &with(5, 55), "a length before the quote's end");
        }
        let shortest = ETHERNET + if family == Family::V4 { IPV4 } else { IPV6 };
        for length in shortest..frame.len() {
            passes(&mut rig, &frame[..length], &format!("{length} bytes"));
        }
    }
}

#[test]
fn errors_need_a_next_hop_like_everything_else() {
    let taken = take();
    let mut rig = taken.rig();
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        rig.namespace.sysctl(name, "0").expect("the kernel has this setting");
    }
    for family in FAMILIES {
        for from in Sender::BOTH {
            let mut before = conn(&rig, family, from, ACTIVE);
            (before.up.hop_ifindex, before.down.hop_ifindex) = (0, 0);
            rig.insert(family, &before);
            let (_, left) = sent(family, from, 0);
            let error = trouble(family, from, &left, kinds(family)[0], 200);
            let ran = rig.arrive(Program::Splice, other(from), &error.bytes());
            assert_eq!((ran.verdict, ran.counted), (rig::TC_DROP, vec![("no_hop", 1)]));
        }
    }
}
