//! The bound over everything, pauses, and addresses that settle.

use super::*;
use crate::config::{Objects, Report};
use crate::control::object::Object;
use lb_core::Problem;
use lb_core::problem::Severity;
use serde_json::{Value, json};

fn settings(report: Report) -> Settings {
    Settings::new(report, &Objects::default())
}

fn fixed() -> Report {
    Report { addresses: vec!["203.0.113.1".to_owned()], ..Report::default() }
}

fn ingresses(count: usize) -> (Store, Vec<Arc<ObjectRef>>) {
    let mut store = Store::default();
    for n in 0..count {
        let value =
            json!({"metadata": {"namespace": "n", "name": format!("i{n}"), "uid": "u", "resourceVersion": "1"}});
        store.upsert(Object::Ingress(Arc::new(serde_json::from_value(value).expect("an Ingress"))));
    }
    let served = store.ingresses().map(|(key, _)| key.clone()).collect();
    (store, served)
}

fn problems(served: &[Arc<ObjectRef>]) -> Vec<Problem> {
    let problem = |object: &Arc<ObjectRef>| Problem {
        severity: Severity::Fault,
        object: ObjectRef::clone(object),
        place: None,
        field: String::new(),
        reason: "InvalidHost",
        message: "x".to_owned(),
        remedy: "y".to_owned(),
    };
    served.iter().map(problem).collect()
}

/// Runs the desk for a time; answers how many statuses and Events were written.
fn run(desk: &mut Desk, from_ms: u64, to_ms: u64, outcome: impl Fn(&Write) -> Outcome) -> (usize, usize) {
    let (mut now, mut counts) = (from_ms, (0, 0));
    while now < to_ms {
        match desk.next(now) {
            Next::Write(write) => {
                match write {
                    Write::Status(_) => counts.0 += 1,
                    Write::Event(_) => counts.1 += 1,
                }
                let outcome = outcome(&write);
                desk.done(&write, &outcome, now);
            }
            Next::Wait(until) => {
                let until = until.unwrap_or(to_ms);
                assert!(until > now, "it waits for what is over");
                now = until;
            }
        }
    }
    counts
}

fn taken(_: &Write) -> Outcome {
    Outcome::Done { version: "2".into(), count: 1 }
}

#[test]
fn everything_together_is_bounded_and_both_kinds_come_through() {
    let (store, served) = ingresses(1_000);
    let problems = problems(&served);
    let mut desk = Desk::new(settings(fixed()), 0);
    desk.tell(State { store: &store, served, problems: &problems, ready: true }, 0);
    let (statuses, events) = run(&mut desk, 0, 10_000, taken);
    assert!((248..=250).contains(&(statuses + events)), "burst and rate: {statuses} and {events}");
    assert!(events >= 30, "{events}");
    let more = run(&mut desk, 10_000, 120_000, taken);
    assert_eq!((statuses + more.0, events + more.1), (1_000, 1_000));
    assert_eq!((desk.counters().done(Subject::Status), desk.counters().events_waiting), (1_000, 0));
    assert!(desk.counters().throttled > 0);
}

