//! Preface, frames, their sizes and field blocks in several of them: RFC 9113 sections 3.4, 4 and 6.

use super::row::{
    COMPRESSION, FRAME_SIZE, PROTOCOL, Row, Step, Want, data, get, more_data, post, reset, row, text_block, window,
};
use super::{hello, settings_frame};
use lb_tests::frames::{PREFACE, flag, frame, kind, request};
use lb_tests::site::HOST;

const SIZE: Want = Want::Connection(&[FRAME_SIZE]);
const WRONG: Want = Want::Connection(&[PROTOCOL]);
/// A frame that is too short for its own fields: both codes are read from the RFC.
const SHORT: Want = Want::Connection(&[FRAME_SIZE, PROTOCOL]);

pub fn rows() -> Vec<Row> {
    [prefaces(), formats(), sizes(), data_and_headers(), small_frames(), continuations()].concat()
}

fn prefaces() -> Vec<Row> {
    let bare = |name, cite, steps: Vec<Step>, want| Row { name, cite, hello: false, steps, want };
    let ping = frame(kind::PING, 0, 0, b"12345678");
    let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
    vec![
        bare("preface-wrong", "3.4", vec![Step::Send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec())], Want::Closed),
        bare("preface-other", "3.4", vec![Step::Send(b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec())], Want::Closed),
        bare("preface-lower", "3.4", vec![Step::Send(b"pri * http/2.0\r\n\r\nsm\r\n\r\n".to_vec())], Want::Closed),
        bare("preface-without-settings", "3.4", vec![Step::Send([PREFACE, &ping].concat())], WRONG),
        bare("preface-headers-first", "3.4", vec![Step::Send([PREFACE, &get(1)].concat())], WRONG),
        bare("preface-ack-first", "3.4", vec![Step::Send([PREFACE, &ack].concat())], WRONG),
        bare("preface-trickles", "3.4", vec![Step::Trickle([hello(), get(1)].concat())], Want::Status(1, 200)),
        bare("preface-with-request", "3.4", vec![Step::Send([hello(), get(1)].concat())], Want::Status(1, 200)),
        bare(
            "settings-are-answered",
            "6.5.3",
            vec![Step::Send(hello())],
            Want::Frame("ACK of SETTINGS", |frame| {
                frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0 && frame.payload.is_empty()
            }),
        ),
        bare(
            "server-preface",
            "3.4",
            vec![Step::Send(PREFACE.to_vec())],
            Want::Frame("SETTINGS", |frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0),
        )
        .then(hello()[PREFACE.len()..].to_vec()),
    ]
}

impl Row {
    /// One more step; the wish is looked for among all answers.
    fn then(mut self, bytes: Vec<u8>) -> Self {
        self.steps.push(Step::Send(bytes));
        self
    }
}

fn formats() -> Vec<Row> {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    vec![
        row("unknown-type", "4.1", &[frame(0x16, 0, 0, b"12345678"), get(1)], Want::Status(1, 200)),
        row("unknown-type-on-stream", "4.1", &[post(1), frame(0x16, 0, 1, b"1"), data(1, b"a")], Want::Status(1, 200)),
        row("unknown-type-all-flags", "4.1", &[frame(0xff, 0xff, 0, &[0; 100])], Want::Alive),
        row("unknown-flags-on-ping", "4.1", &[frame(kind::PING, 0x16, 0, b"12345678")], Want::Alive),
        row("unknown-flags-on-data", "4.1", &[post(1), frame(kind::DATA, 0xf1 & !8, 1, b"a")], Want::Status(1, 200)),
        row("reserved-bit", "4.1", &[reserved], Want::Status(1, 200)),
        row("reserved-bit-of-increment", "6.9", &[window(0, 0x8000_0001), get(1)], Want::Status(1, 200)),
    ]
}

