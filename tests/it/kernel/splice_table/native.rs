//! XDP: what it does not do itself is left for tc, byte for byte. What it does is in the tables of rewriting.

use super::pair::Sender;
use super::rig::{Program, take};
use super::{FAMILIES, outcome};
use lb_common::splice::{ACTIVE, CLOSING, Conn, DIRTY, Direction, FIN as FIN_PASSED, WAITING};
use lb_tests::packet::{ACK, FIN, Packet, RST, SYN};

#[test]
fn only_the_steady_state_is_carried_in_the_driver() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            let active = rig.conn(family, ACTIVE);
            let old = |d: Direction| Direction { hop_ns: d.hop_ns - 1_000_000_000, ..d };
            let none = |d: Direction| Direction { hop_ifindex: 0, ..d };
            let left = [
                ("waiting", Conn { state: WAITING, ..active }),
                ("dirty", Conn { state: DIRTY, ..active }),
                ("a next hop of a second ago", Conn { up: old(active.up), down: old(active.down), ..active }),
                ("no next hop", Conn { up: none(active.up), down: none(active.down), ..active }),
                ("no port", active),
            ];
            let packet = Packet { payload: b"payload".to_vec(), ..family.packet(from) };
            for (what, conn) in left {
                if what != "no port" {
                    rig.add_ports();
                } else {
                    rig.remove_ports();
                }
                rig.insert(family, &conn);
                rig.passes(Program::Native, from, &packet.bytes(), "left_for_tc", what);
                assert_eq!(rig.record(), conn, "{what}");
            }
            rig.add_ports();
            for state in [ACTIVE, CLOSING] {
                rig.insert(family, &Conn { state, ..active });
                let syn = Packet { flags: SYN, ..family.packet(from) };
                rig.passes(Program::Native, from, &syn.bytes(), "left_for_tc", "a SYN");
            }
            assert_eq!(rig.events(), []);
        }
    }
}

/// A sender on the same machine leaves the checksum to a driver that never sees the frame.
#[test]
fn a_checksum_that_is_half_done_is_left_for_tc() {
    let taken = take();
    let mut rig = taken.rig();
    rig.add_ports();
    for family in FAMILIES {
        for from in Sender::BOTH {
            for payload in [&b""[..], b"odd", b"even"] {
                let active = rig.conn(family, ACTIVE);
                rig.insert(family, &active);
                let packet = Packet { payload: payload.to_vec(), ..family.packet(from) };
                let mut frame = packet.bytes();
                let (addresses, tcp) = if packet.src.is_ipv4() { (26..34, 34) } else { (22..54, 54) };
                let words = frame[addresses].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
                let sum = words.sum::<u32>() + 6 + (frame.len() - tcp) as u32;
                let sum = (sum & 0xffff) + (sum >> 16);
                let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
                frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
                rig.passes(Program::Native, from, &frame, "left_for_tc", "half done");
                // One off is somebody's whole checksum, right or wrong: who receives it will tell.
                frame[tcp + 16..tcp + 18].copy_from_slice(&sum.wrapping_add(1).to_be_bytes());
                assert_eq!(rig.arrive(Program::Native, from, &frame).counted, [(outcome(Program::Native, from), 1)]);
            }
        }
    }
}

#[test]
fn what_the_driver_carries_is_kept_like_in_tc() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            rig.add_ports();
            let kept: Vec<Conn> = [Program::Splice, Program::Native]
                .into_iter()
                .map(|program| {
                    let conn = rig.conn(family, ACTIVE);
                    rig.insert(family, &conn);
                    for (flags, payload) in [(ACK, &b"payload"[..]), (FIN | ACK, b""), (RST | ACK, b"")] {
                        let next = rig.record();
                        let seq = from.direction(&next).seq_next;
                        let packet = Packet { seq, flags, payload: payload.to_vec(), ..family.packet(from) };
                        rig.carries(program, from, &packet, &family.translated(from, &packet), outcome(program, from));
                    }
                    assert_eq!(rig.events(), [(lb_common::splice::EVENT_CLOSING, super::pair::GENERATION)]);
                    without_times(rig.record())
                })
                .collect();
            assert_eq!(kept[0], kept[1]);
            assert_eq!((kept[0].state, from.direction(&kept[0]).packets), (CLOSING, 3));
            assert_eq!(from.direction(&kept[0]).flags & FIN_PASSED, FIN_PASSED);
        }
    }
}

fn without_times(mut conn: Conn) -> Conn {
    (conn.begun_ns, conn.up.hop_ns, conn.down.hop_ns, conn.up.seen_ns, conn.down.seen_ns) = (0, 0, 0, 0, 0);
    conn
}
