//! HTTP/2 by hand (RFC 9113 section 4): frames and field blocks as bytes, right or wrong, and a connection that shows every
//! frame that comes back.
//!
//! Goes in: what a test wants to send. Comes out: [`Frame`]s. Keeps no protocol state but the one that reading needs (the
//! dynamic table of HPACK): a client that keeps to the rules cannot break them.

use crate::netns::Namespace;
use anyhow::{Context, Result, ensure};
use loona_hpack::Decoder;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Frame types (RFC 9113 section 6).
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags (RFC 9113 section 6).
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
    /// A request that is one frame.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// The client's preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the head of a frame.
const HEAD_BYTES: usize = 9;

/// How long a frame may take.
const READ_MAX: Duration = Duration::from_secs(15);

/// A frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
    /// What follows the head of the frame.
    pub payload: Vec<u8>,
    /// Of HEADERS: its fields.
    pub fields: Vec<(String, String)>,
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A SETTINGS frame.
#[must_use]
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// A field block of literals that are never indexed, without Huffman coding: any bytes can be sent (RFC 7541 section 6.2.3).
#[must_use]
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// The field block of a request without a body.
#[must_use]
pub fn request(method: &str, path: &str, authority: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)];
    block(&fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// The length that the head of a frame states.
fn payload_length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// The length of a text: an integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        out.push(value as u8);
        return;
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    decoder: Decoder<'static>,
    arrived: Vec<u8>,
}

impl Wire {
    /// Connects, and sends nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(from: &Namespace, to: SocketAddr) -> Result<Self> {
        let stream = from.connect(to)?;
        stream.set_read_timeout(Some(READ_MAX))?;
        stream.set_write_timeout(Some(READ_MAX))?;
        Ok(Self { stream, decoder: Decoder::new(), arrived: Vec::new() })
    }

    /// Connects, and exchanges prefaces and SETTINGS.
    ///
    /// # Errors
    /// When that does not work.
    pub fn open(from: &Namespace, to: SocketAddr, values: &[(u16, u32)]) -> Result<Self> {
        let mut wire = Self::connect(from, to)?;
        wire.send(&[PREFACE, &settings(values)].concat())?;
        wire.until(|frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0)?;
        wire.send(&frame(kind::SETTINGS, flag::ACK, 0, b""))?;
        wire.until(|frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0)?;
        Ok(wire)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish_sending(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// The next frame; `None` when the connection was closed, in order or with a reset.
    ///
    /// # Errors
    /// When nothing comes, or something that is no frame.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(head) = self.take(HEAD_BYTES)? else { return Ok(None) };
        let Some(payload) = self.take(payload_length(&head))? else { return Ok(None) };
        self.read(&head, payload).map(Some)
    }

    fn read(&mut self, head: &[u8], payload: Vec<u8>) -> Result<Frame> {
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let fields = if kind == kind::HEADERS { self.fields(flags, &payload)? } else { Vec::new() };
        Ok(Frame { kind, flags, stream, payload, fields })
    }

    /// Reads until a frame is as wanted, and answers it.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn until(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Result<Frame> {
        let mut passed = Vec::new();
        loop {
            let next = self.frame().with_context(|| format!("after {passed:?}"))?;
            let frame = next.with_context(|| format!("the connection was closed after {passed:?}"))?;
            if wanted(&frame) {
                return Ok(frame);
            }
            passed.push((frame.kind, frame.stream));
        }
    }

    /// Reads until the connection is closed.
    ///
    /// # Errors
    /// When it is not, in time.
    pub fn until_closed(&mut self) -> Result<()> {
        let deadline = Instant::now() + READ_MAX;
        while self.frame()?.is_some() {
            ensure!(Instant::now() < deadline, "the connection stays open");
        }
        Ok(())
    }

    /// The frames that have arrived, without waiting; the connection may have ended.
    ///
    /// # Errors
    /// When something is no frame.
    pub fn arrived(&mut self) -> Result<Vec<Frame>> {
        self.stream.set_nonblocking(true)?;
        let mut buffer = [0; 64 * 1024];
        while let Ok(more @ 1..) = self.stream.read(&mut buffer) {
            self.arrived.extend_from_slice(&buffer[..more]);
        }
        self.stream.set_nonblocking(false)?;
        let mut frames = Vec::new();
        while let Some(length) = self.whole_frame() {
            let bytes: Vec<u8> = self.arrived.drain(..length).collect();
            let (head, payload) = bytes.split_at(HEAD_BYTES);
            frames.push(self.read(head, payload.to_vec())?);
        }
        Ok(frames)
    }

    /// How long a write may take, when the other side does not read.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn set_patience(&self, time: Duration) -> Result<()> {
        self.stream.set_write_timeout(Some(time))?;
        Ok(self.stream.set_read_timeout(Some(time))?)
    }

    /// The length of the frame at the start of what has arrived, if all of it has.
    fn whole_frame(&self) -> Option<usize> {
        let length = HEAD_BYTES + payload_length(self.arrived.get(..HEAD_BYTES)?);
        (self.arrived.len() >= length).then_some(length)
    }

    /// Reads whatever comes until the connection ends, frames or not.
    ///
    /// # Errors
    /// When it does not end, in time.
    pub fn until_end(&mut self) -> Result<()> {
        while self.take(self.arrived.len() + 1)?.is_some() {}
        Ok(())
    }

    fn fields(&mut self, flags: u8, payload: &[u8]) -> Result<Vec<(String, String)>> {
        ensure!(flags & flag::END_HEADERS != 0, "the server continues a field block, which no test makes it do");
        ensure!(flags & (flag::PADDED | flag::PRIORITY) == 0, "the server pads, which it has no reason to");
        let decoded = self.decoder.decode(payload).map_err(|error| anyhow::anyhow!("field block: {error:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(decoded.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    fn take(&mut self, count: usize) -> Result<Option<Vec<u8>>> {
        while self.arrived.len() < count {
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(more) => self.arrived.extend_from_slice(&buffer[..more]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::ConnectionReset) => return Ok(None),
                Err(error) => return Err(error).context("no frame came"),
            }
        }
        Ok(Some(self.arrived.drain(..count).collect()))
    }
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY (RFC 9113 section 7).
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is the last of its stream.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_rfc() {
        assert_eq!(frame(kind::PING, flag::ACK, 0, b"12345678"), b"\0\0\x08\x06\x01\0\0\0\x0012345678");
        assert_eq!(settings(&[(4, 65_535)]), b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff");
        assert_eq!(block(&[(b"a", b"b c")]), b"\x10\x01a\x03b c");
        // RFC 7541 section C.1.2: 1337 with a prefix, here of seven bits.
        let mut out = Vec::new();
        integer(&mut out, 1337);
        assert_eq!(out, [127, 0b1011_1010, 0b0000_1001]);
        let fields = Decoder::new().decode(&request("GET", "/", "a")).expect("well formed");
        assert_eq!(fields[3], (b":authority".to_vec(), b"a".to_vec()));
    }
}
