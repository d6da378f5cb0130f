//! `sluice-apiserver`, the program: its files, its commands and its port in the clear.

use lb_tests::agent::binary;
use lb_tests::kubectl::Kubectl;
use lb_tests::scratch::Scratch;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

#[test]
fn the_program_takes_commands() {
    let files = Scratch::new();
    let config = files.path().join("kubeconfig");
    std::fs::create_dir(files.path().join("objects")).expect("our own directory");
    files.write("objects/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let list = r#"{"kind": "List", "items": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "x"}}]}"#;
    files.write("objects/b.json", list);
    let mut child = Command::new(binary("sluice-apiserver"))
        .args(["--plain", "127.0.0.1:0", "--kubeconfig"])
        .arg(&config)
        .arg("--directory")
        .arg(files.path().join("objects"))
        .arg("load 20 100 class=c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`cargo build -p lb-tests` makes it");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    let said: Vec<String> = lines.by_ref().take_while(|line| line != "ready").collect();
    let plain = said.last().and_then(|line| line.strip_prefix("plain ")).expect("the port in the clear").to_owned();
    assert_eq!(said[4..6], ["ok 2", "ok"], "{said:?}");
    let kubectl = Kubectl::new(&config);
    assert_eq!(kubectl.ok(&["get", "ing", "-A", "-o", "name"]).lines().count(), 20);

    let mut commands = child.stdin.take().expect("it is piped");
    let mut say = |command: &str| {
        writeln!(commands, "{command}").expect("it reads");
        lines.next().expect("an answer")
    };
    for (command, want) in [
        ("refuse 1 500 list ingresses", "ok"),
        ("get svc x s", "ok {"),
        ("get thing x s", "error no such kind: thing"),
        ("delete cm default a", "ok"),
        ("delete cm default a", "error not found"),
        (r#"put {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}"#, "ok 1"),
        ("put /nowhere", "error /nowhere"),
        ("hang on", "ok"),
        ("hang perhaps", "error perhaps is neither on nor off"),
        ("nonsense", "error no such command: nonsense"),
        ("calls", r#"ok [{"code":200,"group":"networking.k8s.io","name":"","namespace":"","resource":"ingresses""#),
    ] {
        let got = say(command);
        assert!(got.starts_with(want), "{command}: {got}");
    }
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-sS", "--max-time", "5"]).args(arguments).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let map = format!("{plain}/api/v1/namespaces/default/configmaps/b");
    let patch =
        ["-X", "PATCH", "-H", "Content-Type: application/merge-patch+json", "-d", r#"{"data":{"x":"y"}}"#, &map];
    assert!(curl(&patch).contains(r#""data":{"x":"y"}"#), "the port in the clear does not hang");
    assert_eq!(curl(&[&format!("{plain}/readyz")]), "ok");
    assert_eq!(say("hang off"), "ok");
    let refused = kubectl.run(&["get", "ing", "-A"]);
    assert!(!refused.status.success(), "the next list is refused");
    drop(commands);
    assert!(child.wait().expect("it ends with its input").success());
}
