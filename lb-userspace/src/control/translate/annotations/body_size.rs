//! `proxy-body-size`: the largest request body, in the manner of nginx: bytes, or with k, m or g.

use super::reader::Reader;
use super::value::Invalid;
use super::{Draft, Family};

pub(super) const FAMILY: Family = Family { keys: &["proxy-body-size"], read };

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    if let Some(bytes_max) = reader.read("proxy-body-size", size) {
        draft.policy.body_bytes_max = bytes_max;
        draft.steering.body_limit = bytes_max.is_some();
    }
}

/// `None` is unlimited, which is written as 0.
fn size(text: &str) -> Result<Option<u64>, Invalid> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1u64),
    };
    let number: Option<u64> = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Invalid::new(
            format!("{text:?} is no size"),
            "Write a number of bytes, perhaps with k, m or g behind it, or 0 for no limit.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;

    #[test]
    fn sizes() {
        let check = |text: &str, want: Option<u64>, problems_want: usize| {
            let (settings, problems) = trial_nginx(&[("proxy-body-size", text)]);
            assert_eq!((settings.policy.body_bytes_max, problems.len()), (want, problems_want), "{text}");
            assert_eq!(settings.steering.body_limit, want.is_some() && problems_want == 0, "{text}");
        };
        check("8m", Some(8 << 20), 0);
        check("8M", Some(8 << 20), 0);
        check("64k", Some(64 << 10), 0);
        check("1g", Some(1 << 30), 0);
        check("1234", Some(1234), 0);
        check("0", None, 0);
        check("0m", None, 0);
        let default = Some(1 << 20);
        for invalid in ["", "m", "8mb", "8 m", "-1", "1.5m", "99999999999g", "unlimited", "8é"] {
            check(invalid, default, 1);
        }
    }
}
