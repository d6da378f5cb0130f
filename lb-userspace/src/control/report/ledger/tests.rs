//! Which Events are made when: by data, and bounds under a thousand Problems that come and go.

use super::*;
use crate::control::object::Object;
use crate::control::reason;
use lb_core::model::Kind;
use lb_core::problem::Severity;
use serde_json::json;

struct Case {
    store: Store,
    ledger: Ledger,
    now: u64,
    served: bool,
}

fn key(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Ingress, "n", name)
}

fn fault(name: &str, message: &str) -> Problem {
    Problem {
        severity: Severity::Fault,
        object: key(name),
        place: None,
        field: "spec".to_owned(),
        reason: reason::INVALID_HOST,
        message: message.to_owned(),
        remedy: "Mend it.".to_owned(),
    }
}

impl Case {
    fn new(names: &[&str]) -> Self {
        let ledger = Ledger::new(Times::default(), "sluice.dev/ingress");
        let mut case = Self { store: Store::default(), ledger, now: 0, served: true };
        names.iter().for_each(|name| case.put(name, "u1"));
        case
    }

    fn put(&mut self, name: &str, uid: &str) {
        let ingress = json!({"metadata": {"namespace": "n", "name": name, "uid": uid}});
        self.store.upsert(Object::Ingress(Arc::new(serde_json::from_value(ingress).expect("an Ingress"))));
    }

    fn tell(&mut self, problems: &[Problem]) {
        self.ledger.observe_all(&self.store);
        let served = self.served;
        self.ledger.tell(problems, &self.store, |_| served, self.now);
    }

    /// Lets time pass; answers what was written, as `name reason deed`.
    fn until(&mut self, at: u64, outcome: impl Fn(&EventWrite) -> Outcome) -> Vec<String> {
        let mut written = Vec::new();
        loop {
            while let Some(write) = self.ledger.next(self.now) {
                written.push(format!("{} {} {:?}", write.object.name, write.reason, write.deed));
                self.ledger.done(&write, &outcome(&write), self.now);
            }
            match self.ledger.due_ms().filter(|due| *due <= at) {
                Some(due) => self.now = due.max(self.now),
                None => break,
            }
        }
        self.now = at;
        written
    }

    fn lets_pass(&mut self, ms: u64) -> Vec<String> {
        self.until(self.now + ms, taken)
    }
}

/// What the API answers when all is well.
fn taken(write: &EventWrite) -> Outcome {
    let count = match write.deed {
        Deed::Create => 1,
        Deed::Adopt => 5,
        Deed::Count(count) => count,
    };
    Outcome::Done { version: "1".into(), count }
}

const HOUR: u64 = 3_600_000;

#[test]
fn a_fault_is_told_once_and_kept_from_expiring() {
    let mut case = Case::new(&["a"]);
    case.tell(&[fault("a", "x")]);
    assert!(case.lets_pass(1_999).is_empty(), "it may be gone in a moment");
    case.tell(&[fault("a", "x")]);
    assert_eq!(case.lets_pass(1), ["a InvalidHost Create"]);
    case.tell(&[fault("a", "x")]);
    assert!(case.lets_pass(2_600_000).is_empty());
    let later: Vec<String> = (0..4).flat_map(|_| case.lets_pass(HOUR - 100_000)).collect();
    assert_eq!(later[..4], (2..6).map(|n| format!("a InvalidHost Count({n})")).collect::<Vec<_>>());
}

#[test]
fn what_is_gone_in_a_moment_is_never_told() {
    let mut case = Case::new(&["a"]);
    case.tell(&[fault("a", "x")]);
    case.lets_pass(1_000);
    case.tell(&[]);
    assert!(case.lets_pass(HOUR).is_empty() && case.ledger.is_empty() && case.ledger.objects.is_empty());
}

#[test]
fn the_end_of_faults_is_told_and_taken_back() {
    let mut case = Case::new(&["a", "b"]);
    case.tell(&[fault("a", "x"), fault("a", "y"), fault("b", "x")]);
    assert_eq!(case.lets_pass(5_000).len(), 3);
    case.tell(&[fault("a", "y"), fault("b", "x")]);
    assert!(case.lets_pass(20_000).is_empty(), "one is left");
    case.tell(&[]);
    case.lets_pass(5_000);
    case.tell(&[fault("b", "x")]);
    assert_eq!(case.lets_pass(20_000), ["a Resolved Create"], "b had its own back");
    case.tell(&[fault("a", "y"), fault("b", "x")]);
    assert_eq!(case.lets_pass(400_000).len(), 1 + 1, "both again, not sooner than after five minutes");
    case.tell(&[fault("b", "x")]);
    assert_eq!(case.lets_pass(HOUR / 2), ["a Resolved Count(2)"]);
    // An Ingress that is not ours any more has no faults for us, and nothing is said of it.
    case.served = false;
    case.tell(&[]);
    assert!(case.lets_pass(HOUR / 4).is_empty());
    case.lets_pass(3 * HOUR);
    assert!(case.ledger.is_empty() && case.ledger.objects.is_empty(), "{:?}", case.ledger);
}

