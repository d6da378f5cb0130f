//! What a translated packet looks like: numbers, windows, options, checksums.

use super::pair::{
    BACKEND_NEXT, BEGUN_MS, CLIENT_NEXT, Family, Sender, TO_BACKEND_CLOCK, TO_BACKEND_NEXT, TO_CLIENT_CLOCK,
    TO_CLIENT_NEXT, moved,
};
use super::rig::{Program, Rig, take};
use super::{FAMILIES, outcome};
use lb_common::splice::{ACTIVE, Conn, UP};
use lb_tests::packet::{ACK, PSH, Packet, RST, SYN, sack, timestamps};

const BOTH: [Program; 2] = [Program::Splice, Program::Native];

/// One packet through both programs, for both families and from both ends; `change` makes it, `expect` says what else than
/// the numbers is different when it leaves.
fn check(change: impl Fn(Sender, &mut Packet), expect: impl Fn(Sender, &mut Packet)) {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for (from, program) in Sender::BOTH.into_iter().flat_map(|from| BOTH.map(|program| (from, program))) {
            let conn = rig.conn(family, ACTIVE);
            check_one(&mut rig, family, &conn, (from, program), &change, &expect);
        }
    }
}

fn check_one(
    rig: &mut Rig,
    family: Family,
    conn: &Conn,
    (from, program): (Sender, Program),
    change: impl Fn(Sender, &mut Packet),
    expect: impl Fn(Sender, &mut Packet),
) {
    rig.insert(family, conn);
    rig.add_ports();
    let mut packet = family.packet(from);
    change(from, &mut packet);
    let mut expected = family.translated(from, &packet);
    expect(from, &mut expected);
    rig.carries(program, from, &packet, &expected, outcome(program, from));
    rig.events();
}

fn only(change: impl Fn(&mut Packet)) {
    check(|_, packet| change(packet), |_, _| ());
}

#[test]
fn numbers_overflow() {
    for distance in [0, 1, 0xfe, 0xff, 0x100, 0x101, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        only(|packet| {
            packet.seq = packet.seq.wrapping_add(distance);
            packet.ack = packet.ack.wrapping_sub(distance);
            packet.payload = b"payload".to_vec();
        });
    }
}

#[test]
fn every_window_is_in_the_units_of_the_other_connection() {
    for window in [0, 1, 2, 3, 4, 127, 128, 0x3fff, 0x4000, 0x7fff, 0x8000, u16::MAX] {
        only(|packet| packet.window = window);
    }
    let taken = take();
    let mut rig = taken.rig();
    for from in Sender::BOTH {
        let conn = rig.conn(Family::V4, ACTIVE);
        let change = |_, packet: &mut Packet| (packet.window, packet.flags, packet.ack) = (0xfedc, SYN, 0);
        check_one(&mut rig, Family::V4, &conn, (from, Program::Splice), change, |_, _| ());
    }
    for (left, right, window, expected) in [
        (0, 0, 65535, 65535),
        (0, 14, 65535, 3),
        (14, 0, 1, 16384),
        (14, 0, 4, 65535),
        (14, 0, 65535, 65535),
        (14, 14, 65535, 65535),
        (8, 7, 40000, 65535),
        (7, 8, 40001, 20000),
        (0, 7, 127, 0),
    ] {
        let mut conn = rig.conn(Family::V4, ACTIVE);
        (conn.up.window_left, conn.up.window_right) = (left, right);
        let change = |_, packet: &mut Packet| packet.window = window;
        let expect = |_, packet: &mut Packet| packet.window = expected;
        check_one(&mut rig, Family::V4, &conn, (Sender::Client, Program::Splice), change, expect);
    }
}

#[test]
fn payload_flags_and_the_urgent_pointer_stay() {
    only(|packet| {
        (packet.flags, packet.urgent, packet.payload) = (ACK | PSH | 0x20 | 0xc0, 17, b"an odd payload".to_vec());
    });
    only(|packet| packet.payload = (0..1461_u32).map(|n| (n * 7) as u8).collect());
}

#[test]
fn a_short_frame_keeps_its_padding() {
    let taken = take();
    let mut rig = taken.rig();
    for from in Sender::BOTH {
        let conn = rig.conn(Family::V4, ACTIVE);
        let pad = |_, packet: &mut Packet| packet.padding = vec![0xaa; 6];
        check_one(&mut rig, Family::V4, &conn, (from, Program::Splice), pad, |_, _| ());
        let direction = *from.direction(&rig.record());
        assert_eq!((direction.packets, direction.bytes), (1, 0), "padding is no payload");
    }
}

