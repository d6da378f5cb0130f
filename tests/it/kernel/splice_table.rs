//! Tables of packets for the programs of the splice: packet in, verdict, packet out, counters, events, the record after.
//!
//! Programs run by `BPF_PROG_TEST_RUN`, where checksums are whole, so that each is compared with one worked out anew.
//! Every case runs for both families unless it is about one.

mod hop;
mod native;
mod pair;
mod pass;
mod rewrite;
pub mod rig;
mod silence;
mod speed;
mod states;
mod trouble;

use lb_common::splice::Conn;
use lb_tests::packet::Packet;
use pair::{Family, Sender};
use rig::{Program, Ran, Rig, TC_PASS, TC_REDIRECT, XDP_PASS, XDP_REDIRECT};

impl Rig {
    /// The record of the pair under test, with the interfaces of this rig.
    fn conn(&self, family: Family, state: u32) -> Conn {
        family.conn(state, (self.client_ifindex, self.backend_ifindex))
    }

    /// Runs a program on a packet that arrived from one of the ends.
    fn arrive(&mut self, program: Program, from: Sender, frame: &[u8]) -> Ran {
        let ifindex = if from == Sender::Client { self.client_ifindex } else { self.backend_ifindex };
        self.run(program, ifindex, frame)
    }

    /// A packet must go on as without us.
    fn passes(&mut self, program: Program, from: Sender, frame: &[u8], outcome: &'static str, what: &str) {
        let ran = self.arrive(program, from, frame);
        assert_eq!(ran.counted, [(outcome, 1)], "{what}");
        assert_eq!(ran.verdict, if program == Program::Native { XDP_PASS } else { TC_PASS }, "{what}");
        assert_eq!(ran.bytes, frame, "{what}: a packet that passes is as it was");
    }

    /// A packet must leave as another.
    fn carries(&mut self, program: Program, from: Sender, packet: &Packet, expected: &Packet, outcome: &'static str) {
        let ran = self.arrive(program, from, &packet.bytes());
        assert_eq!(ran.counted, [(outcome, 1)], "{packet:x?}");
        assert_eq!(ran.verdict, if program == Program::Native { XDP_REDIRECT } else { TC_REDIRECT }, "{packet:x?}");
        assert_eq!(Packet::read(&ran.bytes), *expected, "{program:?} {from:?}");
    }
}

/// The outcome of a packet that a program translates.
fn outcome(program: Program, from: Sender) -> &'static str {
    match (program, from) {
        (Program::Native, Sender::Client) => "up_xdp",
        (Program::Native, Sender::Backend) => "down_xdp",
        (_, Sender::Client) => "up",
        (_, Sender::Backend) => "down",
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
