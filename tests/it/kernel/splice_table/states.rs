//! Every state of a pair, and who sends what: who gets the packet, and what the state is after.

use super::pair::{BACKEND_NEXT, CLIENT_NEXT, Family, GENERATION, Sender, TO_BACKEND_NEXT, moved};
use super::rig::{Program, Rig, TC_PASS, TC_REDIRECT, take};
use super::{FAMILIES, outcome};
use lb_common::splice::{
    ACTIVE, CLOSING, Conn, DIRTY, EVENT_ACTIVATED, EVENT_CLOSING, EVENT_REFUSED, EVENT_REUSED, FIN as FIN_PASSED,
    RST as RST_PASSED, SWITCH_ANSWER, WAITING,
};
use lb_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN, URG};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// What becomes of a packet while a pair waits.
struct Wait {
    what: &'static str,
    from: Sender,
    flags: u8,
    /// Distance from the numbers that come next.
    seq: i32,
    ack: i32,
    payload: &'static [u8],
    outcome: &'static str,
    state: u32,
}

const fn from_client(what: &'static str, flags: u8, seq: i32, payload: &'static [u8]) -> Wait {
    Wait { what, from: Sender::Client, flags, seq, ack: 0, payload, outcome: "refused", state: DIRTY }
}

const fn from_backend(what: &'static str, flags: u8, seq: i32, ack: i32, payload: &'static [u8]) -> Wait {
    Wait { what, from: Sender::Backend, flags, seq, ack, payload, outcome: "refused", state: DIRTY }
}

const fn passes(wait: Wait) -> Wait {
    Wait { outcome: "passed_waiting", state: WAITING, ..wait }
}

const fn activates(wait: Wait) -> Wait {
    Wait { outcome: "activated", state: ACTIVE, ..wait }
}

const WAITS: [Wait; 28] = [
    passes(from_client("an acknowledgement", ACK, 0, b"")),
    passes(from_client("an acknowledgement that probes", ACK, -1, b"")),
    passes(from_client("a probe with a byte that we had", ACK, -1, b"x")),
    passes(from_client("the request once more", ACK | PSH, -3, b"GET")),
    from_client("the request once more, and a byte", ACK | PSH, -3, b"GET "),
    from_client("payload", ACK | PSH, 0, b"x"),
    from_client("payload that is ahead", ACK | PSH, 1000, b"x"),
    from_client("an end", FIN | ACK, 0, b""),
    from_client("an end that we had", FIN | ACK, -1, b""),
    from_client("a reset", RST, 0, b""),
    from_client("a reset with an acknowledgement", RST | ACK, 0, b""),
    from_client("a SYN", SYN, 0, b""),
    from_client("a SYN with an acknowledgement", SYN | ACK, 0, b""),
    passes(from_backend("an acknowledgement of the request", ACK, 0, 0, b"")),
    passes(from_backend("an acknowledgement of a part", ACK, 0, -5, b"")),
    passes(from_backend("an earlier answer once more", ACK | PSH, -2, -5, b"ab")),
    activates(from_backend("the answer", ACK, 0, 0, HELLO)),
    activates(from_backend("the answer, pushed", ACK | PSH, 0, 0, HELLO)),
    activates(from_backend("the answer, urgent", ACK | URG, 0, 0, HELLO)),
    activates(from_backend("a byte", ACK, 0, 0, b"x")),
    from_backend("an early answer", ACK | PSH, 0, -1, HELLO),
    from_backend("an answer to more than was asked", ACK, 0, 1, HELLO),
    from_backend("the second segment of the answer", ACK, 1, 0, HELLO),
    from_backend("the answer behind an earlier one", ACK, -1, 0, HELLO),
    from_backend("the answer and an end", ACK | FIN, 0, 0, HELLO),
    from_backend("the answer without an acknowledgement", PSH, 0, 0, HELLO),
    from_backend("a reset", RST | ACK, 0, 0, b""),
    from_backend("an end", FIN | ACK, 0, 0, b""),
];

