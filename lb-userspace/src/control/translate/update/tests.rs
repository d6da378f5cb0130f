//! A translation of changes comes to what a translation of everything comes to, whatever happened before.

use super::super::super::source::manifest;
use super::super::translate;
use super::*;
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, Route};
use lb_core::route::Match;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// 2026-06-01; a month later one of the certificates has expired.
const NOW_S: i64 = 1_780_272_000;
const LATER_S: i64 = NOW_S + 60 * 86_400;

const HOSTS: [&str; 6] = ["", "a.test", "b.test", "*.test", "c.b.test", "x..y"];
const NAMES: [&str; 4] = ["a.test", "z.test", "c.b.test", "other"];
const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/zz"];

/// What happens to a store.
#[derive(Debug, Clone)]
enum Event {
    /// A file has these documents now.
    File(u8, Vec<String>),
    /// An API says that an object is so.
    Api(String),
    /// An API says that an Ingress is no more.
    Gone(u8),
    /// Time passes, or turns out not to have passed.
    Time(bool),
}

fn objects() -> config::Objects {
    config::Objects { without_class: true, ..config::Objects::default() }
}

fn happen(store: &mut Store, now_s: &mut i64, event: &Event) {
    let read = |name: &str, text: &str| manifest::read(&name.into(), text.as_bytes()).entries;
    match event {
        Event::File(number, documents) => {
            let name = format!("{number}.yaml");
            store.replace_file(&name.as_str().into(), read(&name, &documents.join("\n---\n")));
        }
        Event::Api(document) => read("api", document).into_iter().for_each(|(object, _)| store.upsert(object)),
        Event::Gone(number) => store.remove(&ObjectRef::new(Kind::Ingress, "default", format!("i{number}"))),
        Event::Time(later) => *now_s = if *later { LATER_S } else { NOW_S },
    }
}

/// Everything about a state that does not depend on how it came about.
fn shown(snapshot: &Snapshot, problems: &[Problem]) -> String {
    let mut text = String::new();
    let mut routes: Vec<&Route> = snapshot.routes.iter().map(|(_, route)| route).collect();
    // Stable: those of one host stay in their order.
    routes.sort_by_key(|route| route.host.clone());
    for route in routes {
        let _ = writeln!(text, "{}", described(snapshot, route));
    }
    let found = NAMES.iter().flat_map(|name| PATHS.iter().map(move |path| (name, path)));
    for (name, path) in found {
        let what = match snapshot.routes.find(name, path) {
            Match::Rule(id, route) | Match::Default(id, route) => {
                assert_eq!(snapshot.routes.get(id).map(|found| &found.origin), Some(&route.origin));
                format!("{} {}", route.host, route.origin)
            }
            Match::NoPath(host) => format!("no path of {host}"),
            Match::NoHost => "no host".to_owned(),
        };
        let _ = writeln!(text, "{name}{path}: {what}");
    }
    let mut services: Vec<String> = snapshot.services.iter().map(|service| format!("{service:?}")).collect();
    services.sort();
    let _ = writeln!(text, "{} routes, {services:#?}", snapshot.routes.len());
    for (host, certificate) in snapshot.certificates.entries() {
        let _ = writeln!(text, "{host}: {}", certificate.fingerprint);
    }
    for host in HOSTS.iter().filter_map(|host| HostPattern::parse(host).ok()) {
        let _ = writeln!(text, "{host} asks {:?}", snapshot.client_auth.get(&host));
    }
    for name in NAMES {
        let passed = snapshot.passthrough.find(name).and_then(|id| snapshot.routes.get(id));
        let _ = writeln!(text, "{name} passes: {:?}", passed.map(|route| described(snapshot, route)));
    }
    let _ = writeln!(text, "{problems:#?}");
    text
}

fn described(snapshot: &Snapshot, route: &Route) -> String {
    let target = match &route.target {
        Target::Service(id) => snapshot.service(*id).map_or("nothing".to_owned(), |service| service.key.to_string()),
        Target::Unavailable(why) => why.to_string(),
    };
    let Route { host, path, origin, filters, upstream, upstream_in_clear, policy, steering, class, upgrade, .. } =
        route;
    format!(
        "{host} {path} {origin} {target} {filters:?} {upstream:?} {upstream_in_clear:?} {policy:?} {steering:?} \
         {class:?} {upgrade:?}"
    )
}

/// Certificate and key, in base64: one for a month, and one for long.
fn pair(long: bool) -> (String, String) {
    static PAIRS: OnceLock<[(String, String); 2]> = OnceLock::new();
    let make = |last_year, last_month| {
        let names = vec!["a.test".to_owned(), "*.b.test".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("valid names");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, last_month, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let encode = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        (encode(certificate.pem()), encode(key.serialize_pem()))
    };
    PAIRS.get_or_init(|| [make(2026, 7), make(2126, 1)])[usize::from(long)].clone()
}

fn secret(number: u8, kind: u8) -> String {
    let (certificate, key) = pair(kind == 1);
    let key = if kind == 2 { "eA==".to_owned() } else { key };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: t{number}}}\ntype: kubernetes.io/tls\n\
         data: {{tls.crt: {certificate}, tls.key: {key}, ca.crt: {certificate}}}\n"
    )
}

