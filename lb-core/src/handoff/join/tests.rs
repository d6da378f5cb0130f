//! Rows of what joins and what does not, and properties of the numbers.

use super::*;
use proptest::prelude::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("test data is an address")
}

fn client() -> End {
    End {
        local: address("10.1.0.1:443"),
        peer: address("10.1.0.2:50000"),
        established: true,
        snd_nxt: 1_000,
        rcv_nxt: 2_000,
        unacknowledged: 0,
        unread: 0,
        timestamps: true,
        microseconds: false,
        sack: true,
        ecn: false,
        special: false,
        snd_scale: 7,
        rcv_scale: 9,
        mss_out: 1_448,
        mss_in: 1_460,
        clock: 77,
        ifindex: 3,
    }
}

fn backend() -> End {
    let (local, peer) = (address("10.2.0.1:20000"), address("10.2.0.10:8443"));
    let (snd_nxt, rcv_nxt, snd_scale, rcv_scale) = (u32::MAX - 99, u32::MAX, 2, 10);
    End { local, peer, snd_nxt, rcv_nxt, snd_scale, rcv_scale, clock: 5_000, ifindex: 4, ..client() }
}

fn request(bytes: u32) -> Request {
    Request { bytes, answer: Answer::Any, begun_ns: 42, generation: 7 }
}

#[test]
fn a_record_has_what_steering_says() {
    let Joined { conn, up, down } = join(&client(), &backend(), &request(517)).expect("joined");
    let ip = |text: &str| addr::from_ip(text.parse().expect("test data is an address"));
    assert_eq!(up, FlowKey::new(ip("10.1.0.2"), 50_000, ip("10.1.0.1"), 443));
    assert_eq!(down, FlowKey::new(ip("10.2.0.10"), 8443, ip("10.2.0.1"), 20_000));
    // 2^32 - 100 + 517 = 417 modulo 2^32.
    assert_eq!((conn.activate_ack, conn.activate_seq), (417, u32::MAX));
    assert_eq!(conn.up.seq_delta, 417u32.wrapping_sub(2_000));
    assert_eq!(conn.up.ack_delta, u32::MAX.wrapping_sub(1_000));
    assert_eq!((conn.down.seq_delta, conn.down.ack_delta), (1_001, 1_583));
    assert_eq!((conn.up.src, conn.up.src_port), (ip("10.2.0.1"), 20_000));
    assert_eq!((conn.up.dst, conn.up.dst_port), (ip("10.2.0.10"), 8443));
    assert_eq!((conn.down.src, conn.down.src_port), (ip("10.1.0.1"), 443));
    assert_eq!((conn.down.dst, conn.down.dst_port), (ip("10.1.0.2"), 50_000));
    assert_eq!((conn.up.window_left, conn.up.window_right), (7, 10));
    assert_eq!((conn.down.window_left, conn.down.window_right), (2, 9));
    assert_eq!((conn.up.clock_base, conn.down.clock_base), (5_002, 79));
    assert_eq!((conn.up.hop_ifindex, conn.down.hop_ifindex), (4, 3));
    assert_eq!((conn.up.seq_next, conn.up.ack_last), (2_000, 1_000));
    assert_eq!((conn.down.seq_next, conn.down.ack_last), (u32::MAX, 417));
    assert_eq!((conn.state, conn.answer, conn.generation), (WAITING, ANY_ANSWER, 7));
    assert_eq!((conn.begun_ns, conn.seen_ns()), (42, 42));
    let switch = Request { answer: Answer::Switch, ..request(1) };
    assert_eq!(join(&client(), &backend(), &switch).expect("joined").conn.answer, SWITCH_ANSWER);
}

#[test]
fn a_v4_mapped_end_is_ipv4() {
    let mapped = End { local: address("[::ffff:10.1.0.1]:443"), peer: address("[::ffff:10.1.0.2]:50000"), ..client() };
    assert_eq!(join(&mapped, &backend(), &request(1)), join(&client(), &backend(), &request(1)));
}

#[test]
fn each_rule_keeps_apart() {
    let check = |change: fn(&mut End, &mut End), apart: Apart| {
        let (mut client, mut backend) = (client(), backend());
        change(&mut client, &mut backend);
        assert_eq!(join(&client, &backend, &request(1)), Err(apart), "{client:?} {backend:?}");
    };
    check(|_, b| (b.local, b.peer) = (address("[fd02::1]:20000"), address("[fd02::10]:8443")), Apart::Family);
    check(|c, _| c.established = false, Apart::Closing);
    check(|_, b| b.established = false, Apart::Closing);
    check(|c, _| c.special = true, Apart::Option);
    check(|_, b| b.special = true, Apart::Option);
    check(|c, _| c.unread = 1, Apart::Ahead);
    check(|_, b| b.unread = 1, Apart::Dirty);
    check(|c, _| c.unacknowledged = 1, Apart::Unacknowledged);
    check(|_, b| b.unacknowledged = 1, Apart::Unacknowledged);
    check(|c, _| c.timestamps = false, Apart::Timestamps);
    check(|_, b| b.timestamps = false, Apart::Timestamps);
    check(|c, _| c.microseconds = true, Apart::Clock);
    check(|_, b| b.microseconds = true, Apart::Clock);
    check(|c, _| c.sack = false, Apart::Sack);
    check(|_, b| b.sack = false, Apart::Sack);
    check(|c, _| c.ecn = true, Apart::Ecn);
    check(|_, b| b.ecn = true, Apart::Ecn);
    check(|_, b| b.mss_out = 1_447, Apart::Mss);
    check(|c, _| c.mss_out = 1_447, Apart::Mss);
    check(|c, _| c.mss_in = 1_461, Apart::Mss);
    check(|_, b| b.mss_in = 1_461, Apart::Mss);
    // Without timestamps no option takes its share.
    check(|c, b| (c.timestamps, b.timestamps, b.mss_out) = (false, false, 1_459), Apart::Mss);
}

