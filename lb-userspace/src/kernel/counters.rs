//! Counters of our programs, summed over the CPUs.
//!
//! Owns: reading them. Goes in: the map of counters. Comes out: names with numbers. Does not do: metrics (`admin`).

use super::SteerError;
use aya::maps::{MapData, PerCpuArray};
use lb_common::outcome::LookupOutcome;

/// Every outcome with the number of its packets, in the order of [`LookupOutcome::ALL`].
pub(super) fn read(counters: &PerCpuArray<MapData, u64>) -> Result<Vec<(&'static str, u64)>, SteerError> {
    let one = |outcome: LookupOutcome| {
        let values = counters.get(&outcome.index(), 0);
        let values = values.map_err(|source| SteerError::Map { action: "read counters", source })?;
        Ok((outcome.name(), values.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value))))
    };
    LookupOutcome::ALL.into_iter().map(one).collect()
}
