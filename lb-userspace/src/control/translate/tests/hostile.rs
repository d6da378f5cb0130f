//! Objects that are meant to harm, or written by a broken program: each is bounded, its owner is told, and a good Ingress
//! beside it is served as if it were alone.

use super::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Far more than anything here takes, also in a build without optimisation: what grows with a square would take hours.
const TIME_MAX: Duration = Duration::from_secs(60);

const OLD: &str = "2020-01-01T00:00:00Z";
const YOUNG: &str = "2026-01-01T00:00:00Z";

fn backend(service: &str, port: i64) -> Value {
    json!({"service": {"name": service, "port": {"number": port}}})
}

fn ingress(namespace: &str, name: &str, created: &str, annotations: Value, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec,
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "annotations": annotations}})
}

fn rule(host: &str, paths: Vec<Value>) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

fn path(text: &str, backend: Value) -> Value {
    json!({"path": text, "pathType": "Prefix", "backend": backend})
}

/// A hostile Ingress with these rules and entries for TLS.
fn evil(rules: Vec<Value>, tls: Vec<Value>) -> Value {
    ingress("evil", "evil", YOUNG, json!({}), json!({"rules": rules, "tls": tls}))
}

fn annotated(annotations: Value) -> Value {
    ingress(
        "evil",
        "evil",
        YOUNG,
        annotations,
        json!({"rules": [rule("evil.test", vec![path("/", backend("a", 80))])]}),
    )
}

fn service(namespace: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "a"}, "spec": spec})
}

fn slice(namespace: &str, endpoints: Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": namespace, "name": "a-1", "labels": {"kubernetes.io/service-name": "a"}},
        "ports": [{"port": 8080}], "endpoints": endpoints})
}

fn secret(namespace: &str, names: Vec<String>, copies: usize) -> Value {
    let mut parameters = rcgen::CertificateParams::new(names).expect("valid names");
    parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2126, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate").pem().repeat(copies);
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"namespace": namespace, "name": "tls"},
        "stringData": {"tls.crt": certificate, "tls.key": key.serialize_pem()}})
}

/// An Ingress with all that it needs.
fn good() -> Vec<Value> {
    let spec = json!({"tls": [{"hosts": ["good.test"], "secretName": "tls"}],
        "rules": [rule("good.test", vec![path("/", backend("a", 80))])]});
    vec![
        ingress("good", "good", OLD, json!({}), spec),
        service("good", json!({"ports": [{"port": 80}]})),
        slice("good", json!([{"addresses": ["10.0.0.1"]}])),
        secret("good", vec!["good.test".to_owned()], 1),
    ]
}

/// What the good Ingress sees of the world.
fn seen(snapshot: &Snapshot, problems: &[Problem]) -> String {
    let found: Vec<String> = ["http", "https"]
        .iter()
        .map(|scheme| {
            let question = Question { secure: *scheme == "https", authority: "good.test", target: "/x", client: None };
            let explained = explain(snapshot, question);
            format!("{:?} {:?}", explained.ingress, explained.endpoints)
        })
        .collect();
    let certificate = snapshot.certificates.find("good.test").map(|certificate| certificate.fingerprint.clone());
    let told: Vec<&Problem> = problems.iter().filter(|problem| &*problem.object.namespace == "good").collect();
    format!("{found:?} {certificate:?} {told:?}")
}

fn read(store: &mut Store, documents: &[Value]) {
    for document in documents {
        let manifest = manifest::read(&"x.json".into(), document.to_string().as_bytes());
        assert!(!manifest.entries.is_empty(), "{:?}", manifest.problems);
        manifest.entries.into_iter().for_each(|(object, _)| store.upsert(object));
    }
}

