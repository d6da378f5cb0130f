//! Message heads: strict reading of requests and responses, and the names of fields that a proxy must know.
//!
//! Goes in: the bytes of a whole head. Comes out: borrowed views, or [`Bad`], which says what to answer. Lines and
//! characters are checked by [`lexical`] and here; `httparse` then cuts fields. Pure: no I/O, no state.

pub mod lexical;
pub mod name;
pub mod request;
pub mod response;
pub mod upgrade;

use super::body::Length;
use httparse::Header;
use lb_core::route::path::BadPath;
use name::Name;

/// Most fields that a head can have here, whatever the configuration: the array for them lies on the stack (4 KB).
pub const FIELDS_MAX: usize = 128;

/// Room for the fields of one head.
pub type Fields<'b> = [Header<'b>; FIELDS_MAX];

/// Fields that `Connection` may name; nobody names more than two or three.
pub const NOMINATED_MAX: usize = 16;

/// Room for no field yet.
pub fn no_fields<'b>() -> Fields<'b> {
    [httparse::EMPTY_HEADER; FIELDS_MAX]
}

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// A head that is refused. The text is sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// RFC 9112 section 2.2.
    #[error("a line of the head ends in LF without CR")]
    BareLf,
    /// RFC 9112 section 3.
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    /// RFC 9110 section 9.1.
    #[error("the method is not a token")]
    Method,
    /// RFC 9112 section 3.2.
    #[error("the request target is neither a path nor an http URI, or has a character that must be escaped")]
    Target,
    /// `*` names the server, not a resource behind it.
    #[error("the request target * names no resource that could be routed")]
    Asterisk,
    /// No normal form.
    #[error("{0}")]
    Path(#[from] BadPath),
    /// RFC 9112 section 4.
    #[error("the status line is malformed")]
    StatusLine,
    /// RFC 9110 section 15.2.2: no request asked for it, or for another protocol.
    #[error("it switches to a protocol that was not asked for")]
    Switch,
    /// A version other than 1.0 and 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// RFC 9112 section 5: a name that is no token, a space before the colon, a folded line, a control character.
    #[error("a header field is malformed")]
    Field,
    /// More than the limit.
    #[error("there are too many header fields")]
    Fields,
    /// More bytes than the limit.
    #[error("the head is too large")]
    Large,
    /// More bytes than the limit.
    #[error("the request target is too long")]
    LongTarget,
    /// It took longer than the limit.
    #[error("the request did not arrive in time")]
    Slow,
    /// RFC 9112 section 3.2.
    #[error("there is no Host header field")]
    HostMissing,
    /// RFC 9112 section 3.2.
    #[error("there is more than one Host header field")]
    HostTwice,
    /// Not `uri-host [ ":" port ]`.
    #[error("the Host header field is not a host with an optional port")]
    Host,
    /// An absolute target names another host.
    #[error("the authority of the request target is not that of the Host header field")]
    HostDiffers,
    /// RFC 9112 section 6.3.
    #[error("Content-Length is not one decimal number")]
    ContentLength,
    /// RFC 9112 section 6.3, and HTTP/1.0 with either form of chunking.
    #[error("Transfer-Encoding is beside Content-Length, not exactly chunked, or in an HTTP/1.0 message")]
    TransferEncoding,
    /// RFC 9112 section 6.1.
    #[error("no transfer coding but chunked is understood")]
    TransferCoding,
    /// More than [`NOMINATED_MAX`].
    #[error("Connection is malformed or names too many fields")]
    Connection,
    /// RFC 9110 section 10.1.1.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// RFC 9110 section 9.3.6.
    #[error("this is no proxy for CONNECT")]
    Connect,
}

impl Bad {
    /// The status that answers it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Slow => 408,
            Self::LongTarget => 414,
            Self::Expectation => 417,
            Self::Fields | Self::Large => 431,
            Self::TransferCoding | Self::Connect => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// What the fields of a head say of its connection, its body and its host, found in one pass.
#[derive(Debug, Default)]
struct Framing<'b> {
    host: Option<&'b [u8]>,
    hosts: usize,
    expects_continue: bool,
    expects_other: bool,
    te_trailers: bool,
    request_id: Option<&'b [u8]>,
    upgrade: Option<&'b [u8]>,
    upgrades: usize,
    content_length: Option<&'b [u8]>,
    content_lengths: usize,
    transfer_encoding: Option<&'b [u8]>,
    transfer_encodings: usize,
    close: bool,
    keep_alive: bool,
    nominated: Nominated<'b>,
}