fn class(number: u8, kind: u8) -> String {
    let controller = if kind == 0 { "example.com/other".to_owned() } else { objects().controller_class };
    let annotations = match kind {
        1 => "{sluice.dev/mode: nginx}",
        2 => "{ingressclass.kubernetes.io/is-default-class: \"true\"}",
        _ => "{}",
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: c{number}, annotations: {annotations}}}\n\
         spec: {{controller: {controller}}}\n"
    )
}

fn service(number: u8, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{name: web, port: {port}}}]}}\n"
    )
}

fn slice(number: u8, of: u8, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: e{number}\n  labels: {{kubernetes.io/service-name: s{of}}}\n\
         addressType: IPv4\nports: [{{name: web, port: 8080}}]\nendpoints: [{{addresses: [\"{address}\"]}}]\n"
    )
}

fn some_annotations() -> impl Strategy<Value = String> {
    let nginx = |text: &str| format!("nginx.ingress.kubernetes.io/{text}");
    let one = prop_oneof![
        6 => Just(String::new()),
        1 => Just(nginx("use-regex: \"true\"")),
        1 => Just(nginx("rewrite-target: /r")),
        1 => Just(nginx("rewrite-target: /$3")),
        1 => Just(nginx("ssl-redirect: \"false\"")),
        1 => Just(nginx("allowlist-source-range: 10.0.0.0/8")),
        1 => Just(nginx("backend-protocol: HTTPS")),
        1 => Just(nginx("canary: \"true\"")),
        1 => Just(nginx("auth-url: http://x")),
        1 => Just(nginx("no-such: x")),
    ];
    let rare = prop_oneof![
        20 => Just(String::new()),
        1 => Just("sluice.dev/steering: connection".to_owned()),
        1 => Just(nginx("ssl-passthrough: \"true\"")),
        1 => Just(nginx("auth-tls-secret: default/t0")),
        1 => Just(nginx("proxy-ssl-secret: default/t1")),
    ];
    (one, rare).prop_map(|(one, rare)| {
        let all: Vec<String> = [one, rare].into_iter().filter(|text| !text.is_empty()).collect();
        format!("{{{}}}", all.join(", "))
    })
}

fn some_backend() -> impl Strategy<Value = String> {
    let port =
        prop_oneof![6 => Just("number: 80"), 1 => Just("name: web"), 1 => Just("number: 81"), 1 => Just("number: 0")];
    (0..3u8, port).prop_map(|(number, port)| format!("{{service: {{name: s{number}, port: {{{port}}}}}}}"))
}

fn some_rule() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec!["/", "/", "/a", "/a/", "/a(.*)", "x", ""]);
    let kind = prop::sample::select(vec!["Prefix", "Prefix", "Exact", "ImplementationSpecific", "y"]);
    let path = (path, kind, some_backend())
        .prop_map(|(path, kind, backend)| format!("{{path: \"{path}\", pathType: {kind}, backend: {backend}}}"));
    (prop::sample::select(HOSTS.to_vec()), prop::collection::vec(path, 0..3)).prop_map(|(host, paths)| {
        let http = if paths.is_empty() { String::new() } else { format!(", http: {{paths: [{}]}}", paths.join(", ")) };
        format!("{{host: \"{host}\"{http}}}")
    })
}

fn some_tls() -> impl Strategy<Value = String> {
    let hosts = prop_oneof![
        Just(""),
        Just(", hosts: [a.test]"),
        Just(", hosts: [a.test, c.b.test]"),
        Just(", hosts: [\"*.test\"]"),
        Just(", hosts: [other.example]"),
    ];
    let some = (0..3u8, hosts).prop_map(|(number, hosts)| format!("tls: [{{secretName: t{number}{hosts}}}], "));
    prop_oneof![3 => Just(String::new()), 1 => some]
}

fn some_ingress() -> impl Strategy<Value = String> {
    let created = prop_oneof![
        2 => Just(""),
        1 => Just(", creationTimestamp: \"2024-01-01T00:00:00Z\""),
        1 => Just(", creationTimestamp: \"2025-01-01T00:00:00Z\""),
    ];
    let class = prop_oneof![
        6 => Just(""),
        1 => Just("ingressClassName: c0, "),
        2 => Just("ingressClassName: c1, "),
    ];
    let default = prop_oneof![
        8 => Just(String::new()),
        1 => some_backend().prop_map(|backend| format!("defaultBackend: {backend}, ")),
    ];
    let rules = prop::collection::vec(some_rule(), 0..3);
    (0..6u8, created, class, some_annotations(), some_tls(), default, rules).prop_map(
        |(number, created, class, annotations, tls, default, rules)| {
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{number}{created}, annotations: {annotations}}}\n\
                 spec: {{{class}{tls}{default}rules: [{}]}}\n",
                rules.join(", ")
            )
        },
    )
}

