//! Resets both ends of a carried pair, so that nobody hangs.
//!
//! Owns: which numbers a reset needs to be believed. Goes in: a record whose keys are out. Comes out: resets on the wire.
//! Does not do: taking keys out; while they are there, the program on the way out drops what we send.
//!
//! A reset is believed when its sequence number is the next byte that the peer expects (RFC 5961 section 3.2). That is what
//! the peer acknowledged last, or, when it delays an acknowledgement, the end of what was sent to it. Where the two differ
//! both are sent. If something was in flight so that neither is right, the peer challenges, our stack has no socket for
//! that, and answers with a reset that is exact.

use super::super::repair::{self, Dead};
use lb_common::addr;
use lb_common::splice::{Conn, Direction};
use std::net::SocketAddr;

/// Sends the resets. A failure is logged: the other end must learn of it in any case.
pub(super) fn both(conn: &Conn) {
    for dead in resets(conn) {
        if let Err(error) = repair::reset(&dead) {
            tracing::warn!(%error, peer = %dead.peer, "cannot reset one end of a carried connection");
        }
    }
}

fn resets(conn: &Conn) -> Vec<Dead> {
    let mut resets = to(&conn.down, &conn.up);
    resets.extend(to(&conn.up, &conn.down));
    resets
}

/// Resets to the peer that `towards` leads to and `from` comes from.
fn to(towards: &Direction, from: &Direction) -> Vec<Dead> {
    let address = |ip, port| SocketAddr::new(addr::to_ip(ip), port);
    let (local, peer) = (address(towards.src, towards.src_port), address(towards.dst, towards.dst_port));
    let dead = |seq| Dead { local, peer, seq, ack: from.seq_next };
    let sent = towards.seq_next.wrapping_add(towards.seq_delta);
    let mut resets = vec![dead(from.ack_last)];
    if sent != from.ack_last {
        resets.push(dead(sent));
    }
    resets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_gets_what_it_expects() {
        let v4 = |last| addr::from_v4([10, 0, 0, last]);
        let mut conn = Conn::ZERO;
        conn.down = Direction { src: v4(1), src_port: 443, dst: v4(2), dst_port: 5_000, ..Direction::ZERO };
        conn.up = Direction { src: v4(1), src_port: 20_000, dst: v4(3), dst_port: 8_443, ..Direction::ZERO };
        // The client sent up to 100 and has 700 of what was sent to 750; the backend has everything.
        (conn.up.seq_next, conn.up.ack_last, conn.up.seq_delta) = (100, 700, 1_000);
        (conn.down.seq_next, conn.down.ack_last, conn.down.seq_delta) = (50, 1_100, 700);
        let dead = |local: &str, peer: &str, seq, ack| Dead {
            local: local.parse().expect("address"),
            peer: peer.parse().expect("address"),
            seq,
            ack,
        };
        let expected = [
            dead("10.0.0.1:443", "10.0.0.2:5000", 700, 100),
            dead("10.0.0.1:443", "10.0.0.2:5000", 750, 100),
            dead("10.0.0.1:20000", "10.0.0.3:8443", 1_100, 50),
        ];
        assert_eq!(resets(&conn), expected);
    }
}
