//! Elections against a Lease with optimistic concurrency, by random histories: answers are late, lost, or refused, clocks
//! begin anywhere and run apart, candidates stand still, crash and leave.

use super::*;
use proptest::prelude::*;

/// A Lease as the API keeps it.
#[derive(Default)]
struct Api {
    lease: Option<(Record, u64)>,
    version: u64,
}

impl Api {
    fn do_it(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Read { .. } => match &self.lease {
                Some((record, version)) => Answer::Lease(record.clone(), version.to_string()),
                None => Answer::Missing,
            },
            Ask::Create(_) if self.lease.is_some() => Answer::Conflict,
            Ask::Create(record) => self.put(record),
            Ask::Replace { record, version } => match &self.lease {
                Some((_, held)) if held.to_string() == *version => self.put(record),
                Some(_) => Answer::Conflict,
                None => Answer::Missing,
            },
        }
    }

    fn put(&mut self, record: &Record) -> Answer {
        self.version += 1;
        self.lease = Some((record.clone(), self.version));
        Answer::Lease(record.clone(), self.version.to_string())
    }
}

/// A candidate with a clock of its own.
struct Candidate {
    elector: Elector,
    /// What its clock shows at the true time 0, and how many thousandths of a millisecond it counts in a true one.
    offset_ms: u64,
    rate: u64,
    /// What is under way: done at the API at this time (or never), answered at that.
    under_way: Option<(Ask, u64, u64, Fate)>,
    answer: Option<Answer>,
    stands_until: u64,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    AnswerLost,
    NeverDone,
}

#[derive(Debug, Clone, Copy)]
struct Luck {
    to_api_ms: u64,
    back_ms: u64,
    fate: u8,
    stands_ms: u64,
    event: u8,
}

fn luck() -> impl Strategy<Value = Luck> {
    let late = || prop_oneof![6 => 0..50_u64, 2 => 0..3_000_u64, 1 => 0..20_000_u64];
    let stands = prop_oneof![8 => Just(0_u64), 1 => 0..20_000_u64];
    (late(), late(), any::<u8>(), stands, any::<u8>()).prop_map(|(to_api_ms, back_ms, fate, stands_ms, event)| Luck {
        to_api_ms,
        back_ms,
        fate,
        stands_ms,
        event,
    })
}

impl Candidate {
    fn new(name: usize, offset_ms: u64, rate: u64) -> Self {
        let elector = Elector::new(format!("agent-{name}"), Timing::default());
        let (under_way, answer) = (None, None);
        Self { elector, offset_ms, rate, under_way, answer, stands_until: 0, gone: false }
    }

    fn clock(&self, true_ms: u64) -> u64 {
        self.offset_ms + true_ms * self.rate / 1_000
    }