#[test]
fn another_object_of_the_same_name_is_told_anew() {
    let mut case = Case::new(&["a"]);
    case.tell(&[fault("a", "x")]);
    assert_eq!(case.lets_pass(5_000), ["a InvalidHost Create"]);
    case.put("a", "u2");
    case.tell(&[fault("a", "x")]);
    assert_eq!(case.lets_pass(5_000), ["a InvalidHost Create"]);
    case.store.remove(&key("a"));
    case.tell(&[]);
    assert!(case.lets_pass(HOUR).is_empty() && case.ledger.is_empty());
}

#[test]
fn what_the_api_says_is_followed() {
    let mut case = Case::new(&["a"]);
    case.tell(&[fault("a", "x")]);
    let exists = |write: &EventWrite| if write.deed == Deed::Create { Outcome::Exists } else { taken(write) };
    assert_eq!(case.until(5_000, exists), ["a InvalidHost Create", "a InvalidHost Adopt"]);
    let expired = |write: &EventWrite| if write.deed == Deed::Create { taken(write) } else { Outcome::Gone };
    assert_eq!(case.until(3_100_000, expired), ["a InvalidHost Count(6)", "a InvalidHost Create"]);
    let mut gone = Case::new(&["a"]);
    gone.tell(&[fault("a", "x")]);
    assert_eq!(gone.until(60_000, |_| Outcome::Gone).len(), 1, "its namespace is being deleted");
    let mut busy = Case::new(&["a"]);
    busy.tell(&[fault("a", "x")]);
    let tries = busy.until(60_000, |_| Outcome::Again { after_ms: Some(10_000) }).len();
    assert_eq!(tries, 6);
    assert_eq!(busy.lets_pass(60_000).len(), 1);
}

#[test]
fn one_object_has_twenty_events_and_the_number_of_the_others() {
    let mut case = Case::new(&["a"]);
    let many: Vec<Problem> = (0..100).map(|n| fault("a", &n.to_string())).collect();
    case.tell(&many);
    let written = case.lets_pass(5_000);
    assert_eq!((written.len(), case.ledger.held_back()), (EVENTS_PER_OBJECT_MAX, 81));
    assert_eq!(written.iter().filter(|text| text.contains("MoreProblems")).count(), 1);
    // Others of the same object have its bucket to share.
    let mut total = 0;
    for round in 0..60 {
        let others: Vec<Problem> = (0..19).map(|n| fault("a", &format!("{round} {n}"))).collect();
        case.tell(&others);
        total += case.lets_pass(10_000).len();
    }
    assert!(total <= 20 + 10 + 1 && case.ledger.deferred() > 0, "{total} in ten minutes");
}

#[test]
fn a_thousand_that_flap_are_bounded_and_told_in_the_end() {
    let names: Vec<String> = (0..1_000).map(|n| format!("i{n}")).collect();
    let mut case = Case::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<Problem> = names.iter().map(|name| fault(name, "x")).collect();
    let mut written = 0;
    for _ in 0..60 {
        case.tell(&all);
        written += case.lets_pass(5_000).len();
        case.tell(&[]);
        written += case.lets_pass(5_000).len();
    }
    // Once for each at first, and then once in five minutes.
    assert!((1_000..=3_000).contains(&written), "{written}");
    case.tell(&all);
    case.lets_pass(HOUR / 2);
    assert!(case.ledger.entries.values().filter(|e| e.reason != RESOLVED).all(|e| matches!(e.shown, Shown::Times(..))));
    assert_eq!(case.ledger.waiting(), 0);
}

#[test]
fn the_table_has_an_end_and_what_waits_gets_in() {
    let names: Vec<String> = (0..EVENTS_MAX + 50).map(|n| format!("i{n:05}")).collect();
    let mut case = Case::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<Problem> = names.iter().map(|name| fault(name, "x")).collect();
    case.tell(&all);
    assert_eq!((case.ledger.len(), case.ledger.held_back()), (EVENTS_MAX, 50));
    assert_eq!(case.lets_pass(5_000).len(), EVENTS_MAX);
    case.tell(&all[100..]);
    // The good word of those that are mended, as far as the table has room for it.
    assert!((50..=100).contains(&case.lets_pass(20_000).len()));
    case.tell(&all[100..]);
    assert_eq!((case.ledger.len(), case.ledger.held_back()), (EVENTS_MAX, 0));
    assert!(case.lets_pass(5_000).iter().filter(|text| text.contains("InvalidHost")).count() == 50);
}
