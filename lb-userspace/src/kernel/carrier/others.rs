//! Sets of pins of other versions, which go on carrying their pairs until the last one has ended.
//!
//! Owns: finding out when that is. Goes in: their directories. Comes out: how many keys they hold. Does not do: anything
//! with a field of a record: this version does not know the layout of another.
//!
//! What every version keeps: `FLOWS` is a hash whose values begin with the index of a record (32 bits), and `CONNS` is
//! an array whose records change with every packet. So a pair whose record does not change is idle, and is given up
//! after a while: what its ends send then goes to the local stack, which resets them.

use super::super::elements::{Elements, from_bytes};
use super::{OtherSet, set};
use lb_common::maps;
use lb_common::splice::FlowKey;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The sets of other versions.
#[derive(Debug)]
pub(super) struct Others {
    sets: Vec<Other>,
    idle_max: Duration,
}

#[derive(Debug)]
struct Other {
    dir: PathBuf,
    /// By key: a digest of the record, and since when it is this.
    seen: HashMap<Vec<u8>, (u64, Instant)>,
}

impl Others {
    /// Removes those that carry nothing, and keeps an eye on the rest.
    pub fn new(dirs: Vec<PathBuf>, idle_max: Duration, now: Instant) -> Self {
        let sets = dirs.into_iter().map(|dir| Other { dir, seen: HashMap::new() }).collect();
        let mut others = Self { sets, idle_max };
        others.sweep(now);
        others
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Gives idle pairs up, and removes sets that carry nothing any more.
    pub fn sweep(&mut self, now: Instant) {
        let idle_max = self.idle_max;
        self.sets.retain_mut(|other| match other.sweep(now, idle_max) {
            Ok(0) => {
                set::remove_or_warn(&other.dir);
                false
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Without its keys it carries nothing.
                set::remove_or_warn(&other.dir);
                false
            }
            Err(error) => {
                tracing::warn!(path = %other.dir.display(), %error, "cannot look into pins of another version");
                true
            }
        });
    }

    pub fn report(&self) -> Vec<OtherSet> {
        let one = |other: &Other| {
            let keys = other.flows().and_then(|flows| flows.all()).map_or(0, |all| all.len());
            OtherSet { path: other.dir.clone(), keys }
        };
        self.sets.iter().map(one).collect()
    }

    /// The keys of those sets whose keys look like ours.
    pub fn keys(&self) -> io::Result<Vec<FlowKey>> {
        let mut keys = Vec::new();
        for other in &self.sets {
            keys.extend(other.flows()?.all()?.iter().filter_map(|(key, _)| from_bytes::<FlowKey>(key)));
        }
        Ok(keys)
    }
}

impl Other {
    fn flows(&self) -> io::Result<Elements> {
        Elements::open(&self.dir.join(maps::FLOWS))
    }

    /// Answers how many keys are left.
    fn sweep(&mut self, now: Instant, idle_max: Duration) -> io::Result<usize> {
        let flows = self.flows()?;
        let all = flows.all()?;
        let Ok(conns) = Elements::open(&self.dir.join(maps::CONNS)) else { return Ok(all.len()) };
        let mut seen = HashMap::new();
        for (key, value) in all {
            let Some(index) = value.get(..4) else { continue };
            let digest = digest(&conns.get(index)?);
            let since = match self.seen.get(&key) {
                Some((before, since)) if *before == digest => *since,
                _ => now,
            };
            if now.saturating_duration_since(since) >= idle_max {
                flows.remove(&key)?;
            } else {
                seen.insert(key, (digest, since));
            }
        }
        self.seen = seen;
        Ok(self.seen.len())
    }
}

fn digest(record: &Option<Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    hasher.finish()
}
