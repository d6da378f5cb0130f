//! Keys and records: written, read, exchanged and taken out.

use super::{open, setup};
use crate::kernel::lab::{Lab, connect};
use lb_common::maps::CONNS_MAX;
use lb_common::splice::{
    ACTIVE, CLOSING, Conn, DIRTY, Direction, EVENT_REFUSED, FREE, FlowKey, SWITCH_ANSWER, WAITING,
};
use lb_userspace::kernel::Pair;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::time::Duration;

/// A key of its own for each number; of no connection that there is.
pub fn key(number: u32) -> FlowKey {
    let mut src = [0; 16];
    src[12..].copy_from_slice(&number.to_be_bytes());
    FlowKey::new(src, 1, [7; 16], 2)
}

/// A record with something in every part.
pub fn conn(state: u32) -> Conn {
    let up = Direction { seq_delta: 1, window_right: 7, bytes: u64::MAX, src: [1; 16], ..Direction::ZERO };
    let down = Direction { ack_delta: u32::MAX, hop_src: [9; 6], hop_ns: 1 << 40, ..Direction::ZERO };
    Conn { up, down, state, answer: SWITCH_ANSWER, activate_ack: 5, generation: 6, first: [3; 16], ..Conn::ZERO }
}

#[test]
fn a_pair_is_inserted_listed_and_removed() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    let last = CONNS_MAX - 1;
    for (id, number) in [(0, 1), (last, 3)] {
        assert_eq!(carrier.read(id), Conn::ZERO);
        carrier.insert(id, &key(number), &key(number + 1), &conn(WAITING)).expect("inserted");
        assert_eq!(carrier.read(id), conn(WAITING));
    }
    let pair = |id, up, down| Pair { id, up: Some(key(up)), down: Some(key(down)) };
    assert_eq!(carrier.pairs().expect("read"), [pair(0, 1, 2), pair(last, 3, 4)]);
    carrier.remove(last, &key(3), &key(4)).expect("removed");
    assert_eq!(carrier.pairs().expect("read"), [pair(0, 1, 2)]);
    assert_eq!(carrier.read(last).state, FREE);
    carrier.remove(last, &key(3), &key(4)).expect("what is not there is fine");
    assert_eq!(carrier.read(0), conn(WAITING), "another pair is not touched");
}

#[test]
fn the_state_is_exchanged_only_from_what_it_is() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    carrier.insert(7, &key(1), &key(2), &conn(WAITING)).expect("inserted");
    assert_eq!(carrier.exchange_state(7, ACTIVE, CLOSING), Err(WAITING));
    assert_eq!(carrier.exchange_state(7, WAITING, DIRTY), Ok(()));
    assert_eq!(carrier.exchange_state(7, WAITING, ACTIVE), Err(DIRTY));
    assert_eq!(carrier.read(7), conn(DIRTY), "nothing but the state has changed");
    // The kernel's own view, through another mapping.
    drop(carrier);
    assert_eq!(open(&lab, &setup(&lab)).read(7), conn(DIRTY));
}

#[test]
fn a_pair_that_cannot_be_inserted_leaves_nothing() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    carrier.insert(1, &key(1), &key(2), &conn(ACTIVE)).expect("inserted");
    for (up, down) in [(1, 3), (3, 1), (2, 3), (3, 2)] {
        let error = carrier.insert(2, &key(up), &key(down), &conn(WAITING)).expect_err("a key is taken");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(carrier.read(2).state, FREE);
        assert_eq!(carrier.pairs().expect("read").len(), 1, "{up} {down}");
    }
    // Taking a pair out leaves a key that is another's by now.
    carrier.remove(2, &key(1), &key(2)).expect("nothing to do");
    assert_eq!(carrier.pairs().expect("read").len(), 1);
    assert!(carrier.insert(CONNS_MAX, &key(3), &key(4), &conn(WAITING)).is_err(), "there is no such record");
    assert_eq!(carrier.read(CONNS_MAX), Conn::ZERO);
    assert_eq!(carrier.exchange_state(CONNS_MAX, FREE, ACTIVE), Err(FREE));
    assert_eq!(carrier.pairs().expect("read").len(), 1);
}

#[test]
fn what_the_programs_say_is_heard() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    let listener = lab.server.run(|| TcpListener::bind("10.77.0.2:80")).expect("we bind no port 80");
    let client = connect(&lab.client, "10.77.0.2:80").expect("connected");
    let _server = listener.accept().expect("a connection waits");
    let port = client.local_addr().expect("a stream has an address").port();
    let v4 = |last| Ipv4Addr::new(10, 77, 0, last).to_ipv6_mapped().octets();
    let up = FlowKey::new(v4(1), port, v4(2), 80);
    let (say, said) = std::sync::mpsc::channel();
    let follower =
        lab.server.run(|| carrier.follow(move |event| say.send(event).expect("we listen"))).expect("followed");
    assert!(carrier.follow(drop).is_err(), "there is one follower");
    carrier.insert(5, &up, &key(1), &conn(WAITING)).expect("inserted");
    // A client that says before its answer has come that it sends no more makes the pair userspace's. Payload would too, if
    // the record had numbers by which it is new.
    client.shutdown(Shutdown::Write).expect("sent");
    let event = said.recv_timeout(Duration::from_secs(10)).expect("an event comes");
    assert_eq!((event.kind, event.conn, event.generation), (EVENT_REFUSED, 5, conn(WAITING).generation));
    assert_eq!(carrier.read(5).state, DIRTY);
    drop(follower);
    drop(carrier.follow(drop).expect("it can be followed again"));
}

#[test]
fn as_many_pairs_as_promised_fit_and_no_more() {
    let lab = Lab::new();
    let carrier = open(&lab, &setup(&lab));
    for id in 0..CONNS_MAX {
        carrier.insert(id, &key(2 * id), &key(2 * id + 1), &conn(WAITING)).expect("inserted");
    }
    let pairs = carrier.pairs().expect("read");
    assert_eq!(pairs.len(), CONNS_MAX as usize);
    for (id, pair) in (0..).zip(&pairs) {
        assert_eq!(*pair, Pair { id, up: Some(key(2 * id)), down: Some(key(2 * id + 1)) });
    }
    let (up, down) = (key(2 * CONNS_MAX), key(2 * CONNS_MAX + 1));
    carrier.remove(0, &key(0), &key(u32::MAX)).expect("one key is taken out");
    carrier.insert(0, &up, &down, &conn(WAITING)).expect_err("there is room for one key only");
    assert_eq!(carrier.report().maps[0].entries, Some(2 * CONNS_MAX as usize - 1), "the first key was taken out again");
}
