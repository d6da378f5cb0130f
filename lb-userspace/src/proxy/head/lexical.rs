//! Characters and lines of a message head (RFC 9112 section 2.2, RFC 9110 section 5.6.2), before anything is understood.
//!
//! Goes in: bytes. Comes out: where a head ends, or that no strict reader would accept it.

/// A line that ends in LF without CR. RFC 9112 section 2.2 lets a reader accept it; readers that differ in this are
/// how requests are smuggled, so we do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareLf;

/// Where the head ends: the offset after its empty line. `None` when more bytes are needed. `scanned` holds how far
/// earlier calls came, so that a head that arrives in many pieces is still read once.
///
/// # Errors
/// [`BareLf`], at the first one, without waiting for the rest.
pub fn head_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, BareLf> {
    let from = (*scanned).min(bytes.len());
    for at in memchr::memchr_iter(b'\n', bytes.get(from..).unwrap_or_default()) {
        let line = bytes.get(..from + at).unwrap_or_default();
        if !line.ends_with(b"\r") {
            return Err(BareLf);
        }
        if line.ends_with(b"\r\n\r") {
            return Ok(Some(from + at + 1));
        }
    }
    *scanned = bytes.len();
    Ok(None)
}

/// How many bytes of empty lines there are before a request (RFC 9112 section 2.2 asks servers to skip some).
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// `tchar` of RFC 9110 section 5.6.2: what names of methods and fields are made of.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte that no field value may have: controls other than HTAB (RFC 9110 section 5.5).
pub fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// A byte that a request target may have here: visible ASCII, no fragment. Wider than RFC 3986, because browsers
/// leave characters such as `|` and `"` unescaped in queries.
pub fn is_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Whether a text is `uri-host [ ":" port ]` (RFC 3986 section 3.2.2), or empty. No user information, no comma.
pub fn is_authority(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        let Some(end) = text.find(']') else { return false };
        let (literal, rest) = text.split_at(end + 1);
        let inner = literal.get(1..end).unwrap_or_default();
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match rest.strip_prefix(':') {
            Some(port) => ("", Some(port)),
            None if rest.is_empty() => ("", None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some(("", _)) => return false,
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host_is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&b));
    host_is_name && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_after_its_empty_line_wherever_it_is_split() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for split in 0..=head.len() {
            let mut scanned = 0;
            let first = head_end(&head[..split], &mut scanned);
            let second = if first == Ok(None) { head_end(head, &mut scanned) } else { first };
            assert_eq!(second, Ok(Some(27)), "split at {split}");
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\r\n", &mut 0), Err(BareLf));
        assert_eq!(head_end(b"\n", &mut 0), Err(BareLf));
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
    }

    #[test]
    fn authorities() {
        let good = ["", "a", "a.b:80", "a:", "10.0.0.1:8080", "[::1]", "[::1]:443", "my_host", "%41", "A-b.c."];
        let bad = ["a:b", "a:99999", ":80", "u@a", "a/b", "a b", "a,b", "[::1", "[x]", "[::1]x", "a:80:80", "a?b", "ü"];
        for text in good {
            assert!(is_authority(text), "{text}");
        }
        for text in bad {
            assert!(!is_authority(text), "{text}");
        }
    }
}
