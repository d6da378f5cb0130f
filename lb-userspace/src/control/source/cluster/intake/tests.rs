//! What watches tell, in all orders, and what is in the store then.

use super::*;
use crate::control::source::cluster::wire::{self, Event};
use serde_json::{Value, json};

const OBJECTS_MAX: usize = 100;

struct Case {
    intake: Intake,
}

fn scope(kind: Kind) -> Scope {
    Scope::of(Watched::Object(kind), None)
}

fn secrets() -> Scope {
    Scope { fields: "type=kubernetes.io/tls".to_owned(), ..scope(Kind::Secret) }
}

fn namespaces() -> Scope {
    Scope { labels: "x".to_owned(), ..Scope::of(Watched::Namespace, None) }
}

impl Case {
    fn new(selects: bool) -> Self {
        let mut intake = Intake::new(OBJECTS_MAX, selects);
        for scope in [scope(Kind::Ingress), scope(Kind::Service), secrets()] {
            intake.open(scope, true);
        }
        if selects {
            intake.open(namespaces(), true);
        }
        Self { intake }
    }

    fn event(&mut self, scope: &Scope, event: &str, object: Value) {
        let line = json!({"type": event, "object": object}).to_string();
        match wire::event(scope.watched, line.as_bytes()).expect("an event") {
            Event::Put(item) => self.intake.put(scope, item),
            Event::Gone { key, .. } => self.intake.gone(scope, &key),
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, scope: &Scope, object: Value) {
        self.event(scope, "MODIFIED", object);
    }

    fn list(&mut self, scope: &Scope, objects: Vec<Value>) {
        self.intake.begins(scope);
        objects.into_iter().for_each(|object| self.put(scope, object));
        self.intake.whole(scope);
    }

    /// What counts, of these kinds.
    fn check(&self, want: &[&str]) {
        let mut got: Vec<String> = Vec::new();
        let (store, known) = (self.intake.store(), self.intake.holds.values().flat_map(|hold| hold.held.keys()));
        for key in known.collect::<BTreeSet<_>>() {
            got.extend(store.get(key).map(|_| key.to_string()));
        }
        assert_eq!(got, want);
        assert_eq!(store.len(), want.len(), "nothing else is in the store");
    }

    fn changed(&mut self) -> bool {
        self.intake.take_changed() != Change::Nothing
    }
}

fn ingress(namespace: &str, name: &str, secret: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"tls": [{"secretName": secret}]}})
}

fn service(name: &str) -> Value {
    json!({"metadata": {"namespace": "n", "name": name, "resourceVersion": "1"}, "spec": {"ports": [{"port": 80}]}})
}

fn secret(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}})
}

#[test]
fn nothing_is_whole_before_everything_is() {
    let mut case = Case::new(false);
    for kind in [Kind::Ingress, Kind::Service] {
        case.list(&scope(kind), Vec::new());
        assert!(!case.intake.is_whole());
    }
    case.intake.open(scope(Kind::Node), false);
    case.list(&secrets(), Vec::new());
    assert!(case.intake.is_whole() && !case.intake.is_settled());
    assert!(case.changed() && !case.changed());
    case.intake.failed(&scope(Kind::Node), None);
    assert!(case.intake.is_settled());
}

#[test]
fn a_relist_takes_out_nothing_before_it_is_whole() {
    let (mut case, services) = (Case::new(false), scope(Kind::Service));
    case.list(&services, vec![service("a"), service("b"), service("c")]);
    case.intake.begins(&services);
    case.put(&services, service("b"));
    case.check(&["Service n/a", "Service n/b", "Service n/c"]);
    // It broke off, and another one begins.
    case.intake.begins(&services);
    case.put(&services, service("c"));
    case.put(&services, service("d"));
    case.check(&["Service n/a", "Service n/b", "Service n/c", "Service n/d"]);
    case.intake.whole(&services);
    case.check(&["Service n/c", "Service n/d"]);
    case.event(&services, "DELETED", service("c"));
    case.check(&["Service n/d"]);
    // Told twice, and of what was never there.
    case.event(&services, "DELETED", service("c"));
    case.event(&services, "DELETED", service("x"));
    case.check(&["Service n/d"]);
}