/// Told after every translation, so it must cost little beside one (2 ms when one Ingress of 10,000 changed).
#[test]
fn a_change_among_ten_thousand_costs_little() {
    let (mut store, served) = ingresses(10_000);
    let problems = problems(&served[..1_000]);
    let mut desk = Desk::new(settings(fixed()), 0);
    desk.tell(State { store: &store, served: served.clone(), problems: &problems, ready: true }, 0);
    let mut times: Vec<std::time::Duration> = Vec::new();
    for round in 0..21 {
        let value =
            json!({"metadata": {"namespace": "n", "name": "i77", "uid": "u", "resourceVersion": round.to_string()}});
        store.upsert(Object::Ingress(Arc::new(serde_json::from_value(value).expect("an Ingress"))));
        let served: Vec<Arc<ObjectRef>> = store.ingresses().map(|(key, _)| key.clone()).collect();
        let began = std::time::Instant::now();
        desk.tell(State { store: &store, served, problems: &problems, ready: true }, 1);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!("median {:?}, longest {:?}", times[10], times[20]);
    // Without optimisation, on a machine that does other things.
    assert!(times[10] < std::time::Duration::from_millis(50), "{times:?}");
}

#[test]
fn an_unfinished_state_is_not_looked_at() {
    let (store, served) = ingresses(3);
    let mut desk = Desk::new(settings(fixed()), 0);
    desk.tell(State { store: &store, served: served.clone(), problems: &[], ready: false }, 0);
    assert_eq!(desk.next(0), Next::Wait(None));
    desk.tell(State { store: &store, served, problems: &[], ready: true }, 0);
    assert!(matches!(desk.next(0), Next::Write(_)));
    desk.stop();
    assert_eq!(desk.next(0), Next::Wait(None));
}

#[test]
fn an_api_in_trouble_is_left_alone() {
    let (store, served) = ingresses(100);
    let mut desk = Desk::new(settings(fixed()), 0);
    desk.tell(State { store: &store, served, problems: &[], ready: true }, 0);
    let (tries, _) = run(&mut desk, 0, 600_000, |_| Outcome::Again { after_ms: None });
    assert!((10..40).contains(&tries), "{tries} tries in ten minutes");
    let (tries, _) = run(&mut desk, 600_000, 660_000, |_| Outcome::Again { after_ms: Some(30_000) });
    assert!(tries <= 3, "{tries}");
    assert_eq!(run(&mut desk, 700_000, 760_000, taken).0, 100, "it makes up for it");
}

#[test]
fn a_missing_right_is_not_asked_for_all_the_time() {
    let (store, served) = ingresses(1_000);
    let mut desk = Desk::new(settings(fixed()), 0);
    desk.tell(State { store: &store, served, problems: &[], ready: true }, 0);
    let (tries, _) = run(&mut desk, 0, 600_000, |_| Outcome::Refused);
    assert!(tries <= 110, "{tries} tries in ten minutes");
}

fn upsert(store: &mut Store, value: Value) {
    let object = match value["kind"].as_str() {
        Some("Node") => Object::Node(Arc::new(serde_json::from_value(value).expect("a Node"))),
        _ => Object::EndpointSlice(Arc::new(serde_json::from_value(value).expect("a slice"))),
    };
    store.upsert(object);
}

fn agents(nodes: &[u8]) -> Value {
    let endpoints: Vec<Value> =
        nodes.iter().map(|n| json!({"addresses": ["10.0.0.1"], "nodeName": format!("n{n}")})).collect();
    json!({"kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"namespace": "lb", "name": "s", "labels": {"kubernetes.io/service-name": "agents"}}})
}

#[test]
fn a_restart_of_an_agent_changes_no_status() {
    let (mut store, served) = ingresses(5);
    for n in [1, 2] {
        let address = json!([{"type": "InternalIP", "address": format!("10.0.0.{n}")}]);
        let status = json!({"addresses": address, "conditions": [{"type": "Ready", "status": "True"}]});
        upsert(&mut store, json!({"kind": "Node", "metadata": {"name": format!("n{n}")}, "status": status}));
    }
    let agents_of = Some("lb/agents".parse().expect("a name"));
    let report = Report { nodes: true, agents: agents_of, ..Report::default() };
    let mut desk = Desk::new(Settings { node: Some("n1".to_owned()), ..settings(report) }, 0);
    let tell = |desk: &mut Desk, store: &mut Store, nodes: &[u8], at: u64| {
        upsert(store, agents(nodes));
        desk.tell(State { store, served: served.clone(), problems: &[], ready: true }, at);
    };
    tell(&mut desk, &mut store, &[1, 2], 0);
    assert_eq!(run(&mut desk, 0, 1_000, taken), (5, 0), "the first addresses are there at once");
    assert!(desk.others_are_ready());
    tell(&mut desk, &mut store, &[1], 1_000);
    assert!(!desk.others_are_ready());
    assert_eq!(run(&mut desk, 1_000, 20_000, taken), (0, 0));
    tell(&mut desk, &mut store, &[1, 2], 20_000);
    assert_eq!(run(&mut desk, 20_000, 100_000, taken), (0, 0));
    tell(&mut desk, &mut store, &[2], 100_000);
    assert_eq!(run(&mut desk, 100_000, 129_999, taken), (0, 0));
    assert_eq!(run(&mut desk, 129_999, 131_000, taken), (5, 0));
}