fn some_document() -> impl Strategy<Value = String> {
    prop_oneof![
        24 => some_ingress(),
        1 => (0..3u8, 80..82u16).prop_map(|(number, port)| service(number, port)),
        1 => (0..2u8, 0..3u8, prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "0.0.0.0", "x"]))
            .prop_map(|(number, of, address)| slice(number, of, address)),
        1 => (0..3u8, 0..3u8).prop_map(|(number, kind)| secret(number, kind)),
        1 => (0..2u8, 0..3u8).prop_map(|(number, kind)| class(number, kind)),
    ]
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => some_document().prop_map(Event::Api),
        3 => (0..3u8, prop::collection::vec(some_document(), 0..3)).prop_map(|(file, all)| Event::File(file, all)),
        3 => (0..6u8).prop_map(Event::Gone),
        1 => any::<bool>().prop_map(Event::Time),
    ]
}

/// What is mostly there, so that Ingresses lead somewhere.
fn start() -> Store {
    let mut store = Store::default();
    let mut documents = vec![secret(0, 1), secret(1, 0), class(0, 0), class(1, 1)];
    documents.extend((0..2).flat_map(|number| [service(number, 80), slice(number, number, "10.0.0.1")]));
    documents.into_iter().for_each(|document| happen(&mut store, &mut 0, &Event::Api(document)));
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn history_does_not_matter(moves in prop::collection::vec(prop::collection::vec(some_event(), 1..3), 1..24)) {
        let (mut store, mut now_s, mut translator) = (start(), NOW_S, Translator::default());
        for events in moves {
            events.iter().for_each(|event| happen(&mut store, &mut now_s, event));
            let (snapshot, problems) = translator.translate(&store, &objects(), now_s);
            let (fresh, fresh_problems) = translate(&store, &objects(), now_s);
            prop_assert_eq!(shown(&snapshot, &problems), shown(&fresh, &fresh_problems));
        }
    }
}

/// An Ingress of one rule.
fn plain(number: u8, host: &str, path: &str, of: u8, more: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{number}{more}}}\nspec: {{rules: [{{host: \"{host}\", \
         http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: s{of}, port: {{number: 80}}}}}}}}]}}}}]}}\n"
    )
}

/// Whether the changes alone are looked at after an event.
fn is_looked_at_alone(document: String) -> bool {
    let (mut store, mut translator) = (start(), Translator::default());
    for (number, host) in [(0, "a.test"), (1, "b.test"), (2, "*.test"), (3, "b.test")] {
        happen(&mut store, &mut 0, &Event::Api(plain(number, host, &format!("/{number}"), number % 2, "")));
    }
    let (before, _) = translator.translate(&store, &objects(), NOW_S);
    happen(&mut store, &mut 0, &Event::Api(document));
    let Some((after, problems)) = translator.update(&store, &objects(), NOW_S) else { return false };
    let (fresh, fresh_problems) = translate(&store, &objects(), NOW_S);
    assert_eq!(shown(&after, &problems), shown(&fresh, &fresh_problems));
    assert!(before.routes.len() == 4 && Arc::ptr_eq(&before.certificates, &after.certificates));
    true
}

#[test]
fn what_is_looked_at_alone() {
    for (document, want) in [
        (plain(0, "a.test", "/other", 0, ""), true),
        (plain(0, "b.test", "/other", 0, ""), true),
        (plain(5, "new.test", "/", 0, ""), true),
        (plain(5, "", "/", 2, ""), true),
        (plain(0, "a.test", "/", 0, ", annotations: {nginx.ingress.kubernetes.io/use-regex: \"true\"}"), true),
        (plain(0, "a.test", "/", 0, ", annotations: {sluice.dev/steering: connection}"), false),
        (plain(0, "a.test", "/", 0, ", annotations: {nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"}"), false),
        (service(0, 81), false),
        (class(0, 1), false),
        (secret(0, 2), false),
    ] {
        assert_eq!(is_looked_at_alone(document.clone()), want, "{document}");
    }
}

#[test]
fn hosts_that_nothing_has_to_do_with_are_shared() {
    let (mut store, mut translator) = (start(), Translator::default());
    for number in 0..3 {
        happen(&mut store, &mut 0, &Event::Api(plain(number, &format!("h{number}.test"), "/", 0, "")));
    }
    let (before, _) = translator.translate(&store, &objects(), NOW_S);
    happen(&mut store, &mut 0, &Event::Api(plain(1, "h1.test", "/new", 0, "")));
    let (after, _) = translator.translate(&store, &objects(), NOW_S);
    let place = |snapshot: &Snapshot, name: &str| match snapshot.routes.find(name, "/new") {
        Match::Rule(_, route) => std::ptr::from_ref(route),
        other => panic!("{other:?}"),
    };
    assert_eq!(place(&before, "h0.test"), place(&after, "h0.test"));
    assert_ne!(place(&before, "h1.test"), place(&after, "h1.test"));
}
