//! How long a source port of ours rests after its pair has ended, before it is used again towards the same backend.
//!
//! Owns: the rule. Goes in: the record of a pair that is over, the time. Comes out: nanoseconds. Does not do: keeping ports.
//!
//! The 4-tuple that is used again must be one that the backend gives a new connection, and no late segment of the old one
//! may be taken for one of the new. Who closed first decides what stands in the way:
//!
//! - The backend: it keeps the tuple in TIME_WAIT, and takes a SYN whose timestamp is larger than the last that it saw
//!   (RFC 6191; RFC 1122 section 4.2.2.13 says the same of sequence numbers, of which we cannot be sure).
//! - The client: TIME_WAIT would be ours. It is there for late segments, and those the new connection refuses by their
//!   timestamps (PAWS, RFC 7323 section 5). Linux waits a second in that case (`net.ipv4.tcp_tw_reuse`). A FIN that the
//!   backend repeats is still carried to the client while the pair is closing, so that is over before.
//! - A reset: nobody keeps anything.
//! - We, who reset a pair that lives: nothing says that the backend has heard it.
//!
//! So timestamps decide nearly everything. The timestamps that the backend saw began where our clock stood and went on by
//! the client's, which may run faster than ours: the rest grows with the age of the pair. A client that lies about its
//! clock gains nothing: the backend refuses one SYN, our stack answers its challenge, and the next SYN is taken.

use lb_common::splice::{Conn, FIN, RST};

/// The least that a port rests, nanoseconds: Linux waits as long (6.18, `tcp_twsk_unique`).
const LEAST_NS: u64 = 1_000_000_000;

/// A clock runs at most so much faster than ours, one part in: twice what NTP may speed a clock up by (500 in a million).
const DRIFT: u64 = 1_000;

/// How long the port of a pair rests that has ended; `most_ns` where timestamps do not help.
#[must_use]
pub fn rest_ns(conn: &Conn, now_ns: u64, most_ns: u64) -> u64 {
    let (up, down) = (conn.up.flags, conn.down.flags);
    let is_over = up & down & FIN != 0 || (up | down) & RST != 0;
    if !is_over || !conn.up.is_clock_known() {
        return most_ns;
    }
    let age_ns = now_ns.saturating_sub(conn.begun_ns);
    (LEAST_NS + age_ns / DRIFT).min(most_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::splice::Direction;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const MOST: u64 = 60 * SECOND;

    /// Beside the flags of a direction: timestamps have passed.
    const CLOCK_KNOWN: u32 = 4;

    fn conn(up: u32, down: u32) -> Conn {
        let direction =
            |flags| Direction { flags: flags & !CLOCK_KNOWN, clock_offset: flags & CLOCK_KNOWN, ..Direction::ZERO };
        Conn { up: direction(up), down: direction(down), begun_ns: 7 * SECOND, ..Conn::ZERO }
    }

    #[test]
    fn what_is_over_by_itself_and_has_timestamps_rests_shortly() {
        let check = |up, down, age_s: u64, expected_ms: u64| {
            let rest = rest_ns(&conn(up, down), (7 + age_s) * SECOND, MOST);
            assert_eq!(rest / 1_000_000, expected_ms, "{up} {down} after {age_s} s");
        };
        for (up, down) in [(FIN, FIN), (RST, 0), (0, RST), (FIN, RST), (FIN | RST, FIN)] {
            check(up | CLOCK_KNOWN, down | CLOCK_KNOWN, 0, 1_000);
            check(up | CLOCK_KNOWN, down, 10, 1_010);
            check(up | CLOCK_KNOWN, down, 3_600, 4_600);
            check(up | CLOCK_KNOWN, down, 1_000_000, 60_000);
            // What the backend saw had no timestamps.
            check(up, down | CLOCK_KNOWN, 10, 60_000);
        }
        // Reset by us.
        for (up, down) in [(0, 0), (FIN, 0), (0, FIN)] {
            check(up | CLOCK_KNOWN, down | CLOCK_KNOWN, 10, 60_000);
        }
        let later = conn(FIN | CLOCK_KNOWN, FIN);
        assert_eq!(rest_ns(&later, 0, MOST), SECOND, "a clock that is a tick behind");
    }

    proptest! {
        /// Of a backend in TIME_WAIT as Linux has it (`tcp_timewait_state_process`): it takes a SYN whose timestamp is
        /// larger than the last. Clocks count milliseconds modulo 2^32 and begin anywhere.
        #[test]
        fn a_backend_in_time_wait_takes_the_next_connection(
            base: u32,
            age_ms in 0_u64..30_000_000,
            drift in -900_i64..=900,
            ahead in 0_u32..=2,
        ) {
            let age_ns = age_ms * 1_000_000;
            let mut conn = conn(FIN | CLOCK_KNOWN, FIN | CLOCK_KNOWN);
            conn.begun_ns = SECOND;
            let rest = rest_ns(&conn, SECOND + age_ns, MOST);
            let client_ms = (age_ms as i64 + age_ms as i64 * drift / 1_000_000) as u32;
            let last = base.wrapping_add(ahead).wrapping_add(client_ms);
            let next = base.wrapping_add(((age_ns + rest) / 1_000_000) as u32);
            prop_assert!((next.wrapping_sub(last) as i32) > 0, "{next} is not after {last}");
        }

        #[test]
        fn never_longer_than_the_most_nor_shorter_for_an_older_pair(
            up in 0_u32..8, down in 0_u32..8, begun: u64, now: u64, later: u32, most in 0..MOST,
        ) {
            let conn = Conn { begun_ns: begun, ..conn(up, down) };
            let rest = rest_ns(&conn, now, most);
            prop_assert!(rest <= most && rest >= most.min(LEAST_NS));
            prop_assert!(rest_ns(&conn, now.saturating_add(u64::from(later)), most) >= rest);
        }
    }
}
