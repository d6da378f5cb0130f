//! Reviews by data. Whatever is asked, the store is afterwards what it was.

use super::*;
use lb_core::model::ObjectRef;

struct Case {
    store: Store,
    translator: Translator,
    objects: config::Objects,
}

fn spec(host: &str, path: &str) -> Value {
    json!({"rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]})
}

fn object(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec})
}

impl Case {
    fn new() -> Self {
        let mut case = Self { store: Store::default(), translator: Translator::default(), objects: Default::default() };
        let mut held = object("held", &spec("held.example", "/"));
        held["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        case.put(held);
        case
    }

    fn put(&mut self, value: Value) {
        let object = decode::object(Kind::Ingress, value, &mut Vec::new()).unwrap_or_else(|_| panic!("an Ingress"));
        self.store.upsert(object);
    }

    fn ask(&mut self, operation: &str, object: &Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "r-1",
            "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"}, "operation": operation,
            "namespace": "shop", "object": object}});
        let all = |store: &Store| store.ingresses().map(|(k, i)| (k.clone(), i.clone())).collect::<Vec<_>>();
        let before = all(&self.store);
        let body = serde_json::to_vec(&review).expect("JSON");
        let answer = super::review(&body, &mut self.store, &mut self.translator, &self.objects, |n| n == "shop", 0)
            .expect("answered");
        assert_eq!(all(&self.store), before);
        assert_eq!((&answer["kind"], &answer["response"]["uid"]), (&json!("AdmissionReview"), &json!("r-1")));
        answer["response"].clone()
    }

    fn check(&mut self, operation: &str, object: &Value, refused: &[&str], warned: &[&str]) {
        let response = self.ask(operation, object);
        assert_eq!(response["allowed"], refused.is_empty(), "{response}");
        let (message, warnings) = (response["status"]["message"].to_string(), response["warnings"].to_string());
        assert!(refused.iter().all(|word| message.contains(word)), "{refused:?} in {message}");
        assert!(warned.iter().all(|word| warnings.contains(word)), "{warned:?} in {warnings}");
    }
}

#[test]
fn what_would_be_a_fault_is_refused() {
    let mut case = Case::new();
    case.check("CREATE", &object("a", &spec("a.example", "/")), &[], &["web"]);
    case.check("CREATE", &object("a", &spec("a..example", "/")), &["InvalidHost", "spec.rules[0].host", "Remedy"], &[]);
    case.check("CREATE", &object("a", &spec("held.example", "/")), &["PathConflict"], &[]);
    case.check("UPDATE", &object("held", &spec("held.example", "/new")), &[], &[]);
    case.check("UPDATE", &object("held", &spec("a..example", "/")), &["InvalidHost"], &[]);
    let mut other = object("a", &spec("a..example", "/"));
    other["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "nginx"});
    assert_eq!(case.ask("CREATE", &other), json!({"uid": "r-1", "allowed": true}), "nothing is said of it");
    other["metadata"] = json!({"generateName": "a-"});
    case.check("CREATE", &other, &["InvalidHost"], &[]);
    case.check("DELETE", &Value::Null, &[], &[]);
    case.check("CREATE", &json!({"metadata": {"name": "a"}, "spec": {"rules": 7}}), &[], &[]);
}

#[test]
fn what_was_wrong_before_may_stay_so() {
    let mut case = Case::new();
    case.put(object("bad", &spec("a..example", "/")));
    let mut labelled = object("bad", &spec("a..example", "/"));
    labelled["metadata"]["labels"] = json!({"a": "b"});
    case.check("UPDATE", &labelled, &[], &[]);
    case.check("UPDATE", &object("bad", &spec("c..example", "/")), &["InvalidHost"], &[]);
    assert!(case.store.ingress(&ObjectRef::new(Kind::Ingress, "shop", "bad")).is_some());
}

#[test]
fn a_refusal_stays_short() {
    let mut case = Case::new();
    let rules: Vec<Value> = (0..5_000).map(|n| json!({"host": format!("{n}..example")})).collect();
    let response = case.ask("CREATE", &object("a", &json!({ "rules": rules })));
    let message = response["status"]["message"].as_str().expect("refused");
    assert!(message.len() < 10_000 && message.contains("more."), "{message}");
}

#[test]
fn what_is_no_review_is_said_to_be_none() {
    let mut case = Case::new();
    let mut ask = |body: &[u8]| super::review(body, &mut case.store, &mut case.translator, &case.objects, |_| true, 0);
    for body in [&b""[..], b"{}", b"[]", b"null", b"{\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{}}"] {
        assert!(matches!(ask(body), Err(InvalidReview::Unreadable(_))));
    }
    assert_eq!(ask(&vec![b' '; REVIEW_BYTES_MAX + 1]), Err(InvalidReview::TooLarge));
}
