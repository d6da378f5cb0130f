//! Who holds a name in the store, and for how long.

use super::super::source::manifest;
use super::*;

fn objects(names: &[&str]) -> Vec<(Object, u32)> {
    let document = |name: &&str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let text: Vec<String> = names.iter().map(document).collect();
    manifest::read(&"x.yaml".into(), text.join("---\n").as_bytes()).entries
}

fn file_of(store: &Store, name: &str) -> Option<String> {
    let stored = store.get(&ObjectRef::new(Kind::ConfigMap, "default", name))?;
    Some(stored.place.as_ref().map_or("api".to_owned(), |place| place.file.to_string()))
}

#[test]
fn the_first_file_by_name_holds_an_object() {
    let (a, b): (Arc<str>, Arc<str>) = ("a.yaml".into(), "b.yaml".into());
    let mut store = Store::default();
    store.replace_file(&b, objects(&["x", "y"]));
    assert_eq!(file_of(&store, "x").as_deref(), Some("b.yaml"));
    assert!(store.problems().is_empty());
    store.replace_file(&a, objects(&["x"]));
    assert_eq!(file_of(&store, "x").as_deref(), Some("a.yaml"));
    assert_eq!(store.len(), 2);
    let problems = store.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place.as_ref().map(|p| &*p.file), Some("b.yaml"));
    store.replace_file(&a, []);
    assert_eq!(file_of(&store, "x").as_deref(), Some("b.yaml"));
    assert!(store.problems().is_empty());
    store.replace_file(&b, []);
    assert!(store.is_empty());
}

#[test]
fn the_first_document_of_a_file_holds_an_object() {
    let mut store = Store::default();
    store.replace_file(&"a.yaml".into(), objects(&["x", "x", "x"]));
    assert_eq!((store.len(), store.problems().len()), (1, 2));
    let held = store.get(&ObjectRef::new(Kind::ConfigMap, "default", "x")).and_then(|s| s.place.as_ref());
    assert_eq!(held.map(|place| place.line), Some(1));
    store.replace_file(&"a.yaml".into(), []);
    assert!(store.is_empty());
}

#[test]
fn objects_of_an_api_come_and_go_by_name() {
    let mut store = Store::default();
    let key = ObjectRef::new(Kind::ConfigMap, "default", "x");
    for (object, _) in objects(&["x", "y"]) {
        store.upsert(object);
    }
    for (object, _) in objects(&["x"]) {
        store.upsert(object);
    }
    assert_eq!((store.len(), store.problems().len()), (2, 0));
    store.remove(&key);
    store.remove(&key);
    assert_eq!((store.len(), file_of(&store, "y").as_deref()), (1, Some("api")));
}

#[test]
fn the_next_change_of_a_certificate_is_known() {
    let mut parameters = rcgen::CertificateParams::new(vec!["a.com".to_owned()]).expect("a name");
    parameters.not_before = rcgen::date_time_ymd(2030, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = parameters.self_signed(&key).expect("a certificate").pem();
    let data = [("tls.crt", pem), ("tls.key", key.serialize_pem())]
        .map(|(name, text)| (name.to_owned(), k8s_openapi::ByteString(text.into_bytes())));
    let mut secret = Secret { data: Some(data.into()), ..Secret::default() };
    secret.metadata.name = Some("s".to_owned());
    let mut store = Store::default();
    store.upsert(Object::Secret(Arc::new(secret)));
    assert_eq!(store.certificates_change_at_s(0), None, "nobody asked for it yet");
    assert!(store.certificate(&ObjectRef::new(Kind::Secret, "default", "s")).is_some_and(Result::is_ok));
    let (begin, end) = (1_893_456_000, 1_924_992_000);
    for (now_s, want) in [(0, Some(begin)), (begin, Some(end + 1)), (end, Some(end + 1)), (end + 1, None)] {
        assert_eq!(store.certificates_change_at_s(now_s), want, "{now_s}");
    }
}
