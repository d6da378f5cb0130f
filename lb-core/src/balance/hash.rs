//! Consistent hashing by highest random weight (rendezvous, Thaler and Ravishankar 1998).
//!
//! Chosen over a ring or Maglev because it is exactly stable: when an endpoint leaves, or is ejected for a while, its keys
//! alone move, evenly to all others, and come back with it. It needs no table (a ring of 160 points for each endpoint
//! would be 2.5 KB each), and takes about 2 ns for each endpoint of the service, which is 0.2 µs for a hundred.

use super::{Ask, ServiceState, enter, is_open};
use std::net::{IpAddr, SocketAddr};

/// A hash of bytes that is the same in every process and version: agents on several nodes choose the same endpoint.
/// FNV-1a with a final mix. Whoever picks keys can aim at one endpoint, as with one key alone.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
}

/// The hash of an address of a client: IPv4 is the same whether it came mapped into IPv6 or not.
#[must_use]
pub fn hash_client(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => hash(&v4.octets()),
        IpAddr::V6(v6) => hash(&v6.octets()),
    }
}

/// The hash of an endpoint.
#[must_use]
pub fn hash_endpoint(address: SocketAddr) -> u64 {
    mix(hash_client(address.ip()) ^ u64::from(address.port()))
}

/// Spreads every bit over all (the finisher of SplitMix64).
#[must_use]
pub fn mix(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The open endpoint with the highest weight for the key; one that is full makes way for the next.
pub(super) fn pick(state: &ServiceState, ask: &Ask<'_>) -> Option<usize> {
    let open = state.endpoints().iter().enumerate().filter(|(index, endpoint)| {
        is_open(state, ask, *index) && !endpoint.is_full(ask.circuit.endpoint_requests_max)
    });
    let best = open.max_by_key(|(_, endpoint)| mix(ask.key ^ endpoint.hash))?;
    enter(state, ask, best.0)
}
