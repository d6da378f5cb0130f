//! Round robin: one cursor for all workers, so that every endpoint is seen from any number of cores and connections.

use super::{Ask, ServiceState, enter, is_open, is_warm};

/// The endpoint whose turn it is. One that cannot take it costs a further turn, not its neighbour a second one.
pub(super) fn pick(state: &ServiceState, ask: &Ask<'_>, turn: u32) -> Option<usize> {
    let count = state.endpoints().len();
    let mut index = turn as usize % count;
    for _ in 0..count {
        if is_open(state, ask, index)
            && is_warm(state, ask, index)
            && let Some(index) = enter(state, ask, index)
        {
            return Some(index);
        }
        index = state.skip() as usize % count;
    }
    None
}
