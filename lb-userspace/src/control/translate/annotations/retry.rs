//! `proxy-next-upstream` and `proxy-next-upstream-tries`: what is tried again at another endpoint.
//!
//! A connection that is refused, or that ends before any byte of the request was taken, is always tried again: `timeout`
//! adds nothing to that, and `error` adds what may have been taken, for idempotent methods.

use super::super::super::reason;
use super::reader::Reader;
use super::value::{self, Invalid};
use super::{Draft, Family};

pub(super) const FAMILY: Family = Family { keys: &["proxy-next-upstream", "proxy-next-upstream-tries"], read };

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    if let Some(tries_max) = reader.read("proxy-next-upstream-tries", tries) {
        draft.policy.retry.tries_max = tries_max;
    }
    let Some(given) = reader.get("proxy-next-upstream") else { return };
    let words: Vec<&str> = given.text.split_ascii_whitespace().collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| matches!(**word, "error" | "timeout" | "non_idempotent" | "off"));
    if !unknown.is_empty() || known.is_empty() {
        let message = format!("Conditions that are not known, and change nothing: {}.", unknown.join(", "));
        let remedy = "Write error, timeout, non_idempotent or off, with spaces between them.";
        reader.fault(given, reason::INVALID_ANNOTATION, message, remedy);
    }
    let retry = &mut draft.policy.retry;
    if known.contains(&"off") {
        retry.tries_max = 1;
    }
    retry.non_idempotent |= known.contains(&"non_idempotent");
    if !known.is_empty() {
        retry.idempotent = known.contains(&"error") || retry.non_idempotent;
    }
}

/// 0 is as many as there are endpoints, which 255 stands for.
fn tries(text: &str) -> Result<u8, Invalid> {
    let invalid = || Invalid::new(format!("{text:?} is no number from 0 to 255"), "Write a number; 0 is no limit.");
    match value::whole(text).and_then(|number| u8::try_from(number).ok()) {
        Some(0) => Ok(u8::MAX),
        Some(number) => Ok(number),
        None => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;

    #[test]
    fn retries() {
        let check = |annotations: &[(&str, &str)], want: (u8, bool, bool), problems_want: usize| {
            let (settings, problems) = trial_nginx(annotations);
            let retry = &settings.policy.retry;
            let got = (retry.tries_max, retry.idempotent, retry.non_idempotent);
            assert_eq!((got, problems.len()), (want, problems_want), "{annotations:?}");
        };
        check(&[("proxy-next-upstream", "error timeout")], (3, true, false), 0);
        check(&[("proxy-next-upstream", "timeout")], (3, false, false), 0);
        check(&[("proxy-next-upstream", "error timeout non_idempotent")], (3, true, true), 0);
        check(&[("proxy-next-upstream", "off")], (1, false, false), 0);
        check(&[("proxy-next-upstream", "error http_502")], (3, true, false), 1);
        check(&[("proxy-next-upstream", "http_502")], (3, true, false), 1);
        check(&[("proxy-next-upstream", "")], (3, true, false), 1);
        check(&[("proxy-next-upstream-tries", "5")], (5, true, false), 0);
        check(&[("proxy-next-upstream-tries", "0")], (255, true, false), 0);
        check(&[("proxy-next-upstream-tries", "256")], (3, true, false), 1);
        check(&[("proxy-next-upstream-tries", "5"), ("proxy-next-upstream", "off")], (1, false, false), 0);
    }
}
