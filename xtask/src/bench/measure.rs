//! What was measured: samples of each contender over the rounds, their median and spread, the ratio and the goal.
//!
//! Goes in: numbers. Comes out: a [`Metric`] that answers whether its goal is met. Pure.

use std::fmt::Debug;

/// The name of the contender that all this is about.
pub const SUBJECT: &str = "sluice";

/// The name of the bare way to the backend.
pub const PLAIN: &str = "direct";

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Requests per second.
    Higher,
    /// Times and sizes.
    Lower,
    /// What only explains, so it has no ratio.
    Neither,
}

/// What is asked of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The ratio is at least this.
    Ratio(f64),
    /// Sluice's own value is at most this, in the metric's unit.
    AtMost(f64),
}

/// One metric of a scenario.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Scenario that it belongs to.
    pub scenario: &'static str,
    /// What is measured, such as `requests per second`.
    pub name: &'static str,
    /// Unit of every value.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
    /// What is asked; nothing for what only explains.
    pub goal: Option<Goal>,
    /// Contenders in the order of the table, Sluice among them.
    pub contenders: Vec<Contender>,
}

/// The samples of one contender, one a round.
#[derive(Debug, Clone)]
pub struct Contender {
    /// `sluice`, `nginx`, `haproxy`, `direct`, or what else is compared.
    pub name: String,
    /// A value for each round.
    pub samples: Vec<f64>,
    /// Whether the ratio is taken to it.
    pub peer: bool,
}

/// Median with the extremes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle sample; the mean of the two middle ones when their number is even.
    pub median: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
}

impl Metric {
    /// A metric without samples.
    pub fn new(
        scenario: &'static str,
        name: &'static str,
        unit: &'static str,
        better: Better,
        goal: Option<Goal>,
    ) -> Self {
        Self { scenario, name, unit, better, goal, contenders: Vec::new() }
    }

    /// Adds one sample of a contender; `direct` and `hyper` explain, and are never the peer of a ratio.
    pub fn push(&mut self, name: &str, sample: f64) {
        match self.contenders.iter_mut().find(|contender| contender.name == name) {
            Some(contender) => contender.samples.push(sample),
            None => self.contenders.push(Contender {
                name: name.to_owned(),
                samples: vec![sample],
                peer: ![SUBJECT, PLAIN, "hyper"].contains(&name),
            }),
        }
    }

    /// Median and extremes of a contender.
    pub fn spread(&self, name: &str) -> Option<Spread> {
        spread(&self.contenders.iter().find(|contender| contender.name == name)?.samples)
    }

    /// Sluice to the better peer, turned so that more than 1 means that Sluice wins. Nothing without a peer, and nothing
    /// where an absolute value is asked for: the peers beside it do other work.
    pub fn ratio(&self) -> Option<f64> {
        self.ratio_of(SUBJECT)
    }

    /// The ratio that the bare way has, which no proxy can pass by much. Nothing where it is worse than a proxy: it is no bound then.
    pub fn ceiling(&self) -> Option<f64> {
        let is_peer = self.contenders.iter().any(|contender| contender.name == PLAIN && contender.peer);
        if is_peer { None } else { self.ratio_of(PLAIN).filter(|ratio| *ratio >= 1.0) }
    }

    fn ratio_of(&self, name: &str) -> Option<f64> {
        if matches!(self.goal, Some(Goal::AtMost(_))) {
            return None;
        }
        let ours = self.spread(name)?.median;
        let peers = self.contenders.iter().filter(|contender| contender.peer);
        let medians = peers.filter_map(|peer| spread(&peer.samples)).map(|spread| spread.median);
        match self.better {
            Better::Higher => medians.reduce(f64::max).map(|best| ours / best),
            Better::Lower => medians.reduce(f64::min).map(|best| best / ours),
            Better::Neither => None,
        }
    }

    /// The same samples of Sluice and one other contender, which is the peer here.
    pub fn beside(&self, other: &str, name: &'static str, goal: Goal) -> Self {
        let both = self.contenders.iter().filter(|c| c.name == other || c.name == SUBJECT).cloned();
        let contenders = both.map(|c| Contender { peer: c.name == other, ..c }).collect();
        Self { name, goal: Some(goal), contenders, ..self.clone() }
    }

    /// Sluice to one other contender, turned in the same way.
    pub fn against(&self, name: &str) -> Option<f64> {
        let (ours, other) = (self.spread(SUBJECT)?.median, self.spread(name)?.median);
        match self.better {
            Better::Higher => Some(ours / other),
            Better::Lower => Some(other / ours),
            Better::Neither => None,
        }
    }

    /// Whether the goal is met. Nothing when there is no goal or Sluice was not measured.
    pub fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::Ratio(goal) => self.ratio()? >= goal,
            Goal::AtMost(goal) => self.spread(SUBJECT)?.median <= goal,
        })
    }

    /// By how much the goal is missed, as a part of it: 0.1 is a tenth short.
    pub fn shortfall(&self) -> Option<f64> {
        let part = match self.goal? {
            Goal::Ratio(goal) => 1.0 - self.ratio()? / goal,
            Goal::AtMost(0.0) => self.spread(SUBJECT)?.median,
            Goal::AtMost(goal) => self.spread(SUBJECT)?.median / goal - 1.0,
        };
        Some(part.max(0.0))
    }
}

/// Median and extremes; nothing for no samples.
pub fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(Spread { median: (low + high) / 2.0, min: *sorted.first()?, max: *sorted.last()? })
}

/// The value that `part` (0 to 1) of the sorted values do not exceed: nearest rank, so it is one that was measured.
pub fn percentile<T: Copy + Debug>(sorted: &[T], part: f64) -> Option<T> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
