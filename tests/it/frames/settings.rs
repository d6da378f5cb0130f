//! SETTINGS and windows: RFC 9113 sections 5.2, 6.5 and 6.9.

use super::row::{FLOW_CONTROL, PROTOCOL, Row, Step, Want, get, get_path, post, row, window};
use super::settings_frame;
use lb_tests::frames::kind;

const WRONG: Want = Want::Connection(&[PROTOCOL]);
const MAX: u32 = 0x7fff_ffff;

pub fn rows() -> Vec<Row> {
    [values(), windows(), flow()].concat()
}

fn values() -> Vec<Row> {
    let set = |name, id, value, want| row(name, "6.5.2", &[settings_frame(&[(id, value)]), get(1)], want);
    let fine = || Want::Status(1, 200);
    vec![
        set("table-0", 1, 0, fine()),
        set("table-huge", 1, u32::MAX, fine()),
        set("push-0", 2, 0, fine()),
        set("push-1", 2, 1, fine()),
        set("push-2", 2, 2, WRONG),
        set("streams-0", 3, 0, fine()),
        set("streams-huge", 3, u32::MAX, fine()),
        set("window-too-large", 4, MAX + 1, Want::Connection(&[FLOW_CONTROL])),
        set("window-largest", 4, MAX, fine()),
        set("frame-too-small", 5, 16_383, WRONG),
        set("frame-too-large", 5, 16_777_216, WRONG),
        set("frame-largest", 5, 16_777_215, fine()),
        set("list-huge", 6, u32::MAX, fine()),
        set("unknown", 0xff, 1, fine()),
        set("number-0", 0, 1, fine()),
        set("connect-2", 8, 2, Want::Connection(&[PROTOCOL])),
        row("last-value-counts", "6.5.3", &[settings_frame(&[(4, 0), (4, 65_535)]), get(1)], Want::Status(1, 200)),
        row("empty", "6.5", &[settings_frame(&[]), get(1)], Want::Status(1, 200)),
    ]
}

fn windows() -> Vec<Row> {
    let flow = &[FLOW_CONTROL];
    vec![
        row("increment-0", "6.9", &[window(0, 0)], WRONG),
        row("increment-0-on-stream", "6.9", &[post(1), window(1, 0)], Want::Stream(1, &[PROTOCOL])),
        row("window-beyond", "6.9.1", &[window(0, MAX)], Want::Connection(flow)),
        row("window-beyond-in-two", "6.9.1", &[window(0, MAX - 65_535), window(0, 1)], Want::Connection(flow)),
        row("window-to-the-limit", "6.9.1", &[window(0, MAX - 65_535), get(1)], Want::Status(1, 200)),
        row("window-of-stream-beyond", "6.9.1", &[post(1), window(1, MAX)], Want::Stream(1, flow)),
        row(
            "window-by-settings-beyond",
            "6.9.2",
            &[post(1), window(1, MAX - 65_535), settings_frame(&[(4, 65_536)])],
            Want::Connection(flow),
        ),
    ]
}

fn flow() -> Vec<Row> {
    vec![
        row(
            "one-byte-at-a-time",
            "6.9.2",
            &[settings_frame(&[(4, 1)]), get(1)],
            Want::Frame("DATA of one byte", |frame| frame.kind == kind::DATA && frame.payload.len() == 1),
        ),
        row(
            "window-opens-later",
            "6.9.2",
            &[settings_frame(&[(4, 0)]), get(1), settings_frame(&[(4, 3)])],
            Want::Frame("DATA of three bytes", |frame| frame.kind == kind::DATA && frame.payload.len() == 3),
        ),
        row(
            "window-negative",
            "6.9.2",
            &[settings_frame(&[(4, 3)]), get(1), settings_frame(&[(4, 0)]), settings_frame(&[(4, 2)]), window(1, 2)],
            Want::Alive,
        ),
        row(
            "window-of-connection",
            "6.9.1",
            &[settings_frame(&[(4, MAX)]), get_path(1, "/bytes/65535")],
            Want::Frame("the end of the stream", |frame| frame.stream == 1 && frame.ends_stream()),
        )
        .with(Step::Send(window(0, 65_535))),
        row(
            "frames-as-large-as-allowed",
            "4.2",
            &[window(0, 65_535), get_path(1, "/bytes/60000")],
            Want::Frame("DATA of 16,384 bytes at most", |frame| {
                frame.kind == kind::DATA && frame.payload.len() <= 16_384
            }),
        )
        .with(Step::Send(window(0, 65_535))),
    ]
}

impl Row {
    /// One more step.
    fn with(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}
