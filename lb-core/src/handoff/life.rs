//! The life of a carried pair as its record tells it: how much was carried, and whether it is over.
//!
//! Owns: the rules by which a pair ends without an answer of its own. Goes in: the record, the time, [`Limits`].
//! Comes out: a [`Fate`], a [`Carried`]. Does not do: the resets; `lb-userspace` sends them.

use super::{Carried, Ending};
use lb_common::splice::{ACTIVE, CLOSING, Conn, FIN, RST};

/// How long things may last, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A pair by which no packet passes.
    pub idle_ns: u64,
    /// A pair that is closing, after its last packet: so long late packets still find it.
    pub grace_ns: u64,
    /// A pair whose backend is no longer one.
    pub drain_ns: u64,
}

/// What is to become of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Lives,
    /// It is over: keys and record are taken out.
    Ended(Ending),
    /// Both ends are reset.
    Reset(Ending),
    /// The record is no live pair's: whoever began it died before it was decided. Keys and record are taken out.
    Stray,
}

/// Judges a pair. `gone_ns`: since when its backend is no longer one.
#[must_use]
pub fn fate(conn: &Conn, now_ns: u64, gone_ns: Option<u64>, limits: &Limits) -> Fate {
    let quiet_ns = now_ns.saturating_sub(conn.seen_ns());
    match conn.state {
        CLOSING if quiet_ns >= limits.grace_ns => Fate::Ended(ending(conn)),
        CLOSING => Fate::Lives,
        ACTIVE if quiet_ns >= limits.idle_ns => Fate::Reset(Ending::Idle),
        ACTIVE if gone_ns.is_some_and(|gone| now_ns.saturating_sub(gone) >= limits.drain_ns) => {
            Fate::Reset(Ending::BackendGone)
        }
        ACTIVE => Fate::Lives,
        _ => Fate::Stray,
    }
}

/// How a closing pair ended, by what its packets said.
#[must_use]
pub fn ending(conn: &Conn) -> Ending {
    match (conn.up.flags & (FIN | RST), conn.down.flags & (FIN | RST)) {
        // A client that closes with unread bytes answers the backend's last ones with a reset, and the reverse: who
        // had finished before was not reset by it.
        (up, down) if up & RST != 0 && down & RST == 0 => Ending::ClientReset,
        (up, down) if up & RST == 0 && down & RST != 0 => Ending::BackendReset,
        (up, down) if up & down & RST != 0 && up & FIN == 0 => Ending::ClientReset,
        _ => Ending::Finished,
    }
}

impl Carried {
    /// What the record says.
    #[must_use]
    pub fn read(conn: &Conn, ending: Option<Ending>) -> Self {
        Self {
            bytes_up: conn.up.bytes,
            bytes_down: conn.down.bytes,
            packets_up: conn.up.packets,
            packets_down: conn.down.packets,
            status: status(conn),
            ending,
        }
    }
}

/// The status of an answer that begins `HTTP/1.1 200`.
fn status(conn: &Conn) -> Option<u16> {
    let first = conn.first.get(..conn.first_len as usize)?;
    let digits = first.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::splice::Direction;
    use lb_common::splice::{DIRTY, FREE, WAITING};

    const LIMITS: Limits = Limits { idle_ns: 1_000, grace_ns: 50, drain_ns: 300 };

    fn conn(state: u32, up: u32, down: u32) -> Conn {
        let mut conn = Conn { state, up: Direction { seen_ns: 10_000, ..Direction::ZERO }, ..Conn::ZERO };
        (conn.up.flags, conn.down.flags) = (up, down);
        conn
    }

    #[test]
    fn a_pair_ends_by_its_limits() {
        let check = |conn: Conn, now_ns, gone_ns, expected| {
            assert_eq!(fate(&conn, now_ns, gone_ns, &LIMITS), expected, "{conn:?} at {now_ns}");
        };
        let active = conn(ACTIVE, FIN, 0);
        check(active, 10_999, None, Fate::Lives);
        check(active, 11_000, None, Fate::Reset(Ending::Idle));
        // The clock of the programs may be a tick ahead of ours.
        check(active, 9_999, None, Fate::Lives);
        check(active, 10_100, Some(9_801), Fate::Lives);
        check(active, 10_100, Some(9_800), Fate::Reset(Ending::BackendGone));
        let closing = conn(CLOSING, FIN, FIN);
        check(closing, 10_049, Some(0), Fate::Lives);
        check(closing, 10_050, None, Fate::Ended(Ending::Finished));
        for state in [FREE, WAITING, DIRTY, 9] {
            check(conn(state, 0, 0), 10_000, None, Fate::Stray);
        }
    }

    #[test]
    fn the_flags_say_who_ended_it() {
        let check = |up, down, expected| assert_eq!(ending(&conn(CLOSING, up, down)), expected, "{up} {down}");
        check(FIN, FIN, Ending::Finished);
        check(RST, 0, Ending::ClientReset);
        check(FIN | RST, FIN, Ending::ClientReset);
        check(0, RST, Ending::BackendReset);
        check(FIN, RST, Ending::BackendReset);
        check(RST, RST, Ending::ClientReset);
        check(FIN | RST, FIN | RST, Ending::Finished);
    }

    #[test]
    fn the_status_is_read_where_there_is_one() {
        let check = |first: &[u8], expected| {
            let mut conn = Conn { first_len: first.len() as u32, ..Conn::ZERO };
            conn.first[..first.len()].copy_from_slice(first);
            assert_eq!(Carried::read(&conn, None).status, expected, "{first:?}");
        };
        check(b"HTTP/1.1 200 OK\r", Some(200));
        check(b"HTTP/1.0 404", Some(404));
        check(b"HTTP/1.1 20", None);
        check(b"HTTP/1.1 +20 OK\r", None);
        check(b"\x16\x03\x03\x00\x7a", None);
        check(b"", None);
        let long = Conn { first_len: 99, ..Conn::ZERO };
        assert_eq!(Carried::read(&long, None).status, None);
    }
}
