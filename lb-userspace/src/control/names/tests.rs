//! Names of Services are resolved, again and again, and no longer than some Service names them.

use super::super::reason;
use super::super::source::manifest;
use super::super::store::Store;
use super::*;
use lb_core::model::{Kind, ObjectRef};
use std::sync::mpsc::{Receiver, channel};

fn put(store: &mut Store, name: &str, external: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {external}}}\n"
    );
    manifest::read(&"x".into(), text.as_bytes()).entries.into_iter().for_each(|(object, _)| store.upsert(object));
}

/// Follows until something changed.
fn until_changed(names: &Names, store: &mut Store, woken: &Receiver<()>) {
    let _ = names.follow(store);
    woken.recv_timeout(Duration::from_secs(10)).expect("woken");
    assert!(names.follow(store), "there is something new");
}

#[test]
fn names_are_resolved_while_they_are_named() {
    let resolve = |name: &str| match name {
        "good.example" => Ok(vec![IpAddr::from([192, 0, 2, 1])]),
        "bad.example" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
        _ => Err("no such name".to_owned()),
    };
    let (sender, woken) = channel();
    // Nobody listens any more once the test is over.
    let wake = move || sender.send(()).unwrap_or_default();
    let names = Names::resolved_by(Box::new(resolve), &config::ExternalNames::default(), wake);
    let mut store = Store::default();
    for (name, external, count, refused, failing) in [
        ("a", "good.example", 1, false, false),
        ("b", "BAD.example.", 0, true, false),
        ("c", "none.example", 0, false, true),
    ] {
        put(&mut store, name, external);
        until_changed(&names, &mut store, &woken);
        let key = ObjectRef::new(Kind::Service, "default", name);
        let answer = store.answer(&key).expect("an answer");
        assert_eq!(
            (answer.addresses.len(), answer.refused.is_some(), answer.failing.is_some()),
            (count, refused, failing),
            "{external}"
        );
    }
    assert_eq!(names.shared.lock().names.len(), 3);
    ["a", "b", "c"].iter().for_each(|name| store.remove(&ObjectRef::new(Kind::Service, "default", *name)));
    assert!(!names.follow(&mut store));
    assert!(names.shared.lock().names.is_empty());
}

/// Whatever the machine's resolver answers for this machine, it is refused.
#[test]
fn the_resolver_of_the_system_works_and_leads_nowhere_near() {
    let answer = match system("localhost") {
        Ok(found) => Answer::of(found, &[]),
        Err(why) => Answer::failed(None, why, 0),
    };
    assert!(answer.addresses.is_empty(), "{answer:?}");
    assert!(system("no-such-host.invalid").is_err(), "RFC 6761 section 6.4");
}

/// A name of this machine: what comes of it is told without any file having changed.
#[test]
fn a_directory_is_translated_again_when_a_name_is_known() {
    const MANIFEST: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: ExternalName, externalName: localhost}\n---\n\
        apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {defaultBackend: {service: {name: s, port: {number: 80}}}}\n";
    let root = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(root.path().join("a.yaml"), MANIFEST).expect("written");
    let (sender, receiver) = channel();
    // Nobody listens any more once the test is over.
    let sink = move |translated: super::super::Translated| {
        let reasons: Vec<&str> = translated.problems.iter().map(|problem| problem.reason).collect();
        let endpoints: usize = translated.snapshot.services.iter().map(|service| service.endpoints.len()).sum();
        sender.send((reasons, endpoints)).unwrap_or_default();
    };
    let objects =
        config::Objects { external_names: Some(config::ExternalNames::default()), ..config::Objects::default() };
    let watch = super::super::watch_directory(root.path(), &objects, sink).expect("watched");
    let first = receiver.recv_timeout(Duration::from_secs(5)).expect("translated once");
    assert_eq!(first, (vec![reason::NO_ENDPOINTS], 0));
    let (reasons, endpoints) = receiver.recv_timeout(Duration::from_secs(60)).expect("translated again");
    let told = reasons.iter().any(|told| [reason::NAME_REFUSED, reason::NAME_UNRESOLVED].contains(told));
    assert!(told && endpoints == 0, "{reasons:?}");
    drop(watch);
}