#[test]
fn ip_options_and_extension_headers_stay() {
    let taken = take();
    let mut rig = taken.rig();
    for (from, program) in Sender::BOTH.into_iter().flat_map(|from| BOTH.map(|program| (from, program))) {
        for words in 1..=10 {
            let conn = rig.conn(Family::V4, ACTIVE);
            let change = |_, packet: &mut Packet| {
                (packet.ip_options, packet.payload) = (vec![1; words * 4], b"payload".to_vec());
            };
            check_one(&mut rig, Family::V4, &conn, (from, program), change, |_, _| ());
        }
        let padding = |bytes: u8| [&[1, bytes][..], &vec![0; usize::from(bytes)]].concat();
        let chains = [
            vec![(0, padding(4))],
            vec![(60, padding(12))],
            vec![(0, padding(4)), (60, padding(4))],
            vec![(0, padding(60)), (60, padding(60)), (60, padding(60))],
        ];
        for chain in chains {
            let conn = rig.conn(Family::V6, ACTIVE);
            let change = |_, packet: &mut Packet| {
                (packet.extensions, packet.options) = (chain.clone(), vec![1; 40]);
                packet.payload = b"payload".to_vec();
            };
            check_one(&mut rig, Family::V6, &conn, (from, program), change, |_, _| ());
        }
    }
}

/// Checksums of a packet: that of TCP, and the one of the IPv4 header.
fn checksums(packet: &Packet) -> [u16; 2] {
    let frame = packet.bytes();
    let tcp = frame.len() - packet.payload.len() - packet.options.len() - 20;
    [tcp + 16, 24].map(|at| u16::from_be_bytes([frame[at], frame[at + 1]]))
}

/// `one` and `two` in ones' complement, 16 bits.
fn plus(one: u16, two: u16) -> u16 {
    let (sum, over) = one.overflowing_add(two);
    sum + u16::from(over)
}

/// Last words of the payload and identifications, with which the checksums of a packet as it arrives or as it leaves are
/// those around zero.
fn edge_words(family: Family, from: Sender) -> Vec<(u16, u16)> {
    let packet = Packet { payload: vec![0; 2], id: 0, ..family.packet(from) };
    let mut words = Vec::new();
    for packet in [family.translated(from, &packet), packet] {
        let sums = checksums(&packet);
        words.extend([0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe].map(|wanted: u16| {
            let [word, id] = sums.map(|sum| plus(sum, !wanted));
            let packet = Packet { payload: word.to_be_bytes().to_vec(), id: u32::from(id), ..packet.clone() };
            let [tcp, ip] = checksums(&packet);
            assert!(tcp == wanted && (family == Family::V6 || ip == wanted), "{wanted:x}: {tcp:x} {ip:x}");
            (word, id)
        }));
    }
    words
}

#[test]
fn checksums_are_right_at_their_edges() {
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for (from, program) in Sender::BOTH.into_iter().flat_map(|from| BOTH.map(|program| (from, program))) {
            let spread = (0..=u16::MAX).step_by(1021).map(|word| (word, !word));
            for (word, id) in edge_words(family, from).into_iter().chain(spread) {
                let conn = rig.conn(family, ACTIVE);
                let change = |_, packet: &mut Packet| {
                    (packet.payload, packet.id) = (word.to_be_bytes().to_vec(), u32::from(id));
                };
                check_one(&mut rig, family, &conn, (from, program), change, |_, _| ());
            }
        }
    }
}

/// The edges of blocks in an acknowledgement of the other end's bytes, and what they become.
fn edges(from: Sender, distance: u32) -> (u32, u32) {
    let (is, becomes) = match from {
        Sender::Client => (TO_CLIENT_NEXT, BACKEND_NEXT),
        Sender::Backend => (TO_BACKEND_NEXT, CLIENT_NEXT),
    };
    (is.wrapping_add(distance), becomes.wrapping_add(distance))
}

