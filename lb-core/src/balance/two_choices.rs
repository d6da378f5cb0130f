//! Power of two choices: of two endpoints chosen at random the better one. Nearly as even as asking all of them, without
//! asking all, and without the stampede to the one that looks best (Mitzenmacher 2001).

use super::hash::mix;
use super::{Ask, EndpointState, ServiceState, enter, is_open, is_warm};

/// Pairs that are drawn when both of a pair cannot be used: with half of the endpoints ejected, four pairs miss once in
/// 256 times.
const PAIRS_MAX: usize = 4;

/// The one of two with the lower cost.
pub(super) fn pick(state: &ServiceState, ask: &Ask<'_>, cost: impl Fn(&EndpointState) -> f64) -> Option<usize> {
    let endpoints = state.endpoints();
    let mut random = ask.random;
    for _ in 0..PAIRS_MAX {
        let (one, other) = pair(random, endpoints.len());
        let ask = Ask { random: mix(random), ..*ask };
        let is_usable = |index| is_open(state, &ask, index) && is_warm(state, &ask, index);
        let better = match (is_usable(one), is_usable(other)) {
            (true, true) if cost(endpoints.get(other)?) < cost(endpoints.get(one)?) => Some(other),
            (true, _) => Some(one),
            (false, true) => Some(other),
            (false, false) => None,
        };
        if let Some(index) = better.and_then(|index| enter(state, &ask, index)) {
            return Some(index);
        }
        random = mix(random.wrapping_add(1));
    }
    None
}

/// Two of `count`, different ones if there are two; each pair is equally likely.
fn pair(random: u64, count: usize) -> (usize, usize) {
    let (high, low) = (below(random >> 32, count), below(random & 0xffff_ffff, count.saturating_sub(1)));
    (high, if low >= high { (low + 1).min(count.saturating_sub(1)) } else { low })
}

/// 32 random bits as a number below `count`, without a division.
#[allow(clippy::cast_possible_truncation, reason = "it is below count, which is a usize")]
fn below(bits: u64, count: usize) -> usize {
    ((u128::from(bits) * count as u128) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_and_of_two() {
        for count in [2, 3, 7_usize] {
            let mut seen = vec![0; count * count];
            let mut random = 1;
            let draws = 20_000 * count * (count - 1);
            for _ in 0..draws {
                random = mix(random + 1);
                let (one, other) = pair(random, count);
                assert_ne!(one, other);
                seen[one * count + other] += 1;
            }
            let pairs = seen.iter().filter(|times| **times > 0);
            assert_eq!(pairs.clone().count(), count * (count - 1));
            assert!(pairs.clone().all(|times| (19_000..21_000).contains(times)), "{seen:?}");
        }
        assert_eq!((pair(u64::MAX, 1), pair(0, 1)), ((0, 0), (0, 0)));
    }
}
