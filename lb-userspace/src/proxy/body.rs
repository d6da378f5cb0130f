//! Message bodies (RFC 9112 sections 6 and 7): where a body ends, what of the bytes is content, and how chunks are written.
//!
//! Goes in: bytes as they arrive, split anywhere. Comes out: how many to skip, how many are content, or the end.
//! Pure: no I/O, no copies but of trailer fields, which are kept as they came until the end is known.

use super::head::lexical::{is_control, is_token};
use super::trailers;
use http::HeaderMap;

/// Longest chunk extension, bytes, of one chunk. Nothing uses them; without a bound they are free traffic.
pub const EXTENSION_BYTES_MAX: usize = 1_024;
/// All trailer fields of a body, bytes: as much as a small head.
pub const TRAILER_BYTES_MAX: usize = 8 * 1_024;
/// Hexadecimal digits of a chunk size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    None,
    /// `Content-Length`.
    Sized(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection, or with the stream of HTTP/2.
    UntilClose,
}

/// What is next in the bytes, after those to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// So many bytes are content.
    Data(usize),
    /// Bytes are missing.
    More,
    /// The body is over.
    End,
}

/// A body that is not well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not 1 to 16 hexadecimal digits, then `;` or CRLF.
    #[error("a chunk size is not 1 to 16 hexadecimal digits")]
    Size,
    /// Longer than [`EXTENSION_BYTES_MAX`], or with a control character.
    #[error("a chunk extension is malformed or longer than 1024 bytes")]
    Extension,
    /// No CRLF where one must be, or a bare CR or LF.
    #[error("a chunk is not delimited by CRLF")]
    Delimiter,
    /// More content than the route allows.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// No field, or more than [`TRAILER_BYTES_MAX`].
    #[error("the trailer section is malformed or longer than 8192 bytes")]
    Trailer,
}