#[test]
fn sack_blocks_move_with_the_acknowledgement() {
    for blocks in 1..=4_u32 {
        let option = |from: Sender, leaves: bool| {
            let edge = |distance| if leaves { edges(from, distance).1 } else { edges(from, distance).0 };
            sack(&(0..blocks).map(|n| (edge(1000 + n * 0x1fff), edge(1700 + n * 0x1fff))).collect::<Vec<_>>())
        };
        check(|from, packet| packet.options = option(from, false), |from, packet| packet.options = option(from, true));
        // Of odd length in an odd place, which turns the bytes of its sum around.
        let odd = |from, leaves| {
            let mut option = option(from, leaves);
            option.remove(0);
            option.push(0);
            option
        };
        check(|from, packet| packet.options = odd(from, false), |from, packet| packet.options = odd(from, true));
    }
}

#[test]
fn options_that_make_no_sense_end_the_reading_and_stay() {
    let block = [&[5, 10][..], &TO_CLIENT_NEXT.to_be_bytes(), &TO_CLIENT_NEXT.to_be_bytes()].concat();
    let wrong: [Vec<u8>; 12] = [
        // No length, one that is too small, one that reaches behind the end.
        vec![1, 1, 1, 5],
        vec![5, 0, 1, 1],
        vec![5, 1, 1, 1],
        vec![8, 10, 0, 0],
        vec![254, 255, 0, 0],
        // Behind the end of the list.
        [&[0, 1][..], &block].concat(),
        // Behind an option without a length.
        [&[77, 1][..], &block].concat(),
        // Blocks that are cut, blocks that are none, timestamps of another length.
        vec![5, 6, 1, 2, 3, 4, 1, 1],
        vec![5, 2, 1, 1],
        vec![8, 8, 1, 2, 3, 4, 5, 6],
        vec![1; 40],
        vec![0; 40],
    ];
    for options in wrong {
        only(|packet| packet.options.clone_from(&options));
    }
}

#[test]
fn the_last_of_two_options_counts() {
    check(
        |from, packet| packet.options = [sack(&[(1, 2)]), sack(&[(edges(from, 5).0, edges(from, 9).0)])].concat(),
        |from, packet| packet.options = [sack(&[(1, 2)]), sack(&[(edges(from, 5).1, edges(from, 9).1)])].concat(),
    );
}

/// A record that knows the clocks of these directions.
fn with_clocks(mut conn: Conn, up: Option<u32>, down: Option<u32>) -> Conn {
    for (direction, offset) in [(&mut conn.up, up), (&mut conn.down, down)] {
        if let Some(offset) = offset {
            direction.clock_offset = offset;
        }
    }
    conn
}

/// Around timestamps, what stands in front and behind.
fn layouts() -> Vec<(Vec<u8>, Vec<u8>)> {
    let window_scale = vec![3, 3, 7];
    vec![
        (vec![1, 1], vec![]),
        (vec![], vec![1, 1]),
        (vec![], vec![0, 0]),
        (vec![1], vec![1]),
        (window_scale.clone(), vec![1, 1, 1]),
        ([window_scale, vec![1, 1, 1]].concat(), vec![]),
        (vec![253, 4, 1, 2], vec![0, 5]),
        (vec![1; 14], vec![]),
        (vec![1; 14], vec![1; 16]),
    ]
}

#[test]
fn clocks_that_are_known_are_moved() {
    const OFFSETS: [(u32, u32); 3] = [(1000, 7), (0xffff_fff0, 0x8000_0000), (1, u32::MAX)];
    let taken = take();
    let mut rig = taken.rig();
    for family in FAMILIES {
        for ((up, down), (before, behind)) in
            OFFSETS.into_iter().flat_map(|o| layouts().into_iter().map(move |l| (o, l)))
        {
            let options = |value: u32, echo: u32| {
                [&before, &vec![8, 10], &value.to_be_bytes().to_vec(), &echo.to_be_bytes().to_vec(), &behind]
                    .map(Vec::as_slice)
                    .concat()
            };
            for (from, program) in Sender::BOTH.into_iter().flat_map(|from| BOTH.map(|program| (from, program))) {
                let (this, other) = if from == Sender::Client { (up, down) } else { (down, up) };
                let conn = with_clocks(rig.conn(family, ACTIVE), Some(up), Some(down));
                let change = |_, packet: &mut Packet| packet.options = options(0x1234_5678, 0x9abc_def0);
                let expect = |_, packet: &mut Packet| {
                    let (value, echo) = (0x1234_5678_u32.wrapping_add(this), 0x9abc_def0_u32.wrapping_sub(other));
                    packet.options = options(value, echo);
                };
                check_one(&mut rig, family, &conn, (from, program), change, expect);
                assert_eq!(from.direction(&rig.record()).clock_offset, this, "an offset that is known stays");
            }
        }
    }
}