fn packet(family: Family, wait: &Wait) -> Packet {
    let next = family.packet(wait.from);
    Packet {
        flags: wait.flags,
        seq: next.seq.wrapping_add_signed(wait.seq),
        ack: next.ack.wrapping_add_signed(wait.ack),
        payload: wait.payload.to_vec(),
        ..next
    }
}

/// The part of a record that only changes when a packet is translated.
fn untouched(conn: &Conn) -> Conn {
    Conn { state: 0, first: [0; 16], first_len: 0, ..*conn }
}

#[test]
fn the_first_payload_of_the_backend_decides() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for wait in &WAITS {
            let before = rig.conn(family, WAITING);
            rig.insert(family, &before);
            let (packet, what) = (packet(family, wait), format!("{family:?}, {:?}: {}", wait.from, wait.what));
            let ran = rig.arrive(Program::Splice, wait.from, &packet.bytes());
            assert_eq!(ran.counted, [(wait.outcome, 1)], "{what}");
            let (after, events) = (rig.record(), rig.events());
            assert_eq!(after.state, wait.state, "{what}");
            if wait.state == ACTIVE {
                assert_eq!(ran.verdict, TC_REDIRECT, "{what}");
                assert_eq!(Packet::read(&ran.bytes), family.translated(wait.from, &packet), "{what}");
                assert_eq!(events, [(EVENT_ACTIVATED, GENERATION)], "{what}");
                let first = wait.payload.len().min(16);
                assert_eq!(&after.first[..first], &wait.payload[..first], "{what}");
                assert_eq!(after.first_len as usize, first, "{what}");
                assert_eq!(after.down.packets, 1, "{what}");
            } else {
                assert_eq!((ran.verdict, &ran.bytes), (TC_PASS, &packet.bytes()), "{what}");
                let refused = if wait.state == DIRTY { vec![(EVENT_REFUSED, GENERATION)] } else { vec![] };
                assert_eq!(events, refused, "{what}");
                assert_eq!(untouched(&after), untouched(&before), "{what}");
            }
        }
    }
}

#[test]
fn an_upgrade_waits_for_a_101() {
    let taken = take();
    let mut rig = taken.rig();
    let answers: [(&[u8], &str); 7] = [
        (SWITCH, "activated"),
        (b"HTTP/1.1 101", "activated"),
        (HELLO, "refused"),
        (b"HTTP/1.1 10", "refused"),
        (b"HTTP/1.0 101 Switching Protocols", "refused"),
        (b"http/1.1 101 Switching Protocols", "refused"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "refused"),
    ];
    for family in FAMILIES {
        for (payload, outcome) in answers {
            let conn = Conn { answer: SWITCH_ANSWER, ..rig.conn(family, WAITING) };
            rig.insert(family, &conn);
            let packet = Packet { payload: payload.to_vec(), ..family.packet(Sender::Backend) };
            let ran = rig.arrive(Program::Splice, Sender::Backend, &packet.bytes());
            assert_eq!(ran.counted, [(outcome, 1)], "{:?}", String::from_utf8_lossy(payload));
        }
    }
}

/// What both ends may send, as flags and payload.
const SENT: [(u8, &[u8]); 8] = [
    (ACK, b""),
    (ACK | PSH, b"payload of odd length"),
    (ACK | PSH | URG, b"x"),
    (FIN | ACK, b""),
    (FIN | ACK | PSH, b"last words"),
    (RST | ACK, b""),
    (RST, b""),
    (SYN | ACK, b""),
];