/// Finds the content in the bytes of a body.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes are missing.
    Sized(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything is content.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Size of the chunk, then what is missing of it.
    size: u64,
    /// Extension bytes of the chunk.
    overhead: usize,
    /// The trailer section, without the empty line that ends it.
    trailers: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    SizeStart,
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

impl Decoder {
    /// A decoder at the start of a body.
    pub fn new(length: Length) -> Self {
        match length {
            Length::None => Self::Sized(0),
            Length::Sized(size) => Self::Sized(size),
            Length::Chunked => Self::Chunked(Chunks::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    /// Looks at the bytes that are there: how many to skip, and what comes after them. After [`Next::Data`] say with
    /// [`Self::took`] how many of them were used.
    ///
    /// # Errors
    /// [`BadBody`]; nothing more can be read from the connection then.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Next), BadBody> {
        match self {
            Self::Sized(0) => Ok((0, Next::End)),
            Self::Sized(left) => Ok((0, data(*left, input))),
            Self::Chunked(chunks) => chunks.step(input),
            Self::UntilClose => Ok((0, data(u64::MAX, input))),
        }
    }

    /// So many bytes of the content were used.
    pub fn took(&mut self, count: usize) {
        match self {
            Self::Sized(left) => *left = left.saturating_sub(count as u64),
            Self::Chunked(chunks) => chunks.took(count),
            Self::UntilClose => {}
        }
    }

    /// The trailer section, field lines without the empty one, once the end was reached.
    pub fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(chunks) => &chunks.trailers,
            Self::Sized(_) | Self::UntilClose => &[],
        }
    }

    /// Whether the end of the stream is the end of the body, rather than a truncation.
    pub fn ends_with_stream(&self) -> bool {
        matches!(self, Self::UntilClose)
    }
}

impl Chunks {
    fn step(&mut self, input: &[u8]) -> Result<(usize, Next), BadBody> {
        for (at, byte) in input.iter().enumerate() {
            match self.state {
                State::Data => return Ok((at, data(self.size, input.get(at..).unwrap_or_default()))),
                State::End => return Ok((at, Next::End)),
                _ => self.follow(*byte)?,
            }
        }
        Ok((input.len(), if matches!(self.state, State::End) { Next::End } else { Next::More }))
    }

    fn follow(&mut self, byte: u8) -> Result<(), BadBody> {
        let before = std::mem::replace(&mut self.state, State::End);
        self.state = self.advance(before, byte)?;
        let of_trailer =
            matches!(before, State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf);
        if of_trailer && !matches!(self.state, State::EndLf) {
            if self.trailers.len() == TRAILER_BYTES_MAX {
                return Err(BadBody::Trailer);
            }
            self.trailers.push(byte);
        }
        Ok(())
    }

    fn took(&mut self, count: usize) {
        self.size = self.size.saturating_sub(count as u64);
        if self.size == 0 {
            self.state = State::DataCr;
        }
    }

    fn advance(&mut self, state: State, byte: u8) -> Result<State, BadBody> {
        match state {
            State::SizeStart => {
                (self.size, self.overhead) = (0, 0);
                self.digit(byte, 0)
            }
            State::Size(digits) => match byte {
                b'\r' => Ok(State::SizeLf),
                b';' => Ok(State::Extension),
                _ => self.digit(byte, digits),
            },
            State::Extension => self.extension(byte),
            State::SizeLf if self.size == 0 => exactly(byte, b'\n', State::TrailerStart),
            State::SizeLf => exactly(byte, b'\n', State::Data),
            State::DataCr => exactly(byte, b'\r', State::DataLf),
            State::DataLf => exactly(byte, b'\n', State::SizeStart),
            State::TrailerStart => match byte {
                b'\r' => Ok(State::EndLf),
                _ if is_token(byte) => Ok(State::TrailerName),
                _ => Err(BadBody::Trailer),
            },
            State::TrailerName if byte == b':' => Ok(State::TrailerValue),
            State::TrailerName if is_token(byte) => Ok(State::TrailerName),
            State::TrailerName => Err(BadBody::Trailer),
            State::TrailerValue if byte == b'\r' => Ok(State::TrailerLf),
            State::TrailerValue if !is_control(byte) => Ok(State::TrailerValue),
            State::TrailerValue => Err(BadBody::Trailer),
            State::TrailerLf => exactly(byte, b'\n', State::TrailerStart),
            State::EndLf => exactly(byte, b'\n', State::End),
            State::Data | State::End => Ok(state),
        }
    }

    fn digit(&mut self, byte: u8, digits: u8) -> Result<State, BadBody> {
        let value = char::from(byte).to_digit(16).ok_or(BadBody::Size)?;
        if digits >= SIZE_DIGITS_MAX {
            return Err(BadBody::Size);
        }
        self.size = self.size << 4 | u64::from(value);
        Ok(State::Size(digits + 1))
    }

    fn extension(&mut self, byte: u8) -> Result<State, BadBody> {
        if byte == b'\r' {
            return Ok(State::SizeLf);
        }
        self.overhead += 1;
        if self.overhead > EXTENSION_BYTES_MAX || is_control(byte) {
            return Err(BadBody::Extension);
        }
        Ok(State::Extension)
    }
}

/// Writes a chunk. `data` must not be empty: an empty chunk ends the body.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty(), "an empty chunk ends the body");
    let mut digits = [0_u8; 16];
    let mut rest = data.len();
    let mut start = digits.len();
    while rest > 0 && start > 0 {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers::write(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

fn data(left: u64, input: &[u8]) -> Next {
    match usize::try_from(left).unwrap_or(usize::MAX).min(input.len()) {
        0 => Next::More,
        count => Next::Data(count),
    }
}

fn exactly(byte: u8, want: u8, next: State) -> Result<State, BadBody> {
    if byte == want { Ok(next) } else { Err(BadBody::Delimiter) }
}

#[cfg(test)]
mod tests;
