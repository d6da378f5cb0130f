//! States of streams, their numbers and how many there are: RFC 9113 sections 5.1 and 5.4.

use super::row::{
    PROTOCOL, REFUSED_STREAM, Row, STREAM_CLOSED, Want, after_answer, data, get, get_path, more_data, post, reset, row,
    text_block, window,
};
use lb_tests::frames::{flag, frame, kind};

const WRONG: Want = Want::Connection(&[PROTOCOL]);
/// Frames that come late for a stream: the RFC leaves open whether the stream or the connection ends, and a stream that
/// is gone can be told from one that never was only as long as it is remembered.
const LATE: Want = Want::Connection(&[STREAM_CLOSED, PROTOCOL]);

pub fn rows() -> Vec<Row> {
    [idle(), half_closed(), closed(), numbers(), many()].concat()
}

fn idle() -> Vec<Row> {
    vec![
        row("idle-data", "5.1", &[data(1, b"a")], WRONG),
        row("idle-reset", "5.1, 6.4", &[reset(1, 8)], WRONG),
        row("idle-window", "5.1", &[window(1, 100)], WRONG),
        row("idle-data-above", "5.1", &[get(1), data(3, b"a")], WRONG),
        row("idle-window-above", "5.1", &[get(1), window(3, 1)], WRONG),
        row("idle-even-window", "5.1.1", &[window(2, 1)], WRONG),
        row("idle-even-data", "5.1.1", &[data(2, b"a")], WRONG),
        row("idle-even-reset", "5.1.1", &[reset(2, 8)], WRONG),
    ]
}

fn half_closed() -> Vec<Row> {
    let slow = || get_path(1, "/delay/200");
    let closed = || Want::Stream(1, &[STREAM_CLOSED]);
    vec![
        row("half-closed-data", "5.1", &[slow(), data(1, b"a")], closed()),
        row("half-closed-data-empty", "5.1", &[slow(), data(1, b"")], closed()),
        row("half-closed-headers", "5.1", &[slow(), get(1)], Want::Stream(1, &[STREAM_CLOSED, PROTOCOL])),
        row("half-closed-window", "5.1", &[slow(), window(1, 1)], Want::Status(1, 200)),
        row(
            "half-closed-priority",
            "5.1",
            &[slow(), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            Want::Status(1, 200),
        ),
        row("half-closed-reset", "5.1", &[slow(), reset(1, 8)], Want::Alive),
        row("half-closed-after-data", "5.1", &[post(1), data(1, b"a"), more_data(1, b"b")], closed()),
        row(
            "half-closed-after-trailers",
            "5.1",
            &[post(1), frame(kind::HEADERS, flag::WHOLE, 1, &text_block(&[("x-a", "b")])), more_data(1, b"b")],
            closed(),
        ),
    ]
}

fn closed() -> Vec<Row> {
    let done = |name, after: Vec<u8>, want| after_answer(name, "5.1", [&[get(1)], &[after]], want);
    vec![
        done("closed-data", data(1, b"a"), Want::Stream(1, &[STREAM_CLOSED])),
        done("closed-headers", get(1), LATE),
        done("closed-continuation", frame(kind::CONTINUATION, 4, 1, b""), WRONG),
        done("closed-window", window(1, 1), Want::Alive),
        done("closed-reset", reset(1, 8), Want::Alive),
        done("closed-priority", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), Want::Alive),
        done("closed-next", get(3), Want::Status(3, 200)),
        row("reset-then-data", "5.1", &[post(1), reset(1, 8), data(1, b"a")], Want::Stream(1, &[STREAM_CLOSED])),
        row("reset-then-headers", "5.1", &[post(1), reset(1, 8), get(1)], Want::Stream(1, &[STREAM_CLOSED, PROTOCOL])),
        row("reset-then-window", "5.1", &[post(1), reset(1, 8), window(1, 1)], Want::Alive),
        row("reset-then-reset", "5.1", &[post(1), reset(1, 8), reset(1, 8)], Want::Alive),
        row("reset-then-priority", "5.1", &[post(1), reset(1, 8), frame(kind::PRIORITY, 0, 1, &[0; 5])], Want::Alive),
        row("reset-then-next", "5.1", &[post(1), reset(1, 8), get(3)], Want::Status(3, 200)),
        row("reset-no-error", "8.1", &[post(1), reset(1, 0), get(3)], Want::Status(3, 200)),
    ]
}

fn numbers() -> Vec<Row> {
    vec![
        row("number-even", "5.1.1", &[get(2)], WRONG),
        row("number-lower", "5.1.1", &[get(5), get(3)], LATE),
        // These are trailers with pseudo-fields, which section 8.1 calls malformed; h2 0.4 drops the fields.
        row(
            "number-same",
            "5.1.1, 8.1",
            &[post(5), get(5)],
            Want::Frame("an answer or RST_STREAM", |frame| {
                frame.field(":status") == Some("200") || frame.kind == kind::RST_STREAM
            }),
        ),
        row("numbers-skipped", "5.1.1", &[get(5), get(99)], Want::Status(99, 200)),
        row("skipped-is-closed", "5.1.1", &[get(5), data(3, b"a")], Want::Stream(3, &[STREAM_CLOSED])),
    ]
}

fn many() -> Vec<Row> {
    // 100 streams may be open (`limits.streams_max`).
    let mut open: Vec<Vec<u8>> = (0..101).map(|n| post(2 * n + 1)).collect();
    open.push(reset(1, 8));
    let ended: Vec<Vec<u8>> = (0..100).map(|n| get(2 * n + 1)).collect();
    let mut one_after_another: Vec<Vec<u8>> = (0..100).map(|n| post(2 * n + 1)).collect();
    one_after_another.push(reset(1, 8));
    vec![
        row("streams-as-many-as-allowed", "5.1.2", &ended, Want::Status(199, 200)),
        row("streams-one-too-many", "5.1.2", &open, Want::Stream(201, &[REFUSED_STREAM, PROTOCOL])),
        row("streams-reset-makes-room", "5.1.2", &one_after_another[98..], Want::Alive),
    ]
}
