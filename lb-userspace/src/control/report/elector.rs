//! The elector: whether this agent is the leader, by a Lease that all candidates write to, one at a time.
//!
//! Goes in: the time of our own monotonic clock, and what the API answered. Comes out: what to ask it next ([`Step`]), and
//! until when we lead. Does no I/O and looks at no other clock: times that others wrote are never compared with ours; a
//! Lease is over when nobody wrote to it for as long as it lasts, as seen from here.
//!
//! Two never lead at once if: (1) the API takes a write with an old `resourceVersion` for none (optimistic concurrency);
//! (2) nobody deletes the Lease; (3) while one clock counts `renew_ms`, no other counts `lease_ms` (10 s and 15 s: clocks
//! may run apart by half). A leader leads until `renew_ms` after it *sent* the last write that was taken; others wait
//! `lease_ms` from when they *saw* it. What a leader sent before its time was over may still arrive later: all that is
//! written is the same whoever writes it, and carries the `resourceVersion` that it was made for.

/// Times of a Lease, milliseconds; the defaults are those of client-go (`leaderelection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that nobody wrote to for this long is free.
    pub lease_ms: u64,
    /// A leader whose writes were not taken for this long leads no more.
    pub renew_ms: u64,
    /// Between two writes of a leader; candidates look after 1 to 2.2 times this.
    pub retry_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease_ms: 15_000, renew_ms: 10_000, retry_ms: 2_000 }
    }
}

/// Candidates look again after a pause that is up to this much longer (`JitterFactor` of client-go).
const JITTER: f64 = 1.2;

/// Durations of others that are believed, as a multiple of ours.
const LEASE_FACTOR_MAX: u64 = 10;

/// What a Lease says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How long it lasts, milliseconds.
    pub lease_ms: u64,
    /// When it was taken, microseconds since 1970 by the holder's clock.
    pub acquired_us: i64,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What is asked of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Read the Lease. A candidate may be told an older state; whoever writes next must not.
    Read {
        /// The newest state.
        newest: bool,
    },
    /// Make it.
    Create(Record),
    /// Write over the state of this version.
    Replace {
        /// What it says then.
        record: Record,
        /// `metadata.resourceVersion`.
        version: String,
    },
}

/// What the API answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease that was read, or that our write made, with its `resourceVersion`.
    Lease(Record, String),
    /// There is none.
    Missing,
    /// There is one, or it is another than we thought.
    Conflict,
    /// No answer, or another refusal: what was asked may be done or not.
    Failed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until then.
    Wait(u64),
    /// Ask this, and tell [`Elector::take`].
    Ask(Ask),
    /// It is over: we left.
    Over,
}

/// What we know of the Lease.
#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    version: String,
    /// When this version was first seen.
    since_ms: u64,
}

/// The elector of one candidate.
#[derive(Debug)]
pub struct Elector {
    me: String,
    timing: Timing,
    seen: Option<Seen>,
    /// What we know may be old: a write was refused or its answer lost.
    doubt: bool,
    leads_until_ms: Option<u64>,
    next_ms: u64,
    /// What was asked, when it was sent, and whether it makes us the leader.
    asked: Option<(u64, bool)>,
    leaving: bool,
    over: bool,
}

impl Elector {
    /// A candidate. `me` must be nobody else's name, not even that of this agent before it was started again.
    #[must_use]
    pub fn new(me: impl Into<String>, timing: Timing) -> Self {
        Self {
            me: me.into(),
            timing,
            seen: None,
            doubt: true,
            leads_until_ms: None,
            next_ms: 0,
            asked: None,
            leaving: false,
            over: false,
        }
    }

    /// Whether we lead.
    #[must_use]
    pub fn leads(&self, now_ms: u64) -> bool {
        self.leads_until_ms.is_some_and(|until| now_ms < until)
    }

    /// Until when we lead, if nothing is taken any more.
    #[must_use]
    pub fn leads_until_ms(&self) -> Option<u64> {
        self.leads_until_ms
    }

