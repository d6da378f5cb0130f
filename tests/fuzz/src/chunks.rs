//! Chunked bodies. What is understood does not depend on how the bytes arrive, and is what a plain reading of RFC 9112
//! section 7.1 gives.

use lb_userspace::proxy::fuzz::{self, Chunked};

/// Limits of the reader, bytes (`proxy/body.rs`).
const EXTENSION_MAX: usize = 1_024;
const TRAILERS_MAX: usize = 8_192;

/// The target.
pub fn run(data: &[u8]) {
    let whole = fuzz::chunked(data, usize::MAX);
    for piece in [1, 2, 5, 64] {
        assert_eq!(fuzz::chunked(data, piece), whole, "in pieces of {piece}");
    }
    if let Ok(Chunked { content, trailers, bytes: Some(bytes) }) = whole {
        assert_eq!(plain(data), Some((content, trailers, bytes)));
    } else {
        assert_eq!(plain(data), None);
    }
}

/// Content, trailers and length of a whole, well-formed body.
fn plain(data: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line = line(data, &mut at)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (size, rest) = line.split_at(digits);
        let extension = rest.split_first();
        let is_sound = match extension {
            None => true,
            Some((mark, text)) => *mark == b';' && text.len() <= EXTENSION_MAX && !text.iter().any(is_control),
        };
        if !(1..=16).contains(&digits) || !is_sound {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        let end = at.checked_add(size)?;
        content.extend_from_slice(data.get(at..end)?);
        (data.get(end..end.checked_add(2)?)? == b"\r\n").then_some(())?;
        at = end + 2;
    }
    let start = at;
    loop {
        let before = at;
        let line = line(data, &mut at)?;
        if line.is_empty() {
            let trailers = data.get(start..before)?;
            return (trailers.len() <= TRAILERS_MAX).then(|| (content, trailers.to_vec(), at));
        }
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at(colon);
        let is_name = !name.is_empty() && name.iter().all(is_token);
        if !is_name || value.iter().any(is_control) {
            return None;
        }
    }
}

/// A line without its CRLF. A bare LF or CR is no end of it.
fn line<'a>(data: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = data.get(*at..)?;
    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n'))?;
    (rest.get(end..end + 2)? == b"\r\n").then_some(())?;
    *at += end + 2;
    rest.get(..end)
}

fn is_control(byte: &u8) -> bool {
    (*byte < b' ' && *byte != b'\t') || *byte == 0x7f
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}
