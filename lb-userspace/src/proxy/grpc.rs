//! What a proxy must know of gRPC (the text "gRPC over HTTP2"): which requests are calls, how long a call may take, and the
//! form of an answer that no endpoint gave.

use super::fields::FieldSink;
use httparse::Header;
use std::fmt::Write as _;

/// Digits of a timeout.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// Whether a `Content-Type` is that of a call.
pub fn is_call(content_type: &[u8]) -> bool {
    content_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// The deadline of a call, milliseconds from its head on: `grpc-timeout`, rounded up. `None` when there is none that can be
/// understood.
pub fn timeout_ms(fields: &[Header<'_>]) -> Option<u64> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case("grpc-timeout"))?;
    let text = std::str::from_utf8(field.value).ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(number * 3_600_000),
        "M" => Some(number * 60_000),
        "S" => Some(number * 1_000),
        "m" => Some(number),
        "u" => Some(number.div_ceil(1_000)),
        "n" => Some(number.div_ceil(1_000_000)),
        _ => None,
    }
}

/// Writes status and message of a call that we answer ourselves with this HTTP status.
pub fn write_status(out: &mut impl FieldSink, status: u16, message: &str) {
    out.field("Content-Type", b"application/grpc");
    out.field("grpc-status", itoa::Buffer::new().format(code(status)).as_bytes());
    out.field("grpc-message", percent_encoded(message).as_bytes());
}

/// The code that stands for an HTTP status ("HTTP to gRPC Status Code Mapping"; 504 is a deadline here, as it is for us, and
/// what is too large or too many is RESOURCE_EXHAUSTED).
fn code(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 | 504 => 4,
        413 | 431 => 8,
        429 | 502 | 503 => 14,
        _ => 2,
    }
}

/// Visible ASCII but `%`; everything else as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let check = |value: &str, want| {
            let fields = [Header { name: "Grpc-Timeout", value: value.as_bytes() }];
            assert_eq!(timeout_ms(&fields), want, "{value}");
        };
        check("100m", Some(100));
        check("1S", Some(1_000));
        check("2M", Some(120_000));
        check("3H", Some(10_800_000));
        check("1u", Some(1));
        check("1500u", Some(2));
        check("99999999n", Some(100));
        check("0m", Some(0));
        for bad in ["", "m", "1", "1x", "-1m", "123456789m", "1 m", "é"] {
            check(bad, None);
        }
        assert_eq!(timeout_ms(&[]), None);
    }

    #[test]
    fn messages_are_text_that_a_field_can_carry() {
        assert_eq!(percent_encoded("a b%\né"), "a b%25%0A%C3%A9");
    }
}
