//! The way out of the local stack.

use super::FAMILIES;
use super::pair::{BACKEND_NEXT, CLIENT_NEXT, Family, GENERATION, Sender, TO_BACKEND_NEXT, TO_CLIENT_NEXT};
use super::rig::{Program, Rig, TC_DROP, TC_PASS, take};
use lb_common::splice::{ACTIVE, CLOSING, Conn, DIRTY, EVENT_REFUSED, FREE, WAITING};
use lb_tests::packet::{ACK, FIN, PSH, Packet, RST};

/// What the local stack sends to one of the ends.
fn sent(family: Family, to: Sender, flags: u8) -> Packet {
    let (src, dst, seq, ack) = match to {
        Sender::Client => (family.front(), family.client(), TO_CLIENT_NEXT, CLIENT_NEXT),
        Sender::Backend => (family.back(), family.backend(), TO_BACKEND_NEXT, BACKEND_NEXT),
    };
    Packet { seq, ack, flags, payload: b"payload".to_vec(), ..Packet::new(src, dst) }
}

fn check(rig: &mut Rig, family: Family, (state, to, flags): (u32, Sender, u8), outcome: &'static str, after: u32) {
    let what = format!("{family:?} {state} {to:?} {flags:x}");
    let before = rig.conn(family, state);
    rig.insert(family, &before);
    let frame = sent(family, to, flags).bytes();
    let ran = rig.run(Program::Silence, rig.client_ifindex, &frame);
    assert_eq!(ran.counted, [(outcome, 1)], "{what}");
    assert_eq!(ran.verdict, if outcome == "silenced" { TC_DROP } else { TC_PASS }, "{what}");
    assert_eq!(ran.bytes, frame, "{what}");
    assert_eq!(rig.record(), Conn { state: after, ..before }, "{what}");
    let told = if outcome == "refused" { vec![(EVENT_REFUSED, GENERATION)] } else { vec![] };
    assert_eq!(rig.events(), told, "{what}");
}

#[test]
fn the_local_stack_is_silent_about_carried_pairs_only() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for to in Sender::BOTH {
            for flags in [ACK, ACK | PSH, FIN | ACK, RST, RST | ACK] {
                for state in [ACTIVE, CLOSING] {
                    check(&mut rig, family, (state, to, flags), "silenced", state);
                }
                check(&mut rig, family, (DIRTY, to, flags), "passed_waiting", DIRTY);
                check(&mut rig, family, (FREE, to, flags), "passed_unknown", FREE);
                // A pair that waits is given up when our side of it ends: its agent was killed.
                let ends = flags & (FIN | RST) != 0;
                let (outcome, after) = if ends { ("refused", DIRTY) } else { ("passed_waiting", WAITING) };
                check(&mut rig, family, (WAITING, to, flags), outcome, after);
            }
        }
    }
}

/// Distances of an acknowledgement from what the hand-off knows; true: it shows that a byte came past the programs. Those of
/// the client overflow at 0x100.
const ACKNOWLEDGED: [(u32, bool); 11] = [
    (0, false),
    (u32::MAX, false),
    (0x8000_0000, false),
    (0x8000_0001, false),
    (1, true),
    (0xff, true),
    (0x100, true),
    (0x101, true),
    (1460, true),
    (0x7fff_fffe, true),
    (0x7fff_ffff, true),
];

#[test]
fn an_acknowledgement_of_bytes_that_the_handoff_does_not_know_makes_the_pair_userspaces() {
    let taken = take();
    let mut rig = taken.rig();
    let client = rig.client_ifindex;
    for family in FAMILIES {
        for to in Sender::BOTH {
            for (distance, is_beyond) in ACKNOWLEDGED {
                for flags in [ACK, ACK | PSH] {
                    for state in [WAITING, DIRTY, ACTIVE, CLOSING] {
                        let before = rig.conn(family, state);
                        rig.insert(family, &before);
                        let known = sent(family, to, flags);
                        let frame = Packet { ack: known.ack.wrapping_add(distance), ..known }.bytes();
                        let ran = rig.run(Program::Silence, client, &frame);
                        let (outcome, after) = match state {
                            WAITING if is_beyond => ("refused", DIRTY),
                            WAITING | DIRTY => ("passed_waiting", state),
                            _ => ("silenced", state),
                        };
                        let what = format!("{family:?} {to:?} {state} {distance:#x}");
                        assert_eq!(ran.counted, [(outcome, 1)], "{what}");
                        assert_eq!(ran.verdict, if outcome == "silenced" { TC_DROP } else { TC_PASS }, "{what}");
                        assert_eq!((ran.bytes, rig.record().state), (frame, after), "{what}");
                        let told = if outcome == "refused" { vec![(EVENT_REFUSED, GENERATION)] } else { vec![] };
                        assert_eq!(rig.events(), told, "{what}");
                    }
                }
            }
            // Without the flag the number means nothing.
            let before = rig.conn(family, WAITING);
            rig.insert(family, &before);
            let frame = Packet { ack: 1, ..sent(family, to, PSH) }.bytes();
            assert_eq!(rig.run(Program::Silence, client, &frame).counted, [("passed_waiting", 1)]);
        }
    }
}

#[test]
fn everything_else_leaves_as_it_is() {
    let taken = take();
    let mut rig = taken.rig();
    let client = rig.client_ifindex;
    for family in FAMILIES {
        let conn = rig.conn(family, ACTIVE);
        rig.insert(family, &conn);
        let mut other = sent(family, Sender::Client, ACK);
        other.dst.set_port(1);
        // The 4-tuple as it arrives: that is another connection on its way out.
        let arriving = family.packet(Sender::Client);
        let mut protocol = sent(family, Sender::Client, ACK).bytes();
        protocol[12..14].copy_from_slice(&[0x08, 0x06]);
        for (frame, outcome) in
            [(other.bytes(), "passed_unknown"), (arriving.bytes(), "passed_unknown"), (protocol, "passed_protocol")]
        {
            let ran = rig.run(Program::Silence, client, &frame);
            assert_eq!((ran.verdict, ran.counted, ran.bytes), (TC_PASS, vec![(outcome, 1)], frame));
        }
    }
}

#[test]
fn what_came_in_by_an_interface_is_not_the_local_stacks() {
    let taken = take();
    let mut rig = taken.rig();
    let (client, backend) = (rig.client_ifindex, rig.backend_ifindex);
    for family in FAMILIES {
        let conn = rig.conn(family, ACTIVE);
        rig.insert(family, &conn);
        let frame = sent(family, Sender::Client, ACK).bytes();
        let ran = rig.run_from(Program::Silence, (backend, client), &frame);
        assert_eq!((ran.verdict, ran.counted, ran.bytes), (TC_PASS, vec![("passed_forwarded", 1)], frame));
        assert_eq!(rig.record(), conn);
    }
}
