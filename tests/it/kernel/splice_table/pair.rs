//! The pair that all tables are about, in both families, and what a packet of it must become.
//!
//! Goes in: a packet as it arrives. Comes out: as it must leave, worked out here once more and by other means.

use super::rig::now_ns;
use lb_common::addr::from_ip;
use lb_common::splice::{Conn, Direction, FlowKey};
use lb_tests::packet::{ACK, Packet, SYN};
use std::net::SocketAddr;

/// Interfaces of the rig.
pub const INTERFACES: &str = "\
    link add c0 address 02:00:00:00:01:02 type veth peer name c1\n\
    link add b0 address 02:00:00:00:02:02 type veth peer name b1\n\
    link set c0 up\nlink set c1 up\nlink set b0 up\nlink set b1 up\n\
    address add 10.80.1.2/24 dev c0\naddress add 10.80.2.2/24 dev b0\n\
    address add fd80:1::2/64 dev c0 nodad\naddress add fd80:2::2/64 dev b0 nodad\n\
    neighbour add 10.80.1.1 lladdr 02:00:00:00:01:01 dev c0 nud permanent\n\
    neighbour add 10.80.2.1 lladdr 02:00:00:00:02:01 dev b0 nud permanent\n\
    neighbour add fd80:1::1 lladdr 02:00:00:00:01:01 dev c0 nud permanent\n\
    neighbour add fd80:2::1 lladdr 02:00:00:00:02:01 dev b0 nud permanent\n";

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub const BACK_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// The next byte of the client, and the next to it, on its connection. The first overflows soon.
pub const CLIENT_NEXT: u32 = 0xffff_ff00;
pub const TO_CLIENT_NEXT: u32 = 0x0000_1000;
/// The next byte to the backend, after the request, and the next of the backend, on its connection.
pub const TO_BACKEND_NEXT: u32 = 0x8000_0010;
pub const BACKEND_NEXT: u32 = 0x7fff_ff80;

/// Shifts of windows: the client's, ours to the backend; the backend's, ours to the client.
pub const CLIENT_SHIFT: u8 = 7;
pub const TO_BACKEND_SHIFT: u8 = 9;
pub const BACKEND_SHIFT: u8 = 3;
pub const TO_CLIENT_SHIFT: u8 = 1;

/// Our clocks at the hand-off, and how long ago that was.
pub const TO_BACKEND_CLOCK: u32 = 0xffff_f000;
pub const TO_CLIENT_CLOCK: u32 = 5_000_000;
pub const BEGUN_MS: u64 = 1_500;

pub const GENERATION: u32 = 77;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Backend,
}

impl Family {
    fn address(self, v4: &str, v6: &str) -> SocketAddr {
        if self == Self::V4 { v4 } else { v6 }.parse().expect("test data is an address")
    }

    pub fn client(self) -> SocketAddr {
        self.address("10.80.1.1:40001", "[fd80:1::1]:40001")
    }

    /// Where the client connected to.
    pub fn front(self) -> SocketAddr {
        self.address("10.80.1.2:80", "[fd80:1::2]:80")
    }

    /// Where we connected from.
    pub fn back(self) -> SocketAddr {
        self.address("10.80.2.2:20003", "[fd80:2::2]:20003")
    }

    pub fn backend(self) -> SocketAddr {
        self.address("10.80.2.1:8080", "[fd80:2::1]:8080")
    }

    pub fn up_key(self) -> FlowKey {
        key(self.client(), self.front())
    }

    pub fn down_key(self) -> FlowKey {
        key(self.backend(), self.back())
    }

    /// An acknowledgement that arrives, with the numbers that come next.
    pub fn packet(self, from: Sender) -> Packet {
        let (src, dst, mac_src, mac_dst, seq, ack) = match from {
            Sender::Client => (self.client(), self.front(), CLIENT_MAC, FRONT_MAC, CLIENT_NEXT, TO_CLIENT_NEXT),
            Sender::Backend => (self.backend(), self.back(), BACKEND_MAC, BACK_MAC, BACKEND_NEXT, TO_BACKEND_NEXT),
        };
        Packet { mac_src, mac_dst, id: 0x4321, class: 0x2c, ttl: 51, seq, ack, ..Packet::new(src, dst) }
    }

