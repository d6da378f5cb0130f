//! Watching real directories: which states are told, in which order, and which are never seen.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};

/// Names of the Ingresses' hosts, after each change.
fn start_in(root: &Path) -> (Watch, Receiver<String>) {
    let (sender, receiver) = channel();
    let watch = start(root, &config::Objects::default(), move |store, problems| {
        let names: Vec<String> = store.ingresses().map(|(key, _)| key.name.to_string()).collect();
        let faults = problems.iter().filter(|p| p.severity == Severity::Fault).count();
        let _ = sender.send(format!("{} {faults}", names.join(",")));
        None
    });
    (watch.expect("watched"), receiver)
}

/// The next state must be this one, well before the rescan would find it.
fn next(receiver: &Receiver<String>, want: &str) {
    assert_eq!(receiver.recv_timeout(RESCAN / 2).expect("a change"), want);
}

fn quiet(receiver: &Receiver<String>) {
    assert_eq!(receiver.recv_timeout(2 * SETTLE).ok(), None);
}

fn ingress(name: &str) -> String {
    format!("---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec: {{}}\n")
}

#[test]
fn edits_are_seen_and_half_written_files_are_not() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| root.path().join(name);
    fs::write(path("1.yaml"), ingress("a")).expect("written");
    let (watch, changes) = start_in(root.path());
    next(&changes, "a 0");

    fs::write(path(".2.yaml.swp"), ingress("b")).expect("written");
    fs::rename(path(".2.yaml.swp"), path("2.yaml")).expect("renamed");
    next(&changes, "a,b 0");

    // An editor that truncates and writes in pieces: no state between is seen.
    let mut file = fs::File::create(path("1.yaml")).expect("truncated");
    thread::sleep(SETTLE / 4);
    file.write_all(ingress("c").as_bytes()).expect("written");
    fs::write(path("3.yaml"), ingress("d")).expect("written");
    next(&changes, "a,b,d 0");
    thread::sleep(SETTLE / 4);
    file.write_all(ingress("e").as_bytes()).expect("written");
    drop(file);
    next(&changes, "b,c,d,e 0");

    fs::write(path("1.yaml"), "kind: [").expect("written");
    next(&changes, "b,c,d,e 1");
    fs::write(path("1.yaml"), "kind: [").expect("written");
    quiet(&changes);
    fs::remove_file(path("1.yaml")).expect("removed");
    next(&changes, "b,d 0");
    fs::write(path("2.yaml"), "").expect("written");
    next(&changes, "d 0");

    let before = Instant::now();
    drop(watch);
    assert!(before.elapsed() < SETTLE, "stopping takes no time");
    fs::write(path("9.yaml"), ingress("z")).expect("written");
    assert!(changes.recv().is_err(), "nothing is told after the stop");
}

#[test]
fn new_directories_and_links_are_watched() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| root.path().join(name);
    for (version, name) in [("..2026_1", "a"), ("..2026_2", "b")] {
        fs::create_dir(path(version)).expect("made");
        fs::write(path(version).join("1.yaml"), ingress(name)).expect("written");
    }
    symlink("..2026_1", path("..data")).expect("linked");
    symlink("..data/1.yaml", path("1.yaml")).expect("linked");
    let (_watch, changes) = start_in(root.path());
    next(&changes, "a 0");

    symlink("..2026_2", path("..data_tmp")).expect("linked");
    fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
    next(&changes, "b 0");

    fs::create_dir(path("sub")).expect("made");
    fs::write(path("sub/2.yaml"), ingress("c")).expect("written");
    next(&changes, "b,c 0");
    fs::write(path("sub/2.yaml"), ingress("d")).expect("written");
    next(&changes, "b,d 0");

    fs::write(elsewhere.path().join("target"), ingress("e")).expect("written");
    symlink(elsewhere.path().join("target"), path("3.yaml")).expect("linked");
    next(&changes, "b,d,e 0");
    fs::write(elsewhere.path().join("target"), ingress("f")).expect("written");
    next(&changes, "b,d,f 0");

    fs::rename(path("sub"), path(".sub")).expect("renamed");
    next(&changes, "b,f 0");
}