    /// Who leads, as far as we know.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| seen.record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// Leads no more from now on, and gives the Lease back, so that the next one need not wait.
    pub fn leave(&mut self, now_ms: u64) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.leads_until_ms = None;
        self.next_ms = now_ms;
    }

    /// What to do now. `spread` is any number from 0 to 1, `wall_us` microseconds since 1970.
    pub fn next(&mut self, now_ms: u64, spread: f64, wall_us: i64) -> Step {
        if self.leads_until_ms.is_some_and(|until| until <= now_ms) {
            self.leads_until_ms = None;
        }
        let held = self.seen.as_ref().is_some_and(|seen| seen.record.holder == self.me);
        if self.over || (self.leaving && !held && !self.doubt) {
            self.over = true;
            return Step::Over;
        }
        if now_ms < self.next_ms {
            return Step::Wait(self.next_ms);
        }
        // Should no answer be told, this is when to ask again.
        self.next_ms = now_ms + self.pause_ms(spread);
        let lease_ms = self.timing.lease_ms;
        let (ask, leads) = match &self.seen {
            _ if self.doubt => (Ask::Read { newest: held || self.leaving }, false),
            None => (Ask::Create(self.record(wall_us, 0)), true),
            Some(seen) if self.leaving => {
                // As client-go leaves it: free at once, and for a second at most for who does not know empty holders.
                let record = Record { holder: String::new(), lease_ms: 1_000, ..seen.record.clone() };
                (Ask::Replace { record, version: seen.version.clone() }, false)
            }
            Some(seen) if held => {
                let record = Record { lease_ms, ..seen.record.clone() };
                (Ask::Replace { record, version: seen.version.clone() }, true)
            }
            Some(seen) if self.is_free(seen, now_ms) => {
                let record = self.record(wall_us, seen.record.transitions.saturating_add(1));
                (Ask::Replace { record, version: seen.version.clone() }, true)
            }
            Some(_) => (Ask::Read { newest: false }, false),
        };
        self.asked = Some((now_ms, leads));
        Step::Ask(ask)
    }

    /// Takes the answer to what [`Self::next`] asked.
    pub fn take(&mut self, now_ms: u64, answer: Answer) {
        let Some((sent_ms, leads)) = self.asked.take() else { return };
        let wrote = leads || self.leaving;
        match answer {
            Answer::Lease(record, version) => self.see(now_ms, sent_ms, leads, record, version),
            Answer::Missing => {
                (self.seen, self.doubt, self.leads_until_ms) = (None, false, None);
                self.next_ms = now_ms;
                self.over |= self.leaving;
            }
            Answer::Conflict => {
                self.doubt = true;
                // Somebody wrote: a leader looks at once, who wanted to be one has lost.
                if self.leads(now_ms) || self.leaving {
                    self.next_ms = now_ms + self.timing.retry_ms / 10;
                }
            }
            // A write may be done for all we know, and then its version is another.
            Answer::Failed => self.doubt |= wrote,
        }
    }

    fn see(&mut self, now_ms: u64, sent_ms: u64, leads: bool, record: Record, version: String) {
        self.doubt = false;
        let since_ms = match &self.seen {
            Some(seen) if seen.version == version => seen.since_ms,
            _ => now_ms,
        };
        let seen = Seen { record, version, since_ms };
        let (mine, free) = (seen.record.holder == self.me, self.is_free(&seen, now_ms));
        self.seen = Some(seen);
        if self.leaving {
            self.over |= !mine;
            self.next_ms = now_ms;
        } else if leads && mine {
            self.leads_until_ms = Some(sent_ms.saturating_add(self.timing.renew_ms));
            self.next_ms = now_ms + self.timing.retry_ms;
        } else if mine || free {
            self.next_ms = now_ms;
        }
        if !mine {
            self.leads_until_ms = None;
        }
    }

    fn is_free(&self, seen: &Seen, now_ms: u64) -> bool {
        let ours = self.timing.lease_ms;
        let lease_ms = seen.record.lease_ms.clamp(ours, ours.saturating_mul(LEASE_FACTOR_MAX));
        seen.record.holder.is_empty() || now_ms >= seen.since_ms.saturating_add(lease_ms)
    }

    fn record(&self, wall_us: i64, transitions: i32) -> Record {
        Record { holder: self.me.clone(), lease_ms: self.timing.lease_ms, acquired_us: wall_us, transitions }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a pause of seconds, of no sign")]
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a few seconds")]
    fn pause_ms(&self, spread: f64) -> u64 {
        let retry_ms = self.timing.retry_ms;
        // A leader keeps to its beat: its time is running out.
        if self.leads_until_ms.is_some() || self.leaving {
            return retry_ms / if self.leaving { 10 } else { 1 };
        }
        retry_ms + (retry_ms as f64 * JITTER * spread.clamp(0.0, 1.0)) as u64
    }
}

#[cfg(test)]
mod tests;
