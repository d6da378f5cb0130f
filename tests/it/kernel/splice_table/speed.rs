//! How long a program takes for a packet of a carried pair, in the test harness of the kernel.
//!
//! The same packet is translated again and again. Everything is written and nothing changed, so that its checksum never
//! comes to look half done, which XDP would leave for tc. Bounded is the ratio to a packet of no pair, in the same run: no
//! machine that runs tests is quiet. The figures are printed.

use super::pair::{Family, Sender};
use super::rig::{Program, Rig, take};
use lb_common::splice::{ACTIVE, Conn};
use lb_tests::packet::{Packet, sack, timestamps};
use std::time::Duration;

const REPEAT: u32 = 20_000;
const ROUNDS: usize = 5;
/// A translation takes 5 to 7 times as long as finding that a packet is of no pair: 143 to 184 ns against 29 ns (kernel 6.18,
/// a virtual machine of 2 cores, harness included).
const RATIO_MAX: u32 = 20;

/// Added to timestamps: a multiple of 65,535, which leaves every checksum as it is. One that changed with each run would be the sum of
/// the pseudo header at some time, and XDP leaves that to tc.
const CLOCK_OFFSET: u32 = 0xffff;

/// A pair whose packets leave with the 4-tuple that they came with, so that a packet can be translated again.
fn in_place(rig: &Rig, family: Family) -> Conn {
    let mut conn = rig.conn(family, ACTIVE);
    for (direction, key) in [(&mut conn.up, family.up_key()), (&mut conn.down, family.down_key())] {
        (direction.src, direction.dst) = (key.src, key.dst);
        (direction.src_port, direction.dst_port) = (key.src_port, key.dst_port);
        (direction.seq_delta, direction.ack_delta) = (0, 0);
        direction.clock_offset = CLOCK_OFFSET;
        (direction.window_left, direction.window_right) = (7, 7);
    }
    conn
}

/// The best of some rounds.
fn best(rig: &mut Rig, program: Program, family: Family, packet: &Packet) -> Duration {
    let run = |rig: &mut Rig| {
        let mut conn = in_place(rig, family);
        // The hop must stay fresh, and addressed to the interface that the packet comes in by.
        (conn.up.hop_dst, conn.up.hop_src) = (packet.mac_dst, packet.mac_src);
        rig.insert(family, &conn);
        rig.add_ports();
        let counted = rig.record().up.packets;
        let time = rig.time(program, rig.client_ifindex, &packet.bytes(), REPEAT);
        assert_eq!(rig.record().up.packets - counted, u64::from(REPEAT), "every run was a translation");
        time
    };
    (0..ROUNDS).map(|_| run(rig)).min().expect("some rounds")
}

#[test]
fn a_packet_of_a_carried_pair_takes_a_few_times_as_long_as_another() {
    let taken = take();
    let mut rig = taken.rig();
    let base = rig.client_ifindex;
    let stranger = Packet { payload: vec![0; 64], ..Family::V4.packet(Sender::Backend) };
    let unknown = (0..ROUNDS).map(|_| rig.time(Program::Splice, base, &stranger.bytes(), REPEAT)).min();
    let unknown = unknown.expect("some rounds");
    println!("Splice, of no pair: {} ns", unknown.as_nanos());
    for (what, options) in [
        ("no options", vec![]),
        ("timestamps", timestamps(1, 2)),
        ("timestamps and three SACK blocks", [timestamps(1, 2), sack(&[(1, 2), (3, 4), (5, 6)])].concat()),
    ] {
        for family in super::FAMILIES {
            for program in [Program::Splice, Program::Native] {
                let payload = if what.contains("SACK") { vec![] } else { vec![0; 64] };
                let packet = Packet { options: options.clone(), payload, ..family.packet(Sender::Client) };
                let time = best(&mut rig, program, family, &packet);
                println!("{program:?}, {family:?}, {what}: {} ns", time.as_nanos());
                assert!(time < unknown * RATIO_MAX, "{program:?}, {family:?}, {what}: {time:?}");
            }
        }
    }
}