/// Beside the hostile documents the good Ingress is served as ever, and the others are told these reasons.
fn check(what: &str, hostile: &[Value], routes: usize, reasons: &[&str]) {
    let objects =
        config::Objects { external_names: Some(config::ExternalNames::default()), ..config::Objects::default() };
    let (mut store, started) = (Store::default(), Instant::now());
    read(&mut store, &good());
    let (alone, problems) = translate(&store, &objects, NOW_S);
    let alone = seen(&alone, &problems);
    let mut translator = Translator::default();
    let _ = translator.translate(&store, &objects, NOW_S);
    read(&mut store, hostile);
    for name in store.external_names() {
        store.resolved(&name, super::super::super::names::answer::Answer::of(vec![[127, 0, 0, 1].into()], &[]));
    }
    let (snapshot, problems) = translator.translate(&store, &objects, NOW_S);
    assert_eq!(seen(&snapshot, &problems), alone, "{what}");
    assert_eq!(snapshot.routes.len(), routes + 1, "{what}");
    let mut told: Vec<&str> = problems.iter().map(|problem| problem.reason).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, reasons, "{what}");
    assert!(problems.len() <= 3 * (report::PROBLEMS_PER_OBJECT_MAX + 1), "{what}: {}", problems.len());
    assert!(problems.iter().all(|problem| problem.message.len() < 1_000), "{what}");
    assert!(started.elapsed() < TIME_MAX, "{what}: {:?}", started.elapsed());
}