#[test]
fn timestamps_and_blocks_come_together() {
    let taken = take();
    let mut rig = taken.rig();
    for (from, program) in Sender::BOTH.into_iter().flat_map(|from| BOTH.map(|program| (from, program))) {
        for blocks in 1..=3_u32 {
            let option = |leaves: bool| {
                let edge = |n: u32| if leaves { edges(from, n).1 } else { edges(from, n).0 };
                let blocks: Vec<_> = (0..blocks).map(|n| (edge(n * 99), edge(n * 99 + 7))).collect();
                let stamps = if leaves { timestamps(5 + 11, 700 - 11) } else { timestamps(5, 700) };
                [stamps, sack(&blocks)].concat()
            };
            let conn = with_clocks(rig.conn(Family::V6, ACTIVE), Some(11), Some(11));
            let change = |_, packet: &mut Packet| packet.options = option(false);
            let expect = |_, packet: &mut Packet| packet.options = option(true);
            check_one(&mut rig, Family::V6, &conn, (from, program), change, expect);
        }
    }
}

#[test]
fn an_echo_of_a_clock_that_is_not_known_is_left_out() {
    let taken = take();
    let mut rig = taken.rig();
    let cases = [
        // Not known yet; nothing echoed; no acknowledgement, so the echo means nothing.
        (None, ACK, 4444, 0),
        (Some(7), ACK, 0, 0),
        (Some(7), ACK, 4444, 4437),
        (Some(7), RST, 4444, 4444),
    ];
    for (other, flags, echo, expected) in cases {
        let conn = with_clocks(rig.conn(Family::V4, ACTIVE), Some(100), other);
        let change = |_, packet: &mut Packet| {
            (packet.flags, packet.options) = (flags, timestamps(1, echo));
        };
        let expect = |_, packet: &mut Packet| packet.options = timestamps(101, expected);
        check_one(&mut rig, Family::V4, &conn, (Sender::Client, Program::Splice), change, expect);
    }
}

#[test]
fn the_first_timestamp_goes_on_from_our_own_clock() {
    let taken = take();
    let mut rig = taken.rig();
    for (from, base) in [(Sender::Client, TO_BACKEND_CLOCK), (Sender::Backend, TO_CLIENT_CLOCK)] {
        for value in [0, 1, 0x7fff_ffff, u32::MAX, base.wrapping_add(BEGUN_MS as u32)] {
            let conn = rig.conn(Family::V4, ACTIVE);
            rig.insert(Family::V4, &conn);
            let packet = |value| Packet { options: timestamps(value, 9), ..Family::V4.packet(from) };
            let leaves = |rig: &mut Rig, value| {
                let ran = rig.arrive(Program::Splice, from, &packet(value).bytes());
                let options = Packet::read(&ran.bytes).options;
                u32::from_be_bytes([options[4], options[5], options[6], options[7]])
            };
            let first = leaves(&mut rig, value);
            let direction = *from.direction(&rig.record());
            assert_ne!(direction.clock_offset, 0);
            assert_eq!(first, value.wrapping_add(direction.clock_offset), "{from:?} {value}");
            let late = moved(first, base, 0).wrapping_sub(BEGUN_MS as u32);
            assert!(late < 5_000, "{from:?} {value}: {late} ms after our clock");
            // From then on it is the sender's clock that goes.
            assert_eq!(leaves(&mut rig, value.wrapping_add(1000)), first.wrapping_add(1000));
            assert_eq!(leaves(&mut rig, value.wrapping_sub(3)), first.wrapping_sub(3));
            assert_eq!(from.direction(&rig.record()).clock_offset, direction.clock_offset);
        }
    }
}

#[test]
fn a_syn_keeps_its_options() {
    let taken = take();
    let mut rig = taken.rig();
    let conn = rig.conn(Family::V4, ACTIVE);
    let options = [&[2, 4, 5, 0xb4, 4, 2][..], &[8, 10, 0, 0, 0, 1, 0, 0, 0, 0], &[1, 3, 3, 7]].concat();
    let change = |_, packet: &mut Packet| {
        (packet.flags, packet.ack, packet.options) = (SYN, 0, options.clone());
    };
    check_one(&mut rig, Family::V4, &conn, (Sender::Client, Program::Splice), change, |_, _| ());
    assert_eq!((rig.record().up.flags, UP), (0, 0), "no clock is fixed by it");
}
