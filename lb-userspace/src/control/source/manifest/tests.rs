//! Texts of files, the objects that are read from them, and the Problems with line and field.

use super::*;

/// `object field line` of every Problem, and the keys of every object with its line.
fn check(file: &str, text: &[u8], entries: &[&str], problems: &[&str]) {
    let manifest = read(&file.into(), text);
    let got: Vec<_> = manifest.entries.iter().map(|(object, line)| format!("{}@{line}", object.key())).collect();
    assert_eq!(got, entries, "{manifest:#?}");
    let got: Vec<_> = manifest
        .problems
        .iter()
        .map(|p| format!("{}@{} {}", p.reason, p.place.as_ref().map_or(0, |p| p.line), p.field).trim_end().to_owned())
        .collect();
    assert_eq!(got, problems, "{:#?}", manifest.problems);
    for problem in &manifest.problems {
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
        assert!(!problem.message.contains('\n'), "{problem}");
        assert!(reason::ALL.contains(&problem.reason));
    }
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: 80\n")
}

#[test]
fn documents_and_lists() {
    let two = format!("# first\n---\n{}---\n{}", service("a"), service("b"));
    check("a.yaml", two.as_bytes(), &["Service default/a@2", "Service default/b@10"], &[]);
    let two = format!("\u{feff}{}", two.replace('\n', "\r\n"));
    check("a.yaml", two.as_bytes(), &["Service default/a@2", "Service default/b@10"], &[]);
    let list = b"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: b}\n";
    check("a.yaml", list, &["Service default/a@4"], &["KindNotRead@7 kind"]);
    let json = b"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\n\t\"metadata\":{\"name\":\"a\",\"namespace\":\"n\"}}\n{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}]}";
    check("a.json", json, &["Service n/a@1", "Node a@3"], &[]);
    check("a.json", b"{\"apiVersion\":\n1,}", &[], &["Syntax@2"]);
    check("a.yaml", b"---\nnull\n---\n~ # nothing\n", &[], &[]);
    check("a.yaml", b"", &[], &[]);
}

#[test]
fn one_bad_document_does_not_spoil_the_others() {
    let text = format!("{}---\nkind: [\n---\n{}", service("a"), service("b"));
    check("a.yaml", text.as_bytes(), &["Service default/a@1", "Service default/b@10"], &["Syntax@9"]);
}

#[test]
fn fields_are_named() {
    let ingress =
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: a\nspec:\n  rules:\n  - host: a.com\n";
    let text = format!(
        "{ingress}    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend: {{service: {{nme: x, port: {{number: http}}}}}}\n"
    );
    check("a.yaml", text.as_bytes(), &[], &["InvalidField@12 spec.rules[0].http.paths[0].backend.service.port.number"]);
    let text = format!("{ingress}    htp: {{}}\n");
    check("a.yaml", text.as_bytes(), &["Ingress default/a@1"], &["UnknownField@1 spec.rules[0].htp"]);
    let text = ingress.replace("  name: a", "  name: a\n  annotations:\n    x: true");
    check("a.yaml", text.as_bytes(), &[], &["InvalidField@6 metadata.annotations.x"]);
    let text = ingress.replace("host: a.com", "host: a.com\n    host: b.com");
    check("a.yaml", text.as_bytes(), &[], &["Syntax@8"]);
    let text = ingress.replace("Ingress\n", "Ingress\nspec: {}\n");
    check("a.yaml", text.as_bytes(), &[], &["Syntax@6"]);
}

#[test]
fn heads() {
    check("a.yaml", b"kind: Service\nmetadata: {name: a}", &[], &["Incomplete@1 apiVersion"]);
    check("a.yaml", b"apiVersion: v1\nmetadata: {name: a}", &[], &["Incomplete@1 kind"]);
    check("a.yaml", b"apiVersion: v1\nkind: Service", &[], &["Incomplete@1 metadata.name"]);
    check(
        "a.yaml",
        b"apiVersion: v1\nkind: Service\nmetadata: {name: \"a\\nb\"}",
        &[],
        &["InvalidName@1 metadata.name"],
    );
    let old = b"apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}";
    check("a.yaml", old, &[], &["UnsupportedVersion@1 apiVersion"]);
    let other = b"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}";
    check("a.yaml", other, &[], &["KindNotRead@1 kind"]);
    check("a.yaml", b"- a\n- b\n", &[], &["Syntax@1"]);
    check("a.yaml", b"{{ if .Values.x }}\n", &[], &["Syntax@1"]);
}