#[test]
fn everyone_else_is_unharmed() {
    let served =
        [service("evil", json!({"ports": [{"port": 80}]})), slice("evil", json!([{"addresses": ["10.6.6.6"]}]))];
    let with = |more: Vec<Value>| served.iter().cloned().chain(more).collect::<Vec<_>>();
    let one = || rule("evil.test", vec![path("/", backend("a", 80))]);
    let missing = ["ServiceMissing"];

    let paths = (0..65_000).map(|i| path(&format!("/p{i}"), backend("a", 80))).collect();
    check("65,000 paths", &with(vec![evil(vec![rule("evil.test", paths)], vec![])]), 65_000, &[]);
    let paths = (0..65_000).map(|_| path("/same", backend("a", 80))).collect();
    let told = [reason::MORE_PROBLEMS, reason::PATH_CONFLICT];
    check("65,000 times one path", &with(vec![evil(vec![rule("evil.test", paths)], vec![])]), 1, &told);
    let paths = (0..20_000).map(|i| path(&format!("/p{i}"), backend(&format!("s{i}"), 80))).collect();
    let told = [reason::MORE_PROBLEMS, missing[0]];
    check("20,000 Services that do not exist", &[evil(vec![rule("evil.test", paths)], vec![])], 20_000, &told);

    let hosts: Vec<String> = (0..100_000).map(|i| format!("h{i}.test")).collect();
    let names = || (0..tls::NAMES_MAX).map(|i| format!("n{i}.test")).collect::<Vec<_>>();
    let own = secret("evil", names(), 1);
    let tls = vec![json!({"hosts": hosts, "secretName": "tls"})];
    let told = [reason::CERTIFICATE_NAME_MISMATCH, reason::MORE_PROBLEMS];
    check("100,000 hosts in tls", &with(vec![evil(vec![one()], tls), own.clone()]), 1, &told);
    let tls = (0..50_000).map(|_| json!({"secretName": "tls"})).collect();
    check("50,000 times all names", &with(vec![evil(vec![one()], tls), own.clone()]), 1, &[]);
    let tls = || vec![json!({"hosts": ["evil.test"], "secretName": "tls"})];
    let many = secret("evil", names().into_iter().chain(["one-more.test".to_owned()]).collect(), 1);
    check("too many names", &with(vec![evil(vec![one()], tls()), many]), 1, &[reason::INVALID_CERTIFICATE]);
    let large = secret("evil", vec!["evil.test".to_owned()], 1_000);
    check("a large chain", &with(vec![evil(vec![one()], tls()), large]), 1, &[reason::INVALID_CERTIFICATE]);

    let megabyte = "x".repeat(1_000_000);
    let networks = (0..60_000).map(|i| format!("10.{}.{}.0/24", i / 250, i % 250)).collect::<Vec<_>>().join(",");
    let nginx = |name: &str, value: &str| annotated(json!({format!("nginx.ingress.kubernetes.io/{name}"): value}));
    let told = [reason::INVALID_ANNOTATION];
    check("a megabyte of annotation", &with(vec![nginx("rewrite-target", &megabyte)]), 1, &told);
    check("a megabyte of networks", &with(vec![nginx("allowlist-source-range", &networks)]), 1, &[]);
    check("a megabyte of no networks", &with(vec![nginx("allowlist-source-range", &megabyte)]), 1, &told);
    let unknown: serde_json::Map<String, Value> =
        (0..20_000).map(|i| (format!("nginx.ingress.kubernetes.io/x{i}"), json!("x"))).collect();
    let told = [reason::MORE_PROBLEMS, reason::UNKNOWN_ANNOTATION];
    check("20,000 annotations", &with(vec![annotated(unknown.into())]), 1, &told);
    let told = [reason::OTHER_NAMESPACE];
    check("a Secret of others", &with(vec![nginx("auth-tls-secret", "good/tls")]), 1, &told);
    check(
        "a Secret of others to show",
        &with(vec![annotated(json!({"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "nginx.ingress.kubernetes.io/proxy-ssl-secret": "good/tls"}))]),
        1,
        &told,
    );

    let thief = |host: &str| evil(vec![rule(host, vec![path("/", backend("a", 80))])], vec![]);
    check("a stolen host", &with(vec![thief("good.test")]), 0, &[reason::PATH_CONFLICT]);
    let tls = vec![json!({"hosts": ["good.test"], "secretName": "tls"})];
    let told = [reason::CERTIFICATE_CONFLICT];
    let good_name = secret("evil", vec!["good.test".to_owned()], 1);
    check("a stolen certificate", &with(vec![evil(vec![one()], tls), good_name]), 1, &told);
    check(
        "everything",
        &with(vec![ingress("evil", "evil", YOUNG, json!({}), json!({"defaultBackend": backend("a", 80)}))]),
        1,
        &[],
    );

    let faulty = |port: i64| evil(vec![rule("evil.test", vec![path("/", backend("a", port))])], vec![]);
    for (port, told) in [
        (0, reason::INVALID_BACKEND),
        (65_536, reason::INVALID_BACKEND),
        (-1, reason::INVALID_BACKEND),
        (65_535, reason::SERVICE_PORT_MISSING),
    ] {
        check(&format!("port {port}"), &with(vec![faulty(port)]), 1, &[told]);
    }
    let external = service("evil", json!({"type": "ExternalName", "externalName": "metadata.test"}));
    check(
        "a name of this machine",
        &[external, evil(vec![one()], vec![])],
        1,
        &[reason::NAME_REFUSED, reason::NO_ENDPOINTS],
    );
    let bad: Vec<Value> = (0..10_000).map(|i| json!({"addresses": [format!("127.0.0.{i}")]})).collect();
    let documents =
        [service("evil", json!({"ports": [{"port": 80}]})), slice("evil", bad.into()), evil(vec![one()], vec![])];
    check("10,000 endpoints that are none", &documents, 1, &[reason::INVALID_ENDPOINT, reason::MORE_PROBLEMS]);
}

/// Whoever loses is told who won, and no more of another namespace than that.
#[test]
fn losers_learn_no_names_of_other_namespaces() {
    let mut store = Store::default();
    read(&mut store, &good());
    let spec = json!({"tls": [{"hosts": ["good.test"], "secretName": "tls"}],
        "rules": [rule("good.test", vec![path("/", backend("a", 80)), path("/mine", backend("a", 80))])]});
    read(
        &mut store,
        &[
            ingress("evil", "evil", YOUNG, json!({}), spec),
            service("evil", json!({"ports": [{"port": 80}]})),
            slice("evil", json!([{"addresses": ["10.6.6.6"]}])),
            secret("evil", vec!["good.test".to_owned()], 1),
        ],
    );
    let (snapshot, problems) = translate(&store, &config::Objects::default(), NOW_S);
    let told: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "Prefix / of host good.test is held by Ingress good/good, so this path is not served.",
            "Host good.test has the certificate of a Secret of namespace good already, which stays in use.",
        ]
    );
    assert_eq!(served_by(&snapshot, "good.test", "/").as_deref(), Some("good/good"));
    assert_eq!(served_by(&snapshot, "good.test", "/mine").as_deref(), Some("evil/evil"), "paths may be added");
}