    fn step(&mut self, now: u64, api: &mut Api, luck: impl FnOnce() -> Luck) {
        let clock = self.clock(now);
        if let Some((ask, at, _, fate)) = &self.under_way
            && now >= *at
            && self.answer.is_none()
            && *fate != Fate::NeverDone
        {
            // The API acts whether we are there or not.
            self.answer = Some(api.do_it(ask));
        }
        if self.gone || now < self.stands_until {
            return;
        }
        if let Some((_, _, back, fate)) = self.under_way {
            if now >= back {
                self.under_way = None;
                let answer = self.answer.take().filter(|_| fate == Fate::Answered);
                self.elector.take(clock, answer.unwrap_or(Answer::Failed));
            }
            return;
        }
        if let Step::Ask(ask) = self.elector.next(clock, 0.5, 0) {
            let luck = luck();
            let fate = match luck.fate {
                0..=199 => Fate::Answered,
                200..=229 => Fate::AnswerLost,
                _ => Fate::NeverDone,
            };
            let at = now + luck.to_api_ms;
            self.under_way = Some((ask, at, at + luck.back_ms, fate));
            self.stands_until = now + luck.stands_ms;
            match luck.event {
                0..=2 => self.elector.leave(clock),
                3..=4 => self.gone = true,
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn two_never_lead_at_once(
        clocks in proptest::collection::vec((0..1_000_000_u64, 820..1_180_u64), 2..=3),
        fortunes in proptest::collection::vec(luck(), 200),
    ) {
        let mut api = Api::default();
        let mut fortunes = fortunes.into_iter();
        let mut candidates: Vec<Candidate> =
            clocks.iter().enumerate().map(|(name, (offset, rate))| Candidate::new(name, *offset, *rate)).collect();
        let mut last = None;
        for now in (0..240_000_u64).step_by(10) {
            for candidate in &mut candidates {
                let fine = Luck { to_api_ms: 5, back_ms: 5, fate: 0, stands_ms: 0, event: 255 };
                candidate.step(now, &mut api, || fortunes.next().unwrap_or(fine));
            }
            let leading: Vec<usize> =
                (0..candidates.len()).filter(|i| candidates[*i].elector.leads(candidates[*i].clock(now))).collect();
            prop_assert!(leading.len() < 2, "at {} ms: {:?}", now, leading);
            last = leading.first().copied();
        }
        // The bad luck was over long ago; whoever is there still has settled it.
        let there = candidates.iter().any(|c| !c.gone && !c.elector.leaving);
        prop_assert!(last.is_some() || !there || fortunes.next().is_some());
    }
}

fn lease(holder: &str, version: u64) -> Answer {
    let record = Record { holder: holder.to_owned(), lease_ms: 15_000, ..Record::default() };
    Answer::Lease(record, version.to_string())
}

fn asked(elector: &mut Elector, now: u64) -> Ask {
    match elector.next(now, 0.0, 7) {
        Step::Ask(ask) => ask,
        step => panic!("{step:?} at {now}"),
    }
}

/// Makes it the leader at 0 ms, with version 1 of the Lease.
fn leader() -> Elector {
    let mut elector = Elector::new("me", Timing::default());
    assert_eq!(asked(&mut elector, 0), Ask::Read { newest: false });
    elector.take(0, Answer::Missing);
    let Ask::Create(record) = asked(&mut elector, 0) else { panic!("made") };
    elector.take(0, Answer::Lease(record, "1".to_owned()));
    assert!(elector.leads(9_999) && !elector.leads(10_000));
    elector
}

#[test]
fn a_leader_renews_every_two_seconds_and_counts_from_when_it_sent() {
    let mut elector = leader();
    assert_eq!(elector.next(1_999, 1.0, 0), Step::Wait(2_000));
    let Ask::Replace { record, version } = asked(&mut elector, 2_000) else { panic!("renewed") };
    assert_eq!((record.holder.as_str(), record.transitions, version.as_str()), ("me", 0, "1"));
    elector.take(6_000, Answer::Lease(record, "2".to_owned()));
    assert_eq!(elector.leads_until_ms(), Some(12_000));
}

#[test]
fn a_leader_that_cannot_renew_ends_before_the_lease_does() {
    let mut elector = leader();
    for at in [2_000, 4_000, 6_000, 8_000] {
        asked(&mut elector, at);
        elector.take(at + 1, Answer::Failed);
        assert!(elector.leads(9_999));
    }
    assert!(!elector.leads(10_000));
    // It is still its own in the API: it comes back without waiting for anything.
    assert_eq!(asked(&mut elector, 10_200), Ask::Read { newest: true });
    elector.take(10_300, lease("me", 1));
    assert!(!elector.leads(10_300));
    assert!(matches!(asked(&mut elector, 10_300), Ask::Replace { .. }));
}

#[test]
fn a_candidate_waits_for_as_long_as_it_sees_no_change() {
    let mut elector = Elector::new("me", Timing::default());
    asked(&mut elector, 0);
    elector.take(100, lease("other", 1));
    assert_eq!(asked(&mut elector, 2_000), Ask::Read { newest: false });
    elector.take(2_100, lease("other", 2));
    let mut at = 2_100;
    while at < 17_100 {
        match elector.next(at, 0.0, 0) {
            Step::Wait(until) => at = until,
            Step::Ask(ask) => {
                assert_eq!(ask, Ask::Read { newest: false }, "at {at}");
                elector.take(at, lease("other", 2));
            }
            Step::Over => panic!("nobody left"),
        }
    }
    let Ask::Replace { record, version } = asked(&mut elector, at) else { panic!("taken at {at}") };
    assert_eq!((record.holder.as_str(), record.transitions, version.as_str()), ("me", 1, "2"));
    elector.take(at, Answer::Conflict);
    assert!(!elector.leads(at));
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let mut elector = leader();
    elector.leave(3_000);
    assert!(!elector.leads(3_000));
    let Ask::Replace { record, version } = asked(&mut elector, 3_000) else { panic!("given back") };
    assert_eq!((record.holder.as_str(), version.as_str()), ("", "1"));
    elector.take(3_010, Answer::Lease(record.clone(), "2".to_owned()));
    assert_eq!(elector.next(3_010, 0.0, 0), Step::Over);
    let mut next = Elector::new("next", Timing::default());
    asked(&mut next, 0);
    next.take(0, Answer::Lease(record, "2".to_owned()));
    assert!(matches!(asked(&mut next, 0), Ask::Replace { .. }));
}

#[test]
fn who_holds_nothing_leaves_without_a_word() {
    let mut elector = Elector::new("me", Timing::default());
    asked(&mut elector, 0);
    elector.take(0, lease("other", 1));
    elector.leave(10);
    assert_eq!(elector.next(10, 0.0, 0), Step::Over);
}

#[test]
fn a_leader_that_reads_another_name_leads_no_more() {
    let mut elector = leader();
    asked(&mut elector, 2_000);
    elector.take(2_010, Answer::Conflict);
    assert!(elector.leads(2_010), "somebody may have added a label");
    assert_eq!(asked(&mut elector, 2_210), Ask::Read { newest: true });
    elector.take(2_220, lease("other", 7));
    assert!(!elector.leads(2_220));
}