#[test]
fn what_is_as_it_was_is_no_change() {
    let (mut case, services) = (Case::new(false), scope(Kind::Service));
    case.list(&services, vec![service("a")]);
    case.changed();
    let mut same = service("a");
    same["metadata"]["resourceVersion"] = json!("2");
    same["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    same["status"] = json!({"loadBalancer": {}});
    case.put(&services, same.clone());
    case.list(&services, vec![same.clone()]);
    assert!(!case.changed());
    same["spec"]["ports"][0]["port"] = json!(81);
    case.put(&services, same);
    assert!(case.changed());
}

#[test]
fn a_status_alone_is_another_sort_of_change() {
    let (mut case, ingresses) = (Case::new(false), scope(Kind::Ingress));
    let mut object = ingress("n", "i", "s");
    case.put(&ingresses, object.clone());
    assert_eq!(case.intake.take_changed(), Change::Content);
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    object["metadata"]["resourceVersion"] = json!("2");
    let mark = case.intake.store().mark();
    case.put(&ingresses, object.clone());
    assert_eq!(case.intake.take_changed(), Change::Status);
    assert_eq!(case.intake.store().changes(&mark).map(Iterator::count), Some(1), "reporting hears of it");
    let key = ObjectRef::new(Kind::Ingress, "n", "i");
    let (_, stored) = case.intake.store().ingress(&key).expect("stored");
    assert!(stored.status.is_some() && stored.metadata.resource_version.as_deref() == Some("2"));
    object["spec"]["tls"][0]["secretName"] = json!("t");
    case.put(&ingresses, object);
    assert_eq!(case.intake.take_changed(), Change::Content);
}

#[test]
fn an_object_that_cannot_be_read_stays_as_it_was() {
    let (mut case, services) = (Case::new(false), scope(Kind::Service));
    case.list(&services, vec![service("a")]);
    let before = case.intake.store().service("n", "a").cloned();
    let mut bad = service("a");
    bad["spec"]["ports"][0]["port"] = json!("http");
    case.changed();
    case.list(&services, vec![bad.clone(), service("b")]);
    case.check(&["Service n/a", "Service n/b"]);
    assert_eq!(case.intake.store().service("n", "a").cloned(), before);
    let problems = case.intake.problems();
    assert_eq!((problems.len(), problems[0].reason), (1, reason::INVALID_FIELD), "{problems:?}");
    assert_eq!(problems[0].field, "spec.ports[0].port");
    assert!(case.changed());
    case.put(&services, bad.clone());
    assert!(!case.changed(), "nothing new");
    case.put(&services, service("a"));
    assert!(case.changed() && case.intake.problems().is_empty());
    case.put(&services, bad);
    case.event(&services, "DELETED", service("a"));
    assert!(case.intake.problems().is_empty());
    case.check(&["Service n/b"]);
}

#[test]
fn unknown_fields_are_told_to_owners_alone() {
    let mut case = Case::new(false);
    let mut object = ingress("n", "i", "s");
    object["spec"]["newer"] = json!(1);
    case.put(&scope(Kind::Ingress), object);
    let mut object = service("a");
    object["spec"]["newer"] = json!(1);
    case.put(&scope(Kind::Service), object);
    case.check(&["Ingress n/i", "Service n/a"]);
    let told: Vec<String> = case.intake.problems().iter().map(|p| format!("{} {}", p.object, p.field)).collect();
    assert_eq!(told, ["Ingress n/i spec.newer"]);
}

#[test]
fn secrets_count_while_they_are_named() {
    let (mut case, ingresses) = (Case::new(false), scope(Kind::Ingress));
    case.list(&secrets(), vec![secret("n", "s"), secret("n", "t"), secret("m", "s")]);
    assert!(case.changed());
    case.check(&[]);
    case.put(&secrets(), secret("n", "u"));
    assert!(!case.changed(), "nobody uses it");
    case.put(&ingresses, ingress("n", "i", "s"));
    case.check(&["Ingress n/i", "Secret n/s"]);
    case.put(&ingresses, ingress("n", "i", "t"));
    case.check(&["Ingress n/i", "Secret n/t"]);
    case.put(&ingresses, ingress("n", "j", "t"));
    case.event(&ingresses, "DELETED", ingress("n", "i", "t"));
    case.check(&["Ingress n/j", "Secret n/t"]);
    case.event(&ingresses, "DELETED", ingress("n", "j", "t"));
    case.check(&[]);
}

#[test]
fn secrets_that_are_missing_are_asked_for_one_by_one() {
    let (mut case, ingresses) = (Case::new(false), scope(Kind::Ingress));
    let missing = |case: &Case| case.intake.missing().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    case.list(&secrets(), vec![secret("n", "s")]);
    case.put(&ingresses, ingress("n", "i", "s"));
    case.put(&ingresses, ingress("n", "j", "opaque"));
    assert_eq!(missing(&case), ["Secret n/opaque"]);
    let one = Scope::one(Kind::Secret, Some("n"), "opaque");
    case.intake.open(one.clone(), false);
    case.list(&one, vec![json!({"metadata": {"namespace": "n", "name": "opaque"}, "type": "Opaque"})]);
    case.check(&["Ingress n/i", "Ingress n/j", "Secret n/opaque", "Secret n/s"]);
    assert_eq!(missing(&case), ["Secret n/opaque"], "it is watched as long as it is named");
    case.event(&secrets(), "DELETED", secret("n", "s"));
    assert_eq!(missing(&case), ["Secret n/opaque", "Secret n/s"]);
    case.event(&ingresses, "DELETED", ingress("n", "j", "opaque"));
    assert_eq!(missing(&case), ["Secret n/s"]);
    case.intake.close(&one);
    case.check(&["Ingress n/i"]);
    assert!(case.intake.aside.is_empty());
}

#[test]
fn namespaces_are_selected() {
    let (mut case, ingresses) = (Case::new(true), scope(Kind::Ingress));
    let namespace = |name: &str| json!({"metadata": {"name": name}});
    case.list(&ingresses, vec![ingress("n", "i", "s"), ingress("m", "i", "s")]);
    case.list(&secrets(), vec![secret("n", "s"), secret("m", "s")]);
    case.list(&scope(Kind::Service), vec![service("a")]);
    case.check(&[]);
    case.list(&namespaces(), vec![namespace("n")]);
    assert!(case.intake.is_whole());
    case.check(&["Ingress n/i", "Service n/a", "Secret n/s"]);
    case.put(&namespaces(), namespace("m"));
    case.check(&["Ingress m/i", "Ingress n/i", "Service n/a", "Secret m/s", "Secret n/s"]);
    // Its label is gone.
    case.event(&namespaces(), "DELETED", namespace("n"));
    case.check(&["Ingress m/i", "Secret m/s"]);
    case.list(&namespaces(), vec![namespace("n")]);
    case.check(&["Ingress n/i", "Service n/a", "Secret n/s"]);
}

#[test]
fn what_may_not_be_read_is_said_until_it_may() {
    let (mut case, services) = (Case::new(false), scope(Kind::Service));
    let key = ObjectRef::new(Kind::Service, "", "*");
    let denied = problem(Severity::Fault, &key, "", reason::FORBIDDEN, "no".to_owned(), "yes");
    case.intake.failed(&services, Some(denied.clone()));
    assert_eq!(case.intake.problems(), [denied]);
    assert!(case.changed());
    case.intake.works(&services);
    assert!(case.intake.problems().is_empty() && case.changed());
}

#[test]
fn there_is_a_limit() {
    let (mut case, services) = (Case::new(false), scope(Kind::Service));
    case.list(&services, (0..=OBJECTS_MAX).map(|i| service(&format!("s{i:03}"))).collect());
    assert_eq!(case.intake.store().len(), OBJECTS_MAX);
    let problems = case.intake.problems();
    assert_eq!(problems.iter().map(|p| p.reason).collect::<Vec<_>>(), [reason::TOO_MANY_OBJECTS]);
    case.put(&services, json!({"metadata": {"namespace": "n", "name": "s000"}, "spec": {"ports": [{"port": 81}]}}));
    assert_eq!(case.intake.problems().len(), 1, "those that are known can change");
}
