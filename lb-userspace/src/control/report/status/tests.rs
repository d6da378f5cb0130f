//! Which statuses are written when, and a property: whatever happens, what is not ours stays, and peace comes.

use super::*;
use crate::control::object::Object;
use lb_core::model::Kind;
use proptest::prelude::*;
use serde_json::json;

/// A cluster of one kind, with the statuses under test.
#[derive(Default)]
struct Case {
    store: Store,
    statuses: Statuses,
    version: u64,
    now: u64,
    writes: usize,
}

fn key(name: &str) -> Arc<ObjectRef> {
    Arc::new(ObjectRef::new(Kind::Ingress, "n", name))
}

fn list(ips: &[&str]) -> Arc<[Address]> {
    ips.iter().map(|ip| Address::Ip(ip.parse().expect("an address"))).collect()
}

impl Case {
    fn new(wanted: &[&str]) -> Self {
        let mut case = Self::default();
        case.statuses.want(list(wanted), 0);
        case
    }

    /// Somebody writes an Ingress with a status.
    fn put(&mut self, name: &str, ips: &[&str]) {
        self.version += 1;
        let entries: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let ingress = json!({"metadata": {"namespace": "n", "name": name, "resourceVersion": self.version.to_string()},
            "status": {"loadBalancer": {"ingress": entries}}});
        self.store.upsert(Object::Ingress(Arc::new(serde_json::from_value(ingress).expect("an Ingress"))));
    }

    fn serve(&mut self, names: &[&str]) {
        self.statuses.serve(names.iter().map(|name| key(name)).collect(), &self.store, self.now);
        self.statuses.observe_all(&self.store, self.now);
    }

    fn seen(&self, name: &str) -> Vec<Address> {
        self.store.ingress(&key(name)).map(|(_, ingress)| address::seen(ingress)).unwrap_or_default()
    }

    /// Does one write that is due, as the API would.
    fn write(&mut self) -> Option<(String, usize)> {
        let write = self.statuses.next(self.now)?;
        let held = self.store.ingress(&write.object).map(|(_, ingress)| ingress.metadata.resource_version.clone());
        let outcome = match held {
            None => Outcome::Gone,
            Some(version) if version.as_deref() != write.version.as_deref() => Outcome::Conflict,
            Some(_) => {
                let texts: Vec<String> =
                    write.addresses.iter().map(|a| a.entry()["ip"].as_str().unwrap_or("").to_owned()).collect();
                self.put(&write.object.name, &texts.iter().map(String::as_str).collect::<Vec<_>>());
                Outcome::Done { version: self.version.to_string().into(), count: 1 }
            }
        };
        self.statuses.done(&write, &outcome, self.now);
        self.writes += 1;
        Some((write.object.name.to_string(), write.addresses.len()))
    }
}

#[test]
fn what_is_as_wanted_is_not_written() {
    let mut case = Case::new(&["10.0.0.1", "10.0.0.2"]);
    case.put("same", &["10.0.0.2", "10.0.0.1"]);
    case.put("empty", &[]);
    case.put("other", &["10.9.9.9"]);
    case.put("foreign", &["10.9.9.9"]);
    case.serve(&["same", "empty", "other"]);
    let mut written = [case.write(), case.write()];
    written.sort();
    assert_eq!(written, [Some(("empty".to_owned(), 2)), Some(("other".to_owned(), 2))]);
    assert_eq!((case.write(), case.statuses.due_ms()), (None, None));
    // The watch tells of our own writes.
    case.serve(&["same", "empty", "other"]);
    assert_eq!(case.write(), None);
    assert_eq!(case.seen("foreign"), list(&["10.9.9.9"]).to_vec());
}

#[test]
fn what_was_ours_is_taken_back_when_it_is_exactly_ours() {
    let mut case = Case::new(&["10.0.0.1"]);
    for name in ["mine", "taken"] {
        case.put(name, &["10.0.0.1"]);
    }
    case.put("never", &["10.0.0.1"]);
    case.serve(&["mine", "taken"]);
    // Another controller took one over, and wrote before we saw it.
    case.put("taken", &["10.7.7.7"]);
    case.serve(&[]);
    assert_eq!(case.write(), Some(("mine".to_owned(), 0)));
    assert_eq!(case.write(), None);
    assert!(case.seen("mine").is_empty());
    assert_eq!((case.seen("taken"), case.seen("never")), (list(&["10.7.7.7"]).to_vec(), list(&["10.0.0.1"]).to_vec()));
    assert!(case.statuses.known.is_empty(), "{:?}", case.statuses.known);
}

#[test]
fn clearing_takes_all_back() {
    let mut case = Case::new(&["10.0.0.1"]);
    case.put("a", &["10.0.0.1"]);
    case.put("b", &["10.8.8.8"]);
    case.serve(&["a", "b"]);
    case.statuses.clear(0);
    assert_eq!(case.write(), Some(("a".to_owned(), 0)));
    assert_eq!((case.write(), case.statuses.waiting()), (None, 0));
}

