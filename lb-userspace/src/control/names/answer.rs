//! An answer: what is known of a name, and since when it could not be asked for.
//!
//! Goes in: what a resolver found, or why it found nothing. Comes out: addresses that may be used. An answer that is
//! refused takes the place of the one before it: only when there is no answer at all does the last good one stay.

use super::address;
use ipnet::IpNet;
use std::net::IpAddr;

/// Addresses of one name that are used. Large services answer with 8 to 13 in one packet of 512 bytes.
pub const ADDRESSES_MAX: usize = 16;

/// What is known of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Addresses that may be used, in order, each once.
    pub addresses: Vec<IpAddr>,
    /// One that may not, and why.
    pub refused: Option<(IpAddr, &'static str)>,
    /// How many were left out, as they were more than [`ADDRESSES_MAX`].
    pub left_out: usize,
    /// Since when there is no answer.
    pub failing: Option<Failing>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// When this was found first, seconds since 1970.
    pub since_s: i64,
    /// What the resolver says.
    pub why: String,
}

impl Answer {
    /// What a resolver found.
    #[must_use]
    pub fn of(found: Vec<IpAddr>, deny: &[IpNet]) -> Self {
        let mut found: Vec<IpAddr> = found.into_iter().map(|address| address.to_canonical()).collect();
        found.sort_unstable();
        found.dedup();
        let refused = found.iter().find_map(|found| Some((*found, address::refusal(*found, deny)?)));
        found.retain(|found| address::refusal(*found, deny).is_none());
        let left_out = found.len().saturating_sub(ADDRESSES_MAX);
        found.truncate(ADDRESSES_MAX);
        Self { addresses: found, refused, left_out, failing: None }
    }

    /// A resolver found nothing: the last answer stays, with its age.
    #[must_use]
    pub fn failed(before: Option<&Self>, why: String, now_s: i64) -> Self {
        let mut answer = before.cloned().unwrap_or_default();
        let since_s = answer.failing.map_or(now_s, |failing| failing.since_s);
        answer.failing = Some(Failing { since_s, why });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn rebinding_is_refused() {
        let good = Answer::of(addresses(&["192.0.2.2", "192.0.2.1", "192.0.2.1"]), &[]);
        assert_eq!((good.addresses.clone(), good.refused), (addresses(&["192.0.2.1", "192.0.2.2"]), None));
        let rebound = Answer::of(addresses(&["127.0.0.1"]), &[]);
        assert!(rebound.addresses.is_empty() && rebound.refused.is_some_and(|(_, why)| why == "loopback"));
        let after = Answer::failed(Some(&rebound), "no such name".to_owned(), 5);
        assert!(after.addresses.is_empty(), "what was refused does not bring back what was good before");
        let mixed = Answer::of(addresses(&["169.254.169.254", "192.0.2.1"]), &[]);
        assert_eq!((mixed.addresses.len(), mixed.refused.map(|(_, why)| why)), (1, Some("link-local")));
    }

    #[test]
    fn the_last_good_answer_stays_with_its_age() {
        let good = Answer::of(addresses(&["192.0.2.1"]), &[]);
        let failing = Answer::failed(Some(&good), "timed out".to_owned(), 100);
        let later = Answer::failed(Some(&failing), "timed out".to_owned(), 200);
        assert_eq!((later == failing, &later.addresses), (true, &good.addresses));
        assert_eq!(later.failing.map(|failing| failing.since_s), Some(100));
        assert!(Answer::failed(None, "x".to_owned(), 1).addresses.is_empty());
    }

    #[test]
    fn addresses_are_bounded() {
        let many = (0..40).map(|i| IpAddr::from([192, 0, 2, i])).collect();
        let answer = Answer::of(many, &[]);
        assert_eq!((answer.addresses.len(), answer.left_out), (ADDRESSES_MAX, 40 - ADDRESSES_MAX));
    }
}