#[test]
fn hostile_text() {
    check("a.yaml", b"a: 1\nb: \xff\xfe", &[], &["NotText@2"]);
    check("a.yaml", b"kind: a\0b", &[], &["Syntax@1"]);
    check("a.yaml", b"a:\n\t- b", &[], &["Syntax@2"]);
    check("a.yaml", "[".repeat(100_000).as_bytes(), &[], &["Syntax@1"]);
    check("a.json", "[".repeat(100_000).as_bytes(), &[], &["Syntax@1"]);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    let manifest = read(&"a.yaml".into(), bomb.as_bytes());
    assert_eq!(manifest.problems.len(), 1, "{:#?}", manifest.problems);
    assert_eq!(manifest.problems[0].reason, reason::SYNTAX);
    assert!(manifest.entries.is_empty());
}

#[test]
fn string_data_wins() {
    let text = b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: YQ==, y: YQ==}\nstringData: {y: b}\n";
    let manifest = read(&"a.yaml".into(), text);
    let Some((Object::Secret(secret), _)) = manifest.entries.first() else { panic!("{manifest:?}") };
    let data = secret.data.as_ref().expect("data");
    assert_eq!((&data["x"].0[..], &data["y"].0[..]), (&b"a"[..], &b"b"[..]));
}

/// What both ways of reading say of a document: in one pass by its plain keys, and in two where a quoted key hides them.
fn both(text: &str) -> [Manifest; 2] {
    [text.to_owned(), text.replace("\nkind:", "\n\"kind\":")].map(|text| read(&"a.yaml".into(), text.as_bytes()))
}

#[test]
fn one_pass_over_a_document_says_what_two_say() {
    let check = |metadata: &str, rest: &str| {
        let text = format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {metadata}\n{rest}");
        let [one, two] = both(&text);
        assert_eq!(one, two, "{text}");
    };
    check("{name: a, namespace: b}", "spec: {rules: [{host: a.example}]}");
    check("{name: a}", "spec: {rules: [{hosts: a.example}], unheard: 1}");
    check("{name: a}", "spec: {rules: {}}");
    check("{name: a}", "spec: [");
    check("{name: a}", "kind: Service");
    check("{name: a}", "apiVersion: v1");
    check("{name: 1}", "");
    check("{name: A_b}", "");
    check("{name: a, namespace: ..}", "");
    check("{}", "");
    check("a", "");
    check("{name: a}", "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}");
}

#[test]
fn what_is_never_read_is_not_kept() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: a\n  annotations:\n    \
                kubectl.kubernetes.io/last-applied-configuration: '{}'\n    example.com/kept: 'yes'\n  managedFields:\n  \
                - manager: kubectl\nspec:\n  rules:\n  - host: a.example\n    http:\n      paths:\n      - path: /\n        \
                pathType: Prefix\n        backend: {service: {name: a, port: {number: 80}}}\n";
    for manifest in both(text) {
        assert_eq!(manifest.problems, []);
        let [(Object::Ingress(ingress), 1)] = manifest.entries.as_slice() else { panic!("{:?}", manifest.entries) };
        let annotations: Vec<&String> = ingress.metadata.annotations.iter().flat_map(|map| map.keys()).collect();
        assert_eq!((annotations.len(), ingress.metadata.managed_fields.is_none()), (1, true));
        let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_ref()).expect("it has rules");
        let paths = rules[0].http.as_ref().map(|http| &http.paths).expect("it has paths");
        assert_eq!((rules.capacity(), paths.capacity()), (1, 1));
    }
}