#[test]
fn once_dirty_all_packets_are_the_local_stacks() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        let before = rig.conn(family, DIRTY);
        rig.insert(family, &before);
        for from in Sender::BOTH {
            for (flags, payload) in SENT.into_iter().chain([(SYN, &b""[..])]) {
                let packet = Packet { flags, payload: payload.to_vec(), ..family.packet(from) };
                let what = format!("{family:?} {from:?} {flags:x}");
                rig.passes(Program::Splice, from, &packet.bytes(), "passed_waiting", &what);
                assert_eq!((rig.record(), rig.events()), (before, vec![]), "{what}");
            }
        }
    }
}

#[test]
fn once_active_all_packets_are_translated_and_counted() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for from in Sender::BOTH {
            for (flags, payload) in SENT.into_iter().chain([(SYN, &b""[..])]) {
                for state in [ACTIVE, CLOSING] {
                    if state == CLOSING && flags == SYN {
                        continue;
                    }
                    let before = rig.conn(family, state);
                    rig.insert(family, &before);
                    let next = family.packet(from);
                    // A reset without an acknowledgement has no number there.
                    let ack = if flags & ACK == 0 { 0 } else { next.ack };
                    let packet = Packet { flags, payload: payload.to_vec(), ack, ..next };
                    let expected = family.translated(from, &packet);
                    rig.carries(Program::Splice, from, &packet, &expected, outcome(Program::Splice, from));
                    let (after, direction) = (rig.record(), from.direction(&before));
                    let now = from.direction(&after);
                    assert_eq!((now.packets, now.bytes), (1, payload.len() as u64), "{packet:?}");
                    let end = (payload.len() + usize::from(flags & FIN != 0)) as u32;
                    assert_eq!(now.seq_next, direction.seq_next.wrapping_add(end), "{packet:?}");
                    assert_eq!(now.ack_last, direction.ack_last, "{packet:?}");
                    assert!(after.seen_ns() > before.up.hop_ns - 1_000_000_000, "{packet:?}");
                    let closed = flags & RST != 0 || state == CLOSING;
                    assert_eq!(after.state, if closed { CLOSING } else { ACTIVE }, "{packet:?}");
                    let told = if closed && state == ACTIVE { vec![(EVENT_CLOSING, GENERATION)] } else { vec![] };
                    assert_eq!(rig.events(), told, "{packet:?}");
                }
            }
        }
    }
}

fn send(rig: &mut Rig, family: Family, from: Sender, flags: u8, seq: i32, payload: &[u8]) -> Conn {
    let next = family.packet(from);
    let seq = next.seq.wrapping_add_signed(seq);
    let packet = Packet { flags, seq, payload: payload.to_vec(), ..next };
    let ran = rig.arrive(Program::Splice, from, &packet.bytes());
    assert_eq!((ran.verdict, ran.counted), (TC_REDIRECT, vec![(outcome(Program::Splice, from), 1)]), "{packet:?}");
    rig.record()
}

#[test]
fn it_is_over_when_both_have_finished() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for (one, two) in [(Sender::Client, Sender::Backend), (Sender::Backend, Sender::Client)] {
            let conn = rig.conn(family, ACTIVE);
            rig.insert(family, &conn);
            let after = send(&mut rig, family, one, FIN | ACK, 0, b"bye");
            assert_eq!((after.state, one.direction(&after).flags), (ACTIVE, FIN_PASSED));
            // Half-closed: the other side goes on.
            let after = send(&mut rig, family, two, ACK | PSH, 0, b"more");
            assert_eq!((after.state, rig.events()), (ACTIVE, vec![]));
            let after = send(&mut rig, family, two, FIN | ACK, 4, b"");
            assert_eq!((after.state, two.direction(&after).flags), (CLOSING, FIN_PASSED));
            assert_eq!(rig.events(), [(EVENT_CLOSING, GENERATION)]);
            // Once: what follows, and what is repeated, says no more.
            send(&mut rig, family, one, ACK, 4, b"");
            let after = send(&mut rig, family, two, FIN | ACK, 4, b"");
            assert_eq!((after.state, rig.events()), (CLOSING, vec![]));
        }
    }
}