#[test]
fn what_both_lack_joins() {
    let without = |end: End| End { timestamps: false, microseconds: true, sack: false, mss_out: 1_460, ..end };
    let (client, backend) = (without(client()), without(backend()));
    join(&client, &backend, &request(1)).expect("neither has timestamps, so their unit is nobody's matter");
    let (client, backend) = (End { ecn: true, ..client }, End { ecn: true, ..backend });
    join(&client, &backend, &request(1)).expect("both have notification of congestion");
}

/// What is special about an end is said before anything that such an end cannot tell.
#[test]
fn a_special_end_is_apart_for_that_reason_alone() {
    let blank = End {
        snd_nxt: 0,
        rcv_nxt: 0,
        timestamps: false,
        sack: false,
        snd_scale: 0,
        rcv_scale: 0,
        mss_out: 0,
        mss_in: 0,
        clock: 0,
        ifindex: 0,
        special: true,
        ..client()
    };
    assert_eq!(join(&blank, &backend(), &request(1)), Err(Apart::Option));
    let blank = End { local: backend().local, peer: backend().peer, ..blank };
    assert_eq!(join(&client(), &blank, &request(1)), Err(Apart::Option));
}

#[test]
fn the_unit_of_clocks_matters_where_there_are_any() {
    for (timestamps, microseconds, joined) in [
        (true, [false, false], Ok(())),
        (true, [true, false], Err(Apart::Clock)),
        (true, [false, true], Err(Apart::Clock)),
        // Not even when both count alike: what is counted on goes by milliseconds.
        (true, [true, true], Err(Apart::Clock)),
        (false, [true, true], Ok(())),
    ] {
        let mss_out = if timestamps { 1_448 } else { 1_460 };
        let end = |end: End, microseconds| End { timestamps, microseconds, mss_out, ..end };
        let [of_client, of_backend] = microseconds;
        let (client, backend) = (end(client(), of_client), end(backend(), of_backend));
        assert_eq!(join(&client, &backend, &request(1)).map(|_| ()), joined, "{timestamps} {microseconds:?}");
    }
}

#[test]
fn windows_of_every_scale_are_joined() {
    for scales in [[0; 4], [0, 14, 0, 14], [14, 0, 14, 0], [14; 4], [0, 0, 7, 7], [7, 7, 0, 0]] {
        let [theirs, ours, backends, ours_to_it] = scales;
        let client = End { snd_scale: theirs, rcv_scale: ours, ..client() };
        let backend = End { snd_scale: backends, rcv_scale: ours_to_it, ..backend() };
        let conn = join(&client, &backend, &request(1)).expect("joined").conn;
        assert_eq!((conn.up.window_left, conn.up.window_right), (theirs, ours_to_it), "{scales:?}");
        assert_eq!((conn.down.window_left, conn.down.window_right), (backends, ours), "{scales:?}");
    }
}

/// How a packet leaves: sequence number and acknowledgement number.
fn translate(direction: &Direction, seq: u32, ack: u32) -> (u32, u32) {
    (seq.wrapping_add(direction.seq_delta), ack.wrapping_add(direction.ack_delta))
}

proptest! {
    #[test]
    fn numbers_translate_there_and_back(
        numbers: [u32; 4], bytes: u32, sent_up: u32, sent_down: u32,
    ) {
        let [c_snd, c_rcv, b_snd, b_rcv] = numbers;
        let client = End { snd_nxt: c_snd, rcv_nxt: c_rcv, ..client() };
        let backend = End { snd_nxt: b_snd, rcv_nxt: b_rcv, ..backend() };
        let conn = join(&client, &backend, &request(bytes)).expect("joined").conn;
        // The client has sent so much after its request, and has so much of the answer.
        let (seq, ack) = (c_rcv.wrapping_add(sent_up), c_snd.wrapping_add(sent_down));
        let (seq_right, ack_right) = translate(&conn.up, seq, ack);
        // To the backend that is as far behind the request, and as far into the answer.
        prop_assert_eq!(seq_right.wrapping_sub(b_snd), bytes.wrapping_add(sent_up));
        prop_assert_eq!(ack_right.wrapping_sub(b_rcv), sent_down);
        // What acknowledges a packet has its numbers the other way round, and must come back to where it was.
        prop_assert_eq!(translate(&conn.down, ack_right, seq_right), (ack, seq));
    }

    #[test]
    fn the_packet_that_activates_follows_what_each_side_knows(numbers: [u32; 4], bytes: u32) {
        let [c_snd, c_rcv, b_snd, b_rcv] = numbers;
        let client = End { snd_nxt: c_snd, rcv_nxt: c_rcv, ..client() };
        let backend = End { snd_nxt: b_snd, rcv_nxt: b_rcv, ..backend() };
        let conn = join(&client, &backend, &request(bytes)).expect("joined").conn;
        prop_assert_eq!(translate(&conn.down, conn.activate_seq, conn.activate_ack), (c_snd, c_rcv));
    }
}