    /// The record as userspace writes it, in a state, with next hops that were just looked up.
    pub fn conn(self, state: u32, ifindexes: (u32, u32)) -> Conn {
        let (client_ifindex, backend_ifindex) = ifindexes;
        let hop_ns = now_ns();
        let up = Direction {
            seq_delta: TO_BACKEND_NEXT.wrapping_sub(CLIENT_NEXT),
            ack_delta: BACKEND_NEXT.wrapping_sub(TO_CLIENT_NEXT),
            clock_base: TO_BACKEND_CLOCK,
            window_left: CLIENT_SHIFT,
            window_right: TO_BACKEND_SHIFT,
            hop_dst: BACKEND_MAC,
            hop_src: BACK_MAC,
            hop_ifindex: backend_ifindex,
            hop_ns,
            seq_next: CLIENT_NEXT,
            seq_edge: CLIENT_NEXT,
            ack_last: TO_CLIENT_NEXT,
            ..leaving(self.back(), self.backend())
        };
        let down = Direction {
            seq_delta: TO_CLIENT_NEXT.wrapping_sub(BACKEND_NEXT),
            ack_delta: CLIENT_NEXT.wrapping_sub(TO_BACKEND_NEXT),
            clock_base: TO_CLIENT_CLOCK,
            window_left: BACKEND_SHIFT,
            window_right: TO_CLIENT_SHIFT,
            hop_dst: CLIENT_MAC,
            hop_src: FRONT_MAC,
            hop_ifindex: client_ifindex,
            hop_ns,
            seq_next: BACKEND_NEXT,
            seq_edge: BACKEND_NEXT,
            ack_last: TO_BACKEND_NEXT,
            ..leaving(self.front(), self.client())
        };
        Conn {
            up,
            down,
            state,
            activate_ack: TO_BACKEND_NEXT,
            activate_seq: BACKEND_NEXT,
            generation: GENERATION,
            begun_ns: now_ns().wrapping_sub(BEGUN_MS * 1_000_000),
            ..Conn::ZERO
        }
    }

    /// What a packet that arrived must leave as, but for its options.
    pub fn translated(self, from: Sender, packet: &Packet) -> Packet {
        let (src, dst, mac_src, mac_dst) = match from {
            Sender::Client => (self.back(), self.backend(), BACK_MAC, BACKEND_MAC),
            Sender::Backend => (self.front(), self.client(), FRONT_MAC, CLIENT_MAC),
        };
        // Bytes since the hand-off are what both sides count alike.
        let (seq, ack) = match from {
            Sender::Client => (moved(packet.seq, CLIENT_NEXT, TO_BACKEND_NEXT), moved_ack(packet, BACKEND_NEXT)),
            Sender::Backend => (moved(packet.seq, BACKEND_NEXT, TO_CLIENT_NEXT), moved_ack(packet, CLIENT_NEXT)),
        };
        let (left, right) = match from {
            Sender::Client => (CLIENT_SHIFT, TO_BACKEND_SHIFT),
            Sender::Backend => (BACKEND_SHIFT, TO_CLIENT_SHIFT),
        };
        let bytes = u64::from(packet.window) << left;
        let window = u16::try_from(bytes >> right).unwrap_or(u16::MAX);
        let window = if packet.flags & SYN == 0 { window } else { packet.window };
        Packet { src, dst, mac_src, mac_dst, seq, ack, window, ttl: 64, ..packet.clone() }
    }
}

impl Sender {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Backend];

    /// The direction of a record that its packets go by.
    pub fn direction(self, conn: &Conn) -> &Direction {
        match self {
            Self::Client => &conn.up,
            Self::Backend => &conn.down,
        }
    }
}

/// A number that lies as far behind `to` as it lay behind `from`.
pub fn moved(number: u32, from: u32, to: u32) -> u32 {
    to.wrapping_add(number.wrapping_sub(from))
}

fn moved_ack(packet: &Packet, to: u32) -> u32 {
    let from = if to == BACKEND_NEXT { TO_CLIENT_NEXT } else { TO_BACKEND_NEXT };
    if packet.flags & ACK == 0 { packet.ack } else { moved(packet.ack, from, to) }
}

fn key(src: SocketAddr, dst: SocketAddr) -> FlowKey {
    FlowKey::new(from_ip(src.ip()), src.port(), from_ip(dst.ip()), dst.port())
}

fn leaving(src: SocketAddr, dst: SocketAddr) -> Direction {
    Direction {
        src: from_ip(src.ip()),
        dst: from_ip(dst.ip()),
        src_port: src.port(),
        dst_port: dst.port(),
        ..Direction::ZERO
    }
}