#[test]
fn no_addresses_take_back_ours_alone() {
    let mut case = Case::new(&["10.0.0.1"]);
    case.put("a", &["10.0.0.1"]);
    case.put("b", &[]);
    case.serve(&["a", "b"]);
    assert_eq!(case.write(), Some(("b".to_owned(), 1)));
    case.put("b", &["10.8.8.8"]);
    case.statuses.want(Arc::default(), 0);
    case.serve(&["a", "b"]);
    assert_eq!((case.write(), case.write()), (Some(("a".to_owned(), 0)), None));
}

#[test]
fn an_older_state_after_a_write_is_not_believed() {
    let mut case = Case::new(&["10.0.0.1"]);
    case.put("a", &[]);
    case.serve(&["a"]);
    let old = case.store.ingress(&key("a")).map(|(_, ingress)| ingress.clone()).expect("there");
    assert_eq!(case.write(), Some(("a".to_owned(), 1)));
    case.statuses.observe(&key("a"), Some(&old), 10);
    assert_eq!(case.statuses.due_ms(), None);
    // But whoever takes it out again later is answered, more and more slowly.
    let mut gaps = Vec::new();
    for _ in 0..12 {
        case.put("a", &[]);
        let before = case.now;
        case.statuses.observe_all(&case.store, case.now);
        case.now = case.statuses.due_ms().expect("written again");
        gaps.push(case.now - before);
        assert_eq!(case.write(), Some(("a".to_owned(), 1)));
    }
    assert!(gaps.is_sorted() && gaps[0] == GAP_MS_MIN && gaps[11] == GAP_MS_MAX, "{gaps:?}");
}

#[test]
fn failures_are_tried_again_and_gone_objects_are_not() {
    let mut case = Case::new(&["10.0.0.1"]);
    case.put("a", &[]);
    case.serve(&["a"]);
    for (outcome, due) in [
        (Outcome::Again { after_ms: Some(7_000) }, 7_000..=7_000),
        (Outcome::Again { after_ms: None }, 500..=2_000),
        (Outcome::Conflict, 500..=4_000),
        (Outcome::Refused, REFUSED_MS..=REFUSED_MS),
        (Outcome::Cut, 0..=0),
    ] {
        let write = case.statuses.next(case.now).expect("due");
        case.statuses.done(&write, &outcome, case.now);
        let after = case.statuses.due_ms().expect("again") - case.now;
        assert!(due.contains(&after), "{outcome:?}: {after}");
        case.now += after;
    }
    let write = case.statuses.next(case.now).expect("due");
    case.statuses.done(&write, &Outcome::Gone, case.now);
    assert_eq!(case.statuses.due_ms(), None);
    case.store.remove(&key("a"));
    case.serve(&[]);
    assert!(case.statuses.known.is_empty());
}

#[derive(Debug, Clone)]
enum Deed {
    Put(usize, usize),
    Remove(usize),
    Serve(Vec<bool>),
    Want(usize),
    Write,
    Wait(u64),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LISTS: [&[&str]; 4] = [&[], &["10.0.0.1"], &["10.0.0.1", "10.0.0.2"], &["10.5.5.5"]];

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => (0..4_usize, 0..4_usize).prop_map(|(name, list)| Deed::Put(name, list)),
        1 => (0..4_usize).prop_map(Deed::Remove),
        1 => proptest::collection::vec(any::<bool>(), 4).prop_map(Deed::Serve),
        1 => (0..3_usize).prop_map(Deed::Want),
        4 => Just(Deed::Write),
        2 => (0..20_000_u64).prop_map(Deed::Wait),
    ]
}

proptest! {
    #[test]
    fn peace_comes_and_nobody_else_is_touched(deeds in proptest::collection::vec(deed(), 1..80)) {
        let mut case = Case::new(LISTS[1]);
        let (mut served, mut wanted) = (Vec::new(), 1);
        case.put("foreign", LISTS[1]);
        for deed in deeds {
            match deed {
                Deed::Put(name, list) => case.put(NAMES[name], LISTS[list]),
                Deed::Remove(name) => case.store.remove(&key(NAMES[name])),
                Deed::Serve(which) => {
                    served = NAMES.into_iter().zip(which).filter(|(_, yes)| *yes).map(|(name, _)| name).collect();
                }
                Deed::Want(list) => {
                    wanted = list;
                    case.statuses.want(list_of(list), case.now);
                }
                Deed::Write => drop(case.write()),
                Deed::Wait(ms) => case.now += ms,
            }
            served.retain(|name| case.store.ingress(&key(name)).is_some());
            let names = served.clone();
            case.serve(&names);
        }
        let before = case.writes;
        while let Some(due) = case.statuses.due_ms() {
            case.now = case.now.max(due);
            case.write();
            case.serve(&served.clone());
            prop_assert!(case.writes < before + 20, "no peace");
        }
        prop_assert_eq!(case.seen("foreign"), list_of(1).to_vec());
        for name in &served {
            if wanted > 0 {
                prop_assert_eq!(case.seen(name), list_of(wanted).to_vec(), "{}", name);
            }
        }
        prop_assert!(case.statuses.known.keys().all(|name| served.contains(&&*name.name)));
    }
}

fn list_of(index: usize) -> Arc<[Address]> {
    list(LISTS[index])
}