/// The fields that `Connection` names: they end here (RFC 9110 section 7.6.1).
#[derive(Debug, Default)]
pub struct Nominated<'b> {
    names: [&'b str; NOMINATED_MAX],
    count: usize,
}

impl Nominated<'_> {
    /// Whether a field is among them.
    pub fn contains(&self, field: &str) -> bool {
        self.names.iter().take(self.count).any(|name| name.eq_ignore_ascii_case(field))
    }
}

impl<'b> Framing<'b> {
    fn read(fields: &[Header<'b>]) -> Result<Self, Bad> {
        let mut framing = Self::default();
        for field in fields {
            match name::classify(field.name) {
                Name::ContentLength => {
                    framing.content_length = Some(field.value);
                    framing.content_lengths += 1;
                }
                Name::TransferEncoding => {
                    framing.transfer_encoding = Some(field.value);
                    framing.transfer_encodings += 1;
                }
                Name::Connection => framing.options(field.value)?,
                Name::Host => {
                    framing.host = Some(field.value);
                    framing.hosts += 1;
                }
                Name::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => framing.expects_continue = true,
                Name::Expect => framing.expects_other = true,
                Name::Upgrade => {
                    framing.upgrade = Some(field.value);
                    framing.upgrades += 1;
                }
                Name::Te => framing.te_trailers |= field.value.eq_ignore_ascii_case(b"trailers"),
                Name::RequestId if framing.request_id.is_none() => framing.request_id = Some(field.value),
                _ => {}
            }
        }
        Ok(framing)
    }

    fn options(&mut self, value: &'b [u8]) -> Result<(), Bad> {
        let value = std::str::from_utf8(value).map_err(|_| Bad::Connection)?;
        for option in value.split(',').map(|o| o.trim_matches([' ', '\t'])).filter(|o| !o.is_empty()) {
            if option.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            } else {
                *self.nominated.names.get_mut(self.nominated.count).ok_or(Bad::Connection)? = option;
                self.nominated.count += 1;
            }
        }
        Ok(())
    }

    /// Whether the sender lets the connection live on (RFC 9112 section 9.3).
    fn persistent(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// The value of `Upgrade`, where it counts: once, named by `Connection`, in HTTP/1.1 (RFC 9110 section 7.8).
    fn upgrade(&self, version: Version) -> Option<&'b [u8]> {
        let counts = self.upgrades == 1 && version == Version::Http11 && self.nominated.contains("upgrade");
        self.upgrade.filter(|_| counts)
    }

    /// The length that the fields state, stricter than RFC 9112 section 6.3: nothing is repaired or merged.
    fn length(&self, version: Version) -> Result<Option<Length>, Bad> {
        if self.transfer_encodings > 0 {
            if version != Version::Http11 || self.content_lengths > 0 || self.transfer_encodings > 1 {
                return Err(Bad::TransferEncoding);
            }
            return coding(self.transfer_encoding.unwrap_or_default()).map(Some);
        }
        match (self.content_lengths, self.content_length) {
            (0, _) => Ok(None),
            (1, Some(value)) => number(value).map(|n| Some(Length::Sized(n))),
            _ => Err(Bad::ContentLength),
        }
    }
}

fn coding(value: &[u8]) -> Result<Length, Bad> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Length::Chunked);
    }
    let text = std::str::from_utf8(value).map_err(|_| Bad::TransferEncoding)?;
    let known = |coding: &str| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress"].iter().any(|c| c.eq_ignore_ascii_case(coding))
    };
    let first = text.split(',').next().unwrap_or_default().trim();
    Err(if known(first) { Bad::TransferCoding } else { Bad::TransferEncoding })
}

fn number(digits: &[u8]) -> Result<u64, Bad> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Bad::ContentLength);
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Bad::ContentLength)
}

/// Cuts the fields after the first line; `fields_max` beyond [`FIELDS_MAX`] counts as that.
fn cut<'b, 'f>(lines: &'b [u8], fields: &'f mut Fields<'b>, fields_max: usize) -> Result<&'f [Header<'b>], Bad> {
    let room = fields.get_mut(..fields_max.min(FIELDS_MAX)).unwrap_or_default();
    match httparse::parse_headers(lines, room) {
        Ok(httparse::Status::Complete((used, cut))) if used == lines.len() => Ok(cut),
        Ok(_) => Err(Bad::Field),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::Fields),
        Err(_) => Err(Bad::Field),
    }
}

/// The first line without CRLF, and what follows it.
fn first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', head)?;
    let (line, rest) = head.split_at_checked(end + 1)?;
    Some((line.strip_suffix(b"\r\n")?, rest))
}

#[cfg(test)]
mod tests;