#[test]
fn a_reset_counts_only_with_the_number_that_the_receiver_takes_it_by() {
    let taken = take();
    let mut rig = taken.rig();
    let family = Family::V4;
    for from in Sender::BOTH {
        for (seq, state) in [(0, CLOSING), (-300, CLOSING), (-299, ACTIVE), (1, ACTIVE), (i32::MIN, ACTIVE)] {
            let mut conn = rig.conn(family, ACTIVE);
            // The receiver has acknowledged all but 300 bytes of what has passed.
            match from {
                Sender::Client => {
                    let acknowledged = moved(CLIENT_NEXT.wrapping_sub(300), CLIENT_NEXT, TO_BACKEND_NEXT);
                    conn.down.ack_last = acknowledged;
                }
                Sender::Backend => conn.up.ack_last = conn.up.ack_last.wrapping_sub(300),
            }
            rig.insert(family, &conn);
            let after = send(&mut rig, family, from, RST, seq, b"");
            assert_eq!(after.state, state, "{from:?} {seq}");
            assert_eq!(from.direction(&after).flags, if state == CLOSING { RST_PASSED } else { 0 }, "{from:?} {seq}");
            rig.events();
        }
    }
}

#[test]
fn numbers_go_on_by_what_a_window_can_be_and_never_back() {
    let taken = take();
    let mut rig = taken.rig();
    let family = Family::V6;
    let conn = rig.conn(family, ACTIVE);
    rig.insert(family, &conn);
    for (seq, payload, next) in [
        (0, &[0; 100][..], 100),
        // Repeated, in part or whole.
        (0, &[0; 100], 100),
        (50, &[0; 100], 150),
        // Behind a segment that was lost; then the lost one.
        (300, &[0; 10], 310),
        (150, &[0; 150], 310),
        // Nowhere near: somebody guesses.
        (0x2000_0000, &[0; 10], 310),
        (-0x2000_0000, &[0; 10], 310),
    ] {
        let after = send(&mut rig, family, Sender::Client, ACK, seq, payload);
        assert_eq!(after.up.seq_next, CLIENT_NEXT.wrapping_add(next), "{seq} {}", payload.len());
    }
    for seq in [0x2000_0000, 0, 308, -0x1000_0000] {
        let after = send(&mut rig, family, Sender::Client, FIN | ACK, seq, b"");
        assert_eq!(
            (after.up.flags, after.up.seq_next),
            (0, CLIENT_NEXT.wrapping_add(310)),
            "an end that is none: {seq}"
        );
    }
    for (ack, last) in [(10u32, 10u32), (5, 10), (0x2000_0000, 10), (300, 300)] {
        let packet = Packet { ack: TO_BACKEND_NEXT.wrapping_add(ack), ..family.packet(Sender::Backend) };
        rig.arrive(Program::Splice, Sender::Backend, &packet.bytes());
        assert_eq!(rig.record().down.ack_last, TO_BACKEND_NEXT.wrapping_add(last), "{ack}");
    }
    assert_eq!(rig.record().down.seq_next, BACKEND_NEXT);
}

#[test]
fn a_syn_takes_the_tuple_of_a_closing_pair_over() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for (from, gone, stays) in [
            (Sender::Client, family.up_key(), family.down_key()),
            (Sender::Backend, family.down_key(), family.up_key()),
        ] {
            let before = rig.conn(family, CLOSING);
            rig.insert(family, &before);
            let syn = Packet { flags: SYN, ack: 0, seq: 12345, ..family.packet(from) };
            rig.passes(Program::Splice, from, &syn.bytes(), "reused", "a SYN");
            assert_eq!(rig.events(), [(EVENT_REUSED, GENERATION)]);
            assert!(!rig.has_key(&gone) && rig.has_key(&stays), "{from:?}");
            assert_eq!(rig.record(), before);
            rig.passes(Program::Splice, from, &syn.bytes(), "passed_unknown", "the SYN once more");
        }
    }
}