fn sizes() -> Vec<Row> {
    let huge = [&[0xff, 0xff, 0xff, kind::DATA, 0][..], &[0, 0, 0, 1]].concat();
    let large = |kind, flags| frame(kind, flags, 1, &[0; 16_385]);
    vec![
        row("data-of-default-size", "4.2", &[post(1), data(1, &[b'a'; 16_384])], Want::Status(1, 200)),
        row("data-too-large", "4.2", &[post(1), large(kind::DATA, 1)], Want::Stream(1, &[FRAME_SIZE])),
        row("headers-too-large", "4.2", &[large(kind::HEADERS, flag::WHOLE)], SIZE),
        row("settings-too-large", "4.2", &[frame(kind::SETTINGS, 0, 0, &[0; 16_386])], SIZE),
        row("unknown-too-large", "4.2", &[frame(0x16, 0, 0, &[0; 16_385])], SIZE),
        row("length-of-16-mb", "4.2", &[post(1), huge], SIZE),
        row("ping-short", "6.7", &[frame(kind::PING, 0, 0, &[0; 7])], SIZE),
        row("ping-long", "6.7", &[frame(kind::PING, 0, 0, &[0; 9])], SIZE),
        row("ping-empty", "6.7", &[frame(kind::PING, 0, 0, b"")], SIZE),
        row("reset-short", "6.4", &[post(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])], SIZE),
        row("reset-long", "6.4", &[post(1), frame(kind::RST_STREAM, 0, 1, &[0; 5])], SIZE),
        row("priority-short", "6.3", &[frame(kind::PRIORITY, 0, 1, &[0; 4])], Want::Stream(1, &[FRAME_SIZE])),
        row("priority-long", "6.3", &[frame(kind::PRIORITY, 0, 1, &[0; 6])], Want::Stream(1, &[FRAME_SIZE])),
        row("window-short", "6.9", &[frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])], SIZE),
        row("window-long", "6.9", &[frame(kind::WINDOW_UPDATE, 0, 0, &[0; 5])], SIZE),
        row("settings-cut", "6.5", &[frame(kind::SETTINGS, 0, 0, &[0; 5])], SIZE),
        row("settings-cut-after-one", "6.5", &[frame(kind::SETTINGS, 0, 0, &[0; 7])], SIZE),
        row("settings-ack-with-payload", "6.5", &[frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])], SIZE),
        row("goaway-short", "6.8", &[frame(kind::GOAWAY, 0, 0, &[0; 7])], SIZE),
        row("headers-priority-cut", "6.2", &[frame(kind::HEADERS, flag::WHOLE | flag::PRIORITY, 1, &[0; 4])], SHORT),
        row("headers-padded-empty", "6.2", &[frame(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, b"")], SHORT),
        row("data-padded-empty", "6.1", &[post(1), frame(kind::DATA, flag::PADDED | 1, 1, b"")], SHORT),
    ]
}

fn data_and_headers() -> Vec<Row> {
    let block = request("GET", "/", HOST);
    let padded = [&[4][..], &block, &[0; 4]].concat();
    let priority = [&[0, 0, 0, 0, 15][..], &block].concat();
    let both = [&[2, 0x80, 0, 0, 0, 255][..], &block, &[0; 2]].concat();
    let headers = |flags: u8, payload: &[u8]| frame(kind::HEADERS, flag::WHOLE | flags, 1, payload);
    vec![
        row("data-on-stream-0", "6.1", &[data(0, b"a")], WRONG),
        row(
            "data-padded",
            "6.1",
            &[post(1), frame(kind::DATA, flag::PADDED | 1, 1, b"\x02a\0\0")],
            Want::Status(1, 200),
        ),
        row("data-only-padding", "6.1", &[post(1), frame(kind::DATA, 9, 1, b"\x02\0\0")], Want::Status(1, 200)),
        row("data-padding-is-all", "6.1", &[post(1), frame(kind::DATA, 9, 1, b"\x04a\0\0")], WRONG),
        row("data-padding-beyond", "6.1", &[post(1), frame(kind::DATA, 9, 1, b"\xffa\0\0")], WRONG),
        row("data-empty-ends", "6.1", &[post(1), data(1, b"")], Want::Status(1, 200)),
        row("data-empty-between", "6.1", &[post(1), more_data(1, b""), data(1, b"a")], Want::Status(1, 200)),
        row("headers-on-stream-0", "6.2", &[frame(kind::HEADERS, flag::WHOLE, 0, &block)], WRONG),
        row("headers-padded", "6.2", &[headers(flag::PADDED, &padded)], Want::Status(1, 200)),
        row("headers-with-priority", "6.2", &[headers(flag::PRIORITY, &priority)], Want::Status(1, 200)),
        row(
            "headers-padded-with-priority",
            "6.2",
            &[headers(flag::PADDED | flag::PRIORITY, &both)],
            Want::Status(1, 200),
        ),
        row("headers-padding-beyond", "6.2", &[headers(flag::PADDED, &[&[255][..], &block].concat())], WRONG),
        row("headers-empty", "8.1.1", &[headers(0, b"")], Want::Malformed(1)),
        row("headers-without-end", "6.10", &[frame(kind::HEADERS, 1, 1, &block), get(3)], WRONG),
        row("block-broken", "4.3", &[headers(0, b"\x40\x01a\x05b")], Want::Connection(&[COMPRESSION])),
    ]
}

