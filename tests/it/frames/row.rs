//! A row of the table of conformance, and the frames that most rows are made of.

use lb_tests::frames::{Frame, block, flag, frame, kind, request};
use lb_tests::site::HOST;

/// Error codes (RFC 9113 section 7).
pub const PROTOCOL: u32 = 1;
/// As above.
pub const FLOW_CONTROL: u32 = 3;
/// As above.
pub const STREAM_CLOSED: u32 = 5;
/// As above.
pub const FRAME_SIZE: u32 = 6;
/// As above.
pub const REFUSED_STREAM: u32 = 7;
/// As above.
pub const COMPRESSION: u32 = 9;

/// What a client sends and what must come of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Section of RFC 9113, or another source.
    pub cite: &'static str,
    /// Prefaces and SETTINGS are exchanged before.
    pub hello: bool,
    /// What the client does.
    pub steps: Vec<Step>,
    /// What must come of it.
    pub want: Want,
}

/// One thing that the client does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends.
    Send(Vec<u8>),
    /// Sends byte by byte.
    Trickle(Vec<u8>),
    /// Waits for the whole answer of a stream.
    Await(u32),
}

/// What must come of it. Where the connection lives on, it is tried afterwards.
#[derive(Debug, Clone)]
pub enum Want {
    /// Nothing.
    Alive,
    /// An answer on a stream.
    Status(u32, u16),
    /// A frame that is as wanted.
    Frame(&'static str, fn(&Frame) -> bool),
    /// A stream ends with one of these codes; the connection may end with it.
    Stream(u32, &'static [u32]),
    /// The request of a stream is malformed: PROTOCOL_ERROR for the stream or the connection, or an answer that refuses it
    /// (section 8.1.1).
    Malformed(u32),
    /// The connection ends with one of these codes.
    Connection(&'static [u32]),
    /// The connection ends, in whichever way.
    Closed,
}

/// A row after the usual beginning.
pub fn row(name: &'static str, cite: &'static str, frames: &[Vec<u8>], want: Want) -> Row {
    Row { name, cite, hello: true, steps: vec![Step::Send(frames.concat())], want }
}

/// A row in which the answer of stream 1 is waited for between the frames.
pub fn after_answer(name: &'static str, cite: &'static str, frames: [&[Vec<u8>]; 2], want: Want) -> Row {
    let [before, after] = frames.map(<[Vec<u8>]>::concat);
    let steps = vec![Step::Send(before), Step::Await(1), Step::Send(after)];
    Row { name, cite, hello: true, steps, want }
}

/// A request without content.
pub fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, &request("GET", "/", HOST))
}

/// A request whose content follows.
pub fn post(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, &request("POST", "/", HOST))
}

/// A request for another path.
pub fn get_path(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, &request("GET", path, HOST))
}

/// DATA that ends its stream.
pub fn data(stream: u32, content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flag::END_STREAM, stream, content)
}

/// DATA that does not.
pub fn more_data(stream: u32, content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, 0, stream, content)
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// A field block of texts.
pub fn text_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    block(&fields)
}