fn small_frames() -> Vec<Row> {
    let push = [&[0, 0, 0, 2][..], &request("GET", "/", HOST)].concat();
    let goaway = |code: u32| frame(kind::GOAWAY, 0, 0, &[&[0; 4][..], &code.to_be_bytes()].concat());
    vec![
        row("priority-on-stream-0", "6.3", &[frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 1, 15])], WRONG),
        row("priority-on-idle", "5.1", &[frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 1, 15])], Want::Alive),
        row("reset-on-stream-0", "6.4", &[reset(0, 8)], WRONG),
        row("reset-unknown-code", "7", &[post(1), reset(1, 0xffff_fff0)], Want::Alive),
        row("settings-on-stream", "6.5", &[frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 1])], WRONG),
        row("settings-ack-unasked", "6.5.3", &[frame(kind::SETTINGS, flag::ACK, 0, b"")], WRONG),
        row("push-promise", "6.6, 8.4", &[post(1), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &push)], WRONG),
        row("push-promise-on-stream-0", "6.6", &[frame(kind::PUSH_PROMISE, flag::END_HEADERS, 0, &push)], WRONG),
        row(
            "ping",
            "6.7",
            &[frame(kind::PING, 0, 0, b"abcdefgh")],
            Want::Frame("PING with ACK", |frame| {
                frame.kind == kind::PING && frame.flags == flag::ACK && frame.payload == b"abcdefgh"
            }),
        ),
        row("ping-ack-unasked", "6.7", &[frame(kind::PING, flag::ACK, 0, b"abcdefgh")], Want::Alive),
        row("ping-on-stream", "6.7", &[frame(kind::PING, 0, 1, b"abcdefgh")], WRONG),
        row("goaway-on-stream", "6.8", &[frame(kind::GOAWAY, 0, 1, &[0; 8])], WRONG),
        row("goaway-lets-streams-end", "6.8", &[get(1), goaway(0)], Want::Closed),
        row("goaway-unknown-code", "7", &[goaway(0xff)], Want::Closed),
        row("settings-then-settings", "6.5", &[settings_frame(&[(3, 1)]), settings_frame(&[(3, 2)])], Want::Alive),
    ]
}

fn continuations() -> Vec<Row> {
    let block = request("GET", "/", HOST);
    let (first, rest) = block.split_at(7);
    let begin = |part: &[u8]| frame(kind::HEADERS, flag::END_STREAM, 1, part);
    let go_on = |flags, stream, part: &[u8]| frame(kind::CONTINUATION, flags, stream, part);
    let trailer = text_block(&[("x-a", "b")]);
    let between = |name, what: Vec<u8>| row(name, "4.3, 6.10", &[begin(first), what, go_on(4, 1, rest)], WRONG);
    vec![
        row("continued", "6.10", &[begin(first), go_on(4, 1, rest)], Want::Status(1, 200)),
        row(
            "continued-twice",
            "6.10",
            &[begin(first), go_on(0, 1, &rest[..3]), go_on(4, 1, &rest[3..])],
            Want::Status(1, 200),
        ),
        row("continued-empty", "6.10", &[begin(&block), go_on(4, 1, b"")], Want::Status(1, 200)),
        row("continued-from-nothing", "6.10", &[begin(b""), go_on(4, 1, &block)], Want::Status(1, 200)),
        row(
            "continued-trailers",
            "6.10, 8.1",
            &[post(1), frame(kind::HEADERS, flag::END_STREAM, 1, &trailer[..2]), go_on(4, 1, &trailer[2..])],
            Want::Status(1, 200),
        ),
        row("continued-other-stream", "6.10", &[begin(first), go_on(4, 3, rest)], WRONG),
        row("continued-on-stream-0", "6.10", &[begin(first), go_on(4, 0, rest)], WRONG),
        row("continuation-alone", "6.10", &[go_on(4, 1, &block)], WRONG),
        row("continuation-after-end", "6.10", &[post(1), go_on(4, 1, b"")], WRONG),
        row("continuation-after-continuation", "6.10", &[begin(first), go_on(4, 1, rest), go_on(4, 1, b"")], WRONG),
        row("continuation-after-data", "6.10", &[post(1), more_data(1, b"a"), go_on(4, 1, b"")], WRONG),
        between("between-data", more_data(1, b"a")),
        between("between-headers", get(3)),
        between("between-priority", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 15])),
        between("between-ping", frame(kind::PING, 0, 0, b"12345678")),
        between("between-settings", settings_frame(&[])),
        between("between-window", window(0, 1)),
        between("between-reset", reset(1, 8)),
        between("between-goaway", frame(kind::GOAWAY, 0, 0, &[0; 8])),
        between("between-unknown", frame(0x16, 0, 0, b"1")),
    ]
}
